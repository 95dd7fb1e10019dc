"""``python -m examples.learning``: two layers learn to look, are served, and the page tells so."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread
from numpy.typing import NDArray

import examples.learning
from attention_client import AttentionClient
from attention_server import EmbeddedServer
from examples.learning import __main__ as program
from examples.learning.matrices import matrices, own_first
from examples.learning.model import TwoLayers
from examples.learning.reading import Reading, read_in_process, read_over_grpc
from examples.learning.report import claims, uniform_share
from examples.learning.texts import CHARACTERS, SHOWN, draw, written
from examples.learning.training import loss_of

LEARNING = Path(examples.learning.__path__[0])
DOCS = LEARNING.parents[1] / "docs"
PICTURES = {
    "heat_maps.png": "learning.png",
    "loss.png": "learning-loss.png",
    "matrices.png": "learning-matrices.png",
}
"""Files that the program writes, and what they are called in docs/."""

CLOSE = 1e-5  # between two ways to compute in float32
ALIKE = 0.05  # between weights that two machines learned from the same seed


@dataclass(frozen=True)
class Run:
    """What one call of the program wrote and showed."""

    out: Path
    shown: str
    status: int
    model: TwoLayers

    @property
    def record(self) -> dict[str, Any]:
        text = (self.out / "training.json").read_text(encoding="utf-8")
        record: dict[str, Any] = json.loads(text)
        return record


def run_program(out: Path, *options: str) -> Run:
    """Runs the program in this process, as its command line does."""
    models: list[TwoLayers] = []

    def kept() -> TwoLayers:
        models.append(TwoLayers())
        return models[-1]

    threads, status = torch.get_num_threads(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        torch.random.fork_rng(),
        redirect_stdout(StringIO()) as shown,
    ):
        patch.setattr(program, "TwoLayers", kept)
        patch.setenv("COLUMNS", "80")
        try:
            program.main(["--out", str(out), *options])
        except SystemExit as ended:
            status = int(ended.code or 0)
        finally:
            torch.set_num_threads(threads)
    return Run(out, shown.getvalue(), status, models[-1])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The program as `make learn` runs it."""
    return run_program(tmp_path_factory.mktemp("learning") / "folder")


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    record: dict[str, Any] = json.loads((LEARNING / "training.json").read_text(encoding="utf-8"))
    return record


@pytest.fixture(scope="module")
def client(run: Run) -> Iterator[AttentionClient]:
    """A client of a new server that serves what the program wrote."""
    with (
        EmbeddedServer(run.out / "models", demo=False) as server,
        AttentionClient(server.address) as asking,
    ):
        yield asking


def test_heads_learn_to_look_where_they_should(run: Run) -> None:
    heads = run.record["heads"]

    assert run.status == 0, run.shown
    assert run.shown.count("✓") == 6
    assert "✗" not in run.shown
    assert heads["first layer"]["before"]["previous_share"] < 0.25
    assert heads["first layer"]["after"]["previous_share"] > 0.9
    assert heads["second layer"]["before"]["recall"] < 0.15
    assert heads["second layer"]["after"]["recall"] > 0.9


def test_loss_falls_from_chance_to_nearly_nothing(run: Run) -> None:
    start, *_, end = run.record["moments"]

    assert start["loss"] == pytest.approx(math.log(len(CHARACTERS)), abs=0.1)
    assert end["loss"] < 0.05


def test_matrices_by_themselves_look_for_and_answer_what_they_should(run: Run) -> None:
    start, *_, end = run.record["moments"]

    assert start["looked_for"] < 6
    assert start["answered"] < 6
    assert end["looked_for"] > 58  # of 64
    assert end["answered"] > 58


def test_served_layers_read_other_texts_as_the_trained_module_does(
    run: Run, client: AttentionClient
) -> None:
    texts = draw(3, 11)  # of a length that the program does not ask the server about

    trained, served = read_in_process(run.model, texts), read_over_grpc(client, run.model, texts)

    assert served.difference(trained) < CLOSE
    np.testing.assert_allclose(served.answers, trained.answers, atol=1e-4)
    assert served.right > 0.9


def test_served_layers_are_causal_by_their_own_setting(client: AttentionClient) -> None:
    models = [model for model in client.list_models() if model.name != "sdpa"]

    assert {model.name: model.defaults.causal for model in models} == {
        "recall.0": "lower_right",
        "recall.1": "lower_right",
    }


def test_served_layers_that_are_not_those_trained_end_with_status_1(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export_others(model: TwoLayers, models: Path) -> None:
        copytree(run.out / "models", models)

    monkeypatch.setattr(program, "export_layers", export_others)

    short = run_program(tmp_path, "--steps", "1")

    assert short.status == 1
    assert "✗ the served layers' weights are training's" in short.shown
    assert "✓ before training both heads look at all nearly alike" in short.shown


def test_same_seed_draws_the_same_texts_and_matrices(run: Run, committed: dict[str, Any]) -> None:
    """What was random at the start, on any machine; one PyTorch draws what another did."""
    assert run.record["moments"][0]["loss"] == pytest.approx(committed["moments"][0]["loss"], 1e-3)
    for name in run.record["heads"]:
        assert run.record["heads"][name]["before"] == pytest.approx(
            committed["heads"][name]["before"], abs=1e-3
        )


def test_committed_record_is_that_of_this_program(run: Run, committed: dict[str, Any]) -> None:
    settings = ("steps", "seed", "texts_a_step", "unseen_texts", "loss_unit")

    assert run.record.keys() == committed.keys()
    assert {name: run.record[name] for name in settings} == {
        name: committed[name] for name in settings
    }
    for layer, figure in (("first layer", "previous_share"), ("second layer", "recall")):
        again, kept = (each["heads"][layer]["after"] for each in (run.record, committed))
        assert again[figure] == pytest.approx(kept[figure], abs=ALIKE)


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_in_the_docs_are_those_that_the_program_draws(run: Run, name: str) -> None:
    drawn, shown = (imread(path)[..., :3] for path in (run.out / name, DOCS / PICTURES[name]))

    assert drawn.shape == shown.shape
    assert np.abs(drawn - shown).mean() < 0.02  # of 0 .. 1; other fonts and machines differ a bit


def test_heat_maps_are_pale_before_training_and_dark_where_outlined_after_it(run: Run) -> None:
    pixels = imread(run.out / "heat_maps.png")[..., :3]
    left, right = np.split(pixels[:, : pixels.shape[1] * 9 // 10], 2, axis=1)
    dark = [(half[..., 2] - half[..., 0] > 0.1) & (half[..., 0] < 0.2) for half in (left, right)]

    # Before, the first row alone is dark, which sees one key; after, nearly a cell a row.
    assert dark[0].sum() * 5 < dark[1].sum()


def test_page_tells_the_figures_of_the_committed_record(committed: dict[str, Any]) -> None:
    page = (DOCS / "learning.md").read_text(encoding="utf-8").replace("**", "")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("|")
    ]
    heads = {
        found[1]: row[1:] for row in rows if (found := re.search(r"`(\w+)`", row[0])) and row[1:]
    }
    columns = [
        committed["heads"][layer][when]
        for layer in ("first layer", "second layer")
        for when in ("before", "after")
    ]
    moments = {
        str(m["step"]): [
            f"{m['loss']:.3f}", f"{m['right']:.1%}", f"{m['answered']}", f"{m['looked_for']}",
            f"{m['previous_share']:.3f}", f"{m['recall_share']:.3f}",
        ]
        for m in committed["moments"]
    }  # fmt: skip

    assert heads == {name: [f"{column[name]:.3f}" for column in columns] for name in columns[0]}
    told = {row[0]: row[1:] for row in rows if row[0].isdecimal()}
    assert len(told) >= 5
    assert told == {step: moments[step] for step in told}


# What should make a claim fail: the readings before training, after it and served.


def readings() -> list[Reading]:
    """Returns a flat reading, and two alike in which both heads look where they should."""
    with torch.random.fork_rng():
        torch.manual_seed(5)  # the same texts each time
        texts = draw(4, 8)
    ones = np.tril(np.ones((4, 1, 16, 16)))
    flat = ones / ones.sum(-1, keepdims=True)
    previous = np.broadcast_to(np.eye(16, k=-1), flat.shape).copy()
    previous[..., 0, 0] = 1.0
    recall = flat.copy()
    for text, query, key in texts.pairs():
        recall[text, 0, query] = np.eye(16)[key]
    right = np.zeros((4, 16, len(CHARACTERS)))
    right[:, 8:] = np.eye(len(CHARACTERS))[texts.answers.numpy()]
    learned = Reading(texts, previous, recall, right)
    return [Reading(texts, flat, flat, np.zeros_like(right)), learned, learned]


def test_claims_hold_where_both_heads_look_where_they_should() -> None:
    assert all(claims(*readings()).values())


def _flat(one: Reading) -> NDArray[np.floating[Any]]:
    return readings()[0].first


@pytest.mark.parametrize(
    ("which", "change", "fails"),
    [
        ([0], lambda one: replace(one, first=np.eye(16) + 0 * one.first), ["before training both"]),
        (
            [0],
            lambda one: replace(one, second=readings()[1].second),
            ["before training both", "so the second gives"],
        ),
        ([1, 2], lambda one: replace(one, first=_flat(one)), ["after training the first gives"]),
        ([1, 2], lambda one: replace(one, second=_flat(one)), ["and the second"]),
        ([1, 2], lambda one: replace(one, answers=0 * one.answers), ["right answers"]),
        ([2], lambda one: replace(one, first=one.first + 1e-4), ["the served layers' weights"]),
        ([2], lambda one: replace(one, second=one.second + 1e-4), ["the served layers' weights"]),
    ],
    ids=["not flat", "known before", "first", "second", "answers", "served first", "served second"],
)
def test_claim_fails_where_what_it_says_is_not_so(
    which: list[int], change: Callable[[Reading], Reading], fails: list[str]
) -> None:
    altered = readings()
    for index in which:
        altered[index] = change(altered[index])

    failed = [claim for claim, holds in claims(*altered).items() if not holds]

    assert len(failed) == len(fails)
    assert all(claim.startswith(start) for claim, start in zip(failed, fails, strict=True))


def test_uniform_share_is_that_of_a_head_that_looks_at_all_alike() -> None:
    flat = readings()[0].measures()[1]

    assert uniform_share(8) == pytest.approx(flat.relation_shares["recall"])


# The task and the model.


def followers(ids: list[int]) -> list[int]:
    """Returns the answers, for each place of the second half, by reading the text."""
    half = len(ids) // 2
    return [ids[ids.index(character) + 1] for character in ids[half:]]


@pytest.mark.parametrize("half", [4, 8, 16])
def test_texts_say_each_character_twice_and_know_what_followed(half: int) -> None:
    texts = draw(50, half)

    for ids, answers in zip(texts.ids.tolist(), texts.answers.tolist(), strict=True):
        assert len(set(ids[:half])) == half
        assert sorted(ids[half:]) == sorted(ids[:half])
        assert answers == followers(ids)


def test_text_of_the_pictures_is_read_like_the_drawn_ones() -> None:
    texts = written(SHOWN)

    assert "".join(CHARACTERS[i] for i in texts.ids[0].tolist()) == SHOWN
    assert texts.answers[0].tolist() == followers(texts.ids[0].tolist())


def test_characters_are_64_different_ones() -> None:
    assert len(CHARACTERS) == len(set(CHARACTERS)) == 64


def test_loss_reaches_every_matrix() -> None:
    model, texts = TwoLayers(), draw(8, 6)

    loss_of(model(texts.ids)[0], texts).backward()  # type: ignore[no-untyped-call]

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_loss_asks_about_the_second_half_alone() -> None:
    texts = draw(4, 6)
    answers = torch.randn(4, 12, len(CHARACTERS))
    other = torch.cat([torch.randn(4, 6, len(CHARACTERS)), answers[:, 6:]], 1)
    sure = torch.nn.functional.one_hot(texts.answers, len(CHARACTERS)) * 100.0

    assert loss_of(answers, texts) == loss_of(other, texts)
    assert loss_of(torch.cat([answers[:, :6], sure], 1), texts) < 1e-6
    assert loss_of(0 * answers, texts).item() == pytest.approx(math.log(64))


def test_no_place_reads_what_comes_after_it() -> None:
    model, texts = TwoLayers(), draw(1, 8)
    other = texts.ids.clone()
    other[:, 10:] = (other[:, 10:] + 1) % len(CHARACTERS)

    (one, first, second), (another, *_) = (model(ids) for ids in (texts.ids, other))

    assert torch.equal(one[:, :10], another[:, :10])
    assert not torch.equal(one[:, 10:], another[:, 10:])
    assert not first.triu(1).any()
    assert not second.triu(1).any()


def test_products_of_the_matrices_are_parts_of_scores_and_answers() -> None:
    """A query that is one character alone, a key that the first layer handed another to."""
    model = TwoLayers()
    found = matrices(model)
    x = model.character.weight
    with torch.no_grad():
        handed, _ = model.first(x[None, 7:8])  # a single key: all of it is handed over
        score = model.second.project_query(x[None, 3:4]) * model.second.scale
        score = score @ model.second.project_key_value(handed, handed)[0].transpose(-1, -2)
        answers = model.answer(model.second(x[None, 5:6])[0]) - model.answer.bias

    assert found.looked_for[3, 7] == pytest.approx(score.item(), rel=1e-4)
    assert found.answered[5] == pytest.approx(answers[0, 0].numpy(), abs=1e-5)


def test_own_first_counts_the_characters_that_lead_their_row() -> None:
    assert own_first(np.eye(5)) == 5
    assert own_first(np.eye(5)[[1, 0, 2, 3, 4]]) == 3
