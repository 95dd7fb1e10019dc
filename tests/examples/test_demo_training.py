"""Training the demo's layer again: a few steps of it, on some sentences of the real corpus."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import examples.demo
from attention_client.explore.characters import CharacterEmbedding
from examples.demo import corpus, train

DEMO = Path(examples.demo.__path__[0])
FILES = {"attention.safetensors", "embedding.npy", "training.json", "vocabulary.txt"}
SENTENCES = 8_000  # hold more characters than the vocabulary takes
HELD_OUT = 64
BATCH = 24
STEPS = 8


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    return corpus.read_sentences()


@pytest.fixture(scope="module")
def runs(sentences: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What two short trainings with the same seed wrote."""
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    enabled = torch.backends.mkldnn.enabled  # training turns it off
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two that wait for each other are slow where other tests run beside
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.setattr(train, "read_sentences", lambda: sentences[:SENTENCES])
        patch.setattr(train, "HELD_OUT", HELD_OUT)
        patch.setattr(train, "BATCH", BATCH)
        try:
            for folder in folders:
                train.main(["--steps", str(STEPS), "--seed", "3", "--out", str(folder)])
        finally:
            torch.backends.mkldnn.set_flags(enabled)  # type: ignore[no-untyped-call]
            torch.set_num_threads(threads)
    return folders


def losses(folder: Path, when: str) -> dict[str, float]:
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    found: dict[str, float] = record[when]
    return found


@pytest.mark.parametrize("task", ["next_character", "masked_character"])
def test_training_lowers_the_loss(runs: list[Path], task: str) -> None:
    assert losses(runs[0], "loss_after")[task] < losses(runs[0], "loss_before")[task]


def test_same_seed_gives_the_same_loss(runs: list[Path]) -> None:
    first, second = runs

    assert losses(first, "loss_before") == losses(second, "loss_before")
    assert losses(first, "loss_after") == losses(second, "loss_after")


def test_training_writes_all_that_the_demo_and_its_export_read(runs: list[Path]) -> None:
    assert {path.name for path in runs[0].iterdir()} == FILES


def test_table_that_training_writes_is_one_that_the_demo_reads(runs: list[Path]) -> None:
    embedding = CharacterEmbedding.load(runs[0])

    assert embedding.table.shape == (len(embedding.vocabulary), 256)


def test_committed_vocabulary_holds_the_most_frequent_characters_of_the_corpus(
    sentences: list[str],
) -> None:
    committed = CharacterEmbedding.load(DEMO).vocabulary

    assert committed == corpus.vocabulary_of(sentences, train.CHARACTERS)


def test_committed_record_names_the_corpus_that_is_installed(sentences: list[str]) -> None:
    record = json.loads((DEMO / "training.json").read_text(encoding="utf-8"))

    assert record["corpus"] == corpus.corpus_name()
    assert record["sentences"] == len(sentences)
