"""The model "demo" of the server is the layer whose weights lie beside the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

import examples.demo
from attention_client import AttendResult, AttentionClient
from attention_client.explore.characters import SPECIAL_ROWS, CharacterEmbedding
from attention_export.sources.digest import digest
from attention_server import EmbeddedServer
from attention_service.manifest import FILE_NAME, Manifest
from examples.demo import export
from examples.demo.__main__ import SENTENCE

DEMO = Path(examples.demo.__path__[0])
COMMITTED = DEMO.parents[1] / export.BUILT_IN
CLOSE = 1e-6  # of the largest magnitude: another PyTorch may write other graphs


@pytest.fixture(scope="module")
def embedding() -> CharacterEmbedding:
    return CharacterEmbedding.load(DEMO)


@pytest.fixture(scope="module")
def exported_again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    export.main(["--models", str(models)])
    return models


@pytest.fixture(scope="module", params=["none", "lower_right"])
def answers(
    request: pytest.FixtureRequest, exported_again: Path, embedding: CharacterEmbedding
) -> tuple[AttendResult, AttendResult]:
    """What the committed model answers to the demo's sentence, and what its new export does."""
    embedded, _ = embedding.embed(SENTENCE)
    options: dict[str, Any] = {"weights": True, "causal": request.param}
    with (
        EmbeddedServer() as committed,
        EmbeddedServer(exported_again, demo=False) as again,
        AttentionClient(committed.address) as client,
        AttentionClient(again.address) as other,
    ):
        return (
            client.attend("demo", embedded, **options),
            other.attend("demo", embedded, **options),
        )


def manifest(models: Path) -> Manifest:
    return Manifest.from_json((models / "demo" / "1" / FILE_NAME).read_text(encoding="utf-8"))


@pytest.mark.parametrize("part", ["output", "weights"])
def test_committed_weights_exported_again_answer_the_same(
    answers: tuple[AttendResult, AttendResult], part: str
) -> None:
    committed, again = (getattr(answer, part) for answer in answers)

    assert committed.shape == again.shape
    assert np.abs(again - committed).max() <= CLOSE * np.abs(committed).max()


def test_committed_weights_exported_again_make_the_same_model(exported_again: Path) -> None:
    committed, again = manifest(COMMITTED), manifest(exported_again)

    assert again.defaults == committed.defaults
    assert again.source == committed.source
    assert again.outputs == committed.outputs


def test_manifest_has_the_digest_of_the_committed_weights() -> None:
    weights = load_file(DEMO / "attention.safetensors")

    assert manifest(COMMITTED).source["digest"] == digest(weights)


def test_table_has_a_row_for_each_character_and_the_width_of_the_model(
    embedding: CharacterEmbedding,
) -> None:
    rows = SPECIAL_ROWS + len(embedding.vocabulary.characters)

    assert embedding.table.shape == (rows, manifest(COMMITTED).query_dim)


def test_rows_of_the_table_have_mean_0_and_variance_1(embedding: CharacterEmbedding) -> None:
    # The table is stored as float16.
    np.testing.assert_allclose(embedding.table.mean(axis=1), 0, atol=1e-3)
    np.testing.assert_allclose(embedding.table.var(axis=1), 1, atol=1e-2)


def test_every_character_is_in_the_vocabulary_once(embedding: CharacterEmbedding) -> None:
    characters = embedding.vocabulary.characters

    assert len(set(characters)) == len(characters)


def test_vocabulary_holds_every_character_of_the_sentence(embedding: CharacterEmbedding) -> None:
    assert set(SENTENCE) <= set(embedding.vocabulary.characters)
