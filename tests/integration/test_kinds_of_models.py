"""Models that use positions and models that come whole, served, against the float64 reference."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from attention_client import AttendResult, AttentionClient
from attention_server import EmbeddedServer
from attention_server.engine import attention, blocks
from tests.made_models import MODELS, WIDTH, write_models

BATCH, LENGTH, KEYS = 2, 6, 9
TOLERANCE = 1e-5
EVERYTHING: dict[str, Any] = {
    "weights": True,
    "scores": True,
    "head_outputs": True,
    "log_sum_exp": True,
}


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


SELF = {"query": numbers(BATCH, LENGTH, WIDTH)}
CROSS = {
    "query": numbers(BATCH, LENGTH, WIDTH),
    "key": numbers(BATCH, KEYS, WIDTH, seed=1),
    "value": numbers(BATCH, KEYS, WIDTH, seed=2),
}
STEP = {**CROSS, "query": numbers(BATCH, 1, WIDTH)}
UNEVEN = np.array([[3, 4, 9, 10, 11, 40], [0, 1, 2, 3, 5, 8]])
LATE = np.array([[100, 101, 102, 110, 111, 112, 2, 1, 0], [7] * 9])
HIDES = np.arange(LENGTH * KEYS).reshape(1, 1, LENGTH, KEYS) % 4 != 1

MASKED: dict[str, dict[str, Any]] = {
    "itself": SELF,
    "itself, padded": {**SELF, "kv_lengths": [6, 2]},
    "itself, causal": {**SELF, "causal": "upper_left"},
    "itself, no causality": {**SELF, "causal": "none", "window": (None, None)},
    "upper left": {**CROSS, "causal": "upper_left"},
    "lower right": {**CROSS, "causal": "lower_right"},
    "lower right, padded": {**CROSS, "causal": "lower_right", "kv_lengths": [9, 3]},
    "lower right, fewer keys than queries": {
        **CROSS,
        "causal": "lower_right",
        "kv_lengths": [0, 2],
        "query_lengths": [6, 6],
    },
    "a step of decoding": {**STEP, "causal": "lower_right"},
    "a step of decoding, padded": {**STEP, "causal": "lower_right", "kv_lengths": [9, 4]},
    "offsets": {**CROSS, "causal": "none", "query_offsets": [3, 0]},
    "offsets, causal, in a window": {
        **CROSS,
        "causal": "lower_right",
        "query_offsets": [2, 5],
        "window": (1, 4),
    },
    "masks": {
        **CROSS,
        "causal": "upper_left",
        "attend_mask": HIDES,
        "key_mask": np.arange(2 * KEYS).reshape(2, KEYS) % 5 != 3,
    },
}
STAGED: dict[str, dict[str, Any]] = {
    "bias": {**CROSS, "causal": "upper_left", "attn_bias": np.where(HIDES, HIDES / 2, -np.inf)},
    "ablated heads": {**SELF, "ablated_heads": [0, 3]},
    "no softcap": {**SELF, "softcap": 0.0},
    "another softcap and scale": {**SELF, "softcap": 0.5, "scale": -0.7},
}
PLACED: dict[str, dict[str, Any]] = {
    "positions": {**SELF, "query_positions": UNEVEN, "key_positions": UNEVEN},
    "positions of queries": {**CROSS, "causal": "none", "query_positions": UNEVEN},
    "positions of keys, causal": {**CROSS, "causal": "lower_right", "key_positions": LATE},
    "the same positions in all sequences": {
        **CROSS,
        "causal": "none",
        "query_positions": UNEVEN[[1, 1]],
        "key_positions": LATE[[0, 0]],
    },
    "positions far out": {
        **SELF,
        "query_positions": UNEVEN + 100_000,
        "key_positions": UNEVEN + 99_998,
    },
    "positions as far apart as can be": {
        **SELF,
        "query_positions": np.full((2, 6), 2**31 - 1),
        "key_positions": np.zeros((2, 6), int),
        "window": (None, None),
    },
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttentionClient]:
    models = tmp_path_factory.mktemp("made")
    write_models(models)
    with EmbeddedServer(models, demo=False) as server, AttentionClient(server.address) as client:
        yield client


@pytest.fixture(params=["at once", "in small blocks"])
def cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets requests be computed at once, or in blocks that cut sequences, heads and queries."""
    if request.param == "in small blocks":
        monkeypatch.setattr(attention, "blocks", partial(blocks.blocks, limit=17))
        monkeypatch.setattr(blocks, "BLOCK_SCORES", 1)


def check(result: AttendResult, expected: dict[str, Any], *names: str) -> None:
    for name in names:
        given, right = getattr(result, name), expected[name]
        assert given.shape == right.shape, name
        assert np.allclose(given, right, rtol=TOLERANCE, atol=TOLERANCE), name


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("case", [*MASKED, *STAGED, *PLACED])
@pytest.mark.parametrize("name", ["rotary", "biased"])
def test_model_that_uses_positions_attends_as_the_reference(
    client: AttentionClient, name: str, case: str
) -> None:
    call = {**MASKED, **STAGED, **PLACED}[case]

    result = client.attend(name, **call, **EVERYTHING)

    expected = MODELS[name].expected(**call)
    check(result, expected, "output", *EVERYTHING)
    blind = (expected["weights"] == 0).all(axis=-1)  # [batch, heads, query_len]
    lengths = call.get("query_lengths", None if "key" in call else call.get("kv_lengths"))
    real = np.arange(blind.shape[2]) < np.array(lengths or [blind.shape[2]] * BATCH)[:, None]
    assert result.fully_masked_rows == (blind & real[:, None]).sum()


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("case", MASKED)
@pytest.mark.parametrize("name", ["whole", "output-only"])
def test_model_that_comes_whole_attends_as_the_reference(
    client: AttentionClient, name: str, case: str
) -> None:
    call, weights = MASKED[case], name == "whole"

    result = client.attend(name, **call, weights=weights)

    check(result, MODELS[name].expected(**call), "output", *(["weights"] if weights else []))
    assert result.execution.path == "whole"
    assert result.applied.scale == 0
