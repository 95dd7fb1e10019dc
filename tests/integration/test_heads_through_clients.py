"""What heads attend to and what they do: both clients and the command, with a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attention_client import HeadAnalysis, InvalidRequestError, Reason
from attention_client.cli import main

Ask = Callable[..., Any]

_RANDOM = np.random.default_rng(0)
LAYER: dict[str, Any] = {
    "model": "layer",
    "query": 3 * _RANDOM.standard_normal((2, 7, 12), np.float32),
    "key": 3 * _RANDOM.standard_normal((2, 9, 8), np.float32),
    "value": _RANDOM.standard_normal((2, 9, 6), np.float32),
    "kv_lengths": [9, 4],
    "query_lengths": [7, 5],
}
ARCS = {"before": [(0, 3, 2), (0, 5, 4), (1, 2, 1)], "apart": [(1, 0, 0), (1, 4, 3)]}


def figures(heads: tuple[HeadAnalysis, ...]) -> list[dict[str, Any]]:
    """Returns the figures of each head, near those that are told with it."""
    near = []
    for head in heads:
        told = dict(vars(head), relation_shares=None)
        shares = {f"share of {name}": share for name, share in head.relation_shares.items()}
        near.append(
            {
                name: pytest.approx(figure, rel=1e-5) if isinstance(figure, float) else figure
                for name, figure in (told | shares).items()
            }
        )
    return near


@pytest.mark.parametrize(
    ("version", "rows"),
    [(2, 12), (10, 11)],  # queries without places; causal, one stands before all keys
)
def test_the_server_tells_what_a_result_tells(
    address: str, ask: Ask, version: int, rows: int
) -> None:
    analysis = ask(address, lambda c: c.analyze_heads(**LAYER, version=version, relations=ARCS))
    result = ask(address, lambda c: c.attend(**LAYER, version=version, weights=True))

    of_result = result.head_analysis(ARCS)
    assert figures(analysis.heads) == figures(of_result)
    assert [head.rows for head in of_result] == [rows] * 4
    assert (of_result[0].mean_distance is None) == (version == 2)
    assert analysis.applied == result.applied
    assert (analysis.model, analysis.model_version) == ("layer", str(version))


def test_a_relation_that_every_row_follows_is_the_pattern(address: str, ask: Ask) -> None:
    query = 8 * np.eye(6, dtype=np.float32)[None]  # each position looks for its own kind,
    key = np.roll(query, 2, axis=1)  # which stands two further
    arcs = [(i, (i + 2) % 6) for i in range(6)]

    analysis = ask(
        address,
        lambda c: c.analyze_heads("sdpa", query, key, num_heads=1, relations={"arc": arcs}),
    )

    (head,) = analysis.heads
    assert (head.pattern, head.relation) == ("relation", "arc")
    assert head.relation_shares["arc"] > 0.9


@pytest.mark.parametrize(
    ("keywords", "reason"),
    [
        ({"kv_lengths": [10, 1]}, Reason.OUT_OF_RANGE),
        ({"relations": {"": []}}, Reason.INVALID_NAME),
    ],
)
def test_what_the_server_refuses_is_typed(
    address: str, ask: Ask, keywords: dict[str, Any], reason: Reason
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        ask(address, lambda c: c.analyze_heads(**(LAYER | keywords)))

    assert caught.value.reason is reason
    assert caught.value.violations


def test_ablating_is_attending_without_each_head(address: str, ask: Ask) -> None:
    result = ask(address, lambda c: c.ablate_heads(**LAYER, version=2, outputs=True))

    real = np.arange(7) < np.array(LAYER["query_lengths"])[:, None]
    whole = result.whole.output[real].astype(np.float64)
    for head in range(4):
        without = ask(
            address,
            lambda c, head=head: c.attend(**LAYER, version=2, ablated_heads=[head]),
        ).output
        np.testing.assert_allclose(result.outputs[head], without, atol=1e-6)
        change = np.linalg.norm(whole - without[real]) / np.linalg.norm(whole)
        assert result.relative_change[head] == pytest.approx(change, rel=1e-4)


def test_the_command_tells_the_same(
    address: str,
    ask: Ask,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    arrays = {name: LAYER[name] for name in ("query", "key", "value")}
    np.savez("arrays.npz", **arrays)
    Path("arcs.csv").write_text("\n".join(",".join(map(str, arc)) for arc in ARCS["before"]))
    options = [f"--{name}=arrays.npz:{name}" for name in arrays]
    options += ["--kv-lengths", "9,4", "--query-lengths", "7,5", "--relation", "before=arcs.csv"]

    assert main(["analyze", "layer", *options, "--json", "--server", address]) == 0

    told = json.loads(capsys.readouterr().out)
    relations = {"before": ARCS["before"]}
    analysis = ask(address, lambda c: c.analyze_heads(**LAYER, relations=relations))
    assert figures(tuple(HeadAnalysis(**head) for head in told["heads"])) == figures(analysis.heads)
