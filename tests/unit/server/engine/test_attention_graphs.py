"""The committed graphs: which one is taken, and that each is attention."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from attention_server.engine.attention_graphs import FLASH, AttentionGraphs
from attention_server.engine.providers import Runtime
from attention_server.engine.session import DeviceTensor, Session
from attention_service.reference import attention

_FULL = ("full", "full_softcap")


@pytest.fixture(scope="module")
def graphs(runtime: Runtime) -> AttentionGraphs:
    return AttentionGraphs(runtime)


_CHOICES = [
    # masked, weights, steps, softcap
    ((False, False, False, False), "fast_unmasked"),
    ((False, True, False, False), "fast_unmasked_weights"),
    ((True, False, False, False), "fast"),
    ((True, True, False, False), "fast_weights"),
    ((False, False, True, False), "full"),
    ((True, True, True, False), "full"),
    ((False, False, False, True), "full_softcap"),
    ((True, True, True, True), "full_softcap"),
]


@pytest.mark.parametrize(("wanted", "name"), _CHOICES, ids=[name for _, name in _CHOICES])
def test_the_cheapest_graph_that_gives_what_is_wanted_is_taken(
    graphs: AttentionGraphs, wanted: tuple[bool, bool, bool, bool], name: str
) -> None:
    masked, weights, steps, softcap = wanted

    chosen = graphs.choose(
        masked=masked, weights=weights, steps=steps, softcap=softcap, queries=127, keys=4096
    )

    assert chosen == name


@pytest.mark.parametrize(
    ("queries", "keys", "name"),
    [
        (512, 512, "flash_unmasked"),
        (128, 2048, "flash_unmasked"),
        (512, 511, "fast_unmasked"),
        (127, 65_536, "fast_unmasked"),
    ],
)
def test_flash_is_taken_from_so_many_queries_and_keys_on(
    graphs: AttentionGraphs, queries: int, keys: int, name: str
) -> None:
    chosen = graphs.choose(
        masked=False, weights=False, steps=False, softcap=False, queries=queries, keys=keys
    )

    assert chosen == name


@pytest.mark.parametrize("wanted", [w for w, name in _CHOICES if name != "fast_unmasked"])
def test_flash_is_never_taken_with_a_mask_or_where_a_step_is_wanted(
    graphs: AttentionGraphs, wanted: tuple[bool, bool, bool, bool]
) -> None:
    masked, weights, steps, softcap = wanted

    chosen = graphs.choose(
        masked=masked, weights=weights, steps=steps, softcap=softcap, queries=4096, keys=4096
    )

    assert chosen != FLASH


def _arrays() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    random = np.random.default_rng(0)
    query = random.standard_normal((2, 6, 4, 5)).astype(np.float32)
    key = random.standard_normal((2, 3, 7, 5)).astype(np.float32)
    value = random.standard_normal((2, 3, 7, 8)).astype(np.float32)
    return query, key, value


def _bias(batch: int, heads: int) -> NDArray[np.float32]:
    random = np.random.default_rng(1)
    bias = random.standard_normal((batch, heads, 4, 7)).astype(np.float32)
    bias[random.random(bias.shape) < 0.4] = -np.inf
    bias[:, :, 2] = -np.inf  # a row without keys
    return bias


def _check(
    graphs: AttentionGraphs, runtime: Runtime, name: str, bias: NDArray[np.float32] | None
) -> None:
    """Runs a graph and compares all that it gives with the oracle."""
    query, key, value = _arrays()
    softcap = 1.5 if name == "full_softcap" else 0.0

    result = graphs.run(
        name,
        *(DeviceTensor.from_host(runtime, x) for x in (query, key, value)),
        scale=0.7,
        softcap=softcap,
        bias=bias,
    )

    allowed = np.ones((1, 1, 1, 1), bool) if bias is None else bias > -np.inf
    expected = attention(
        query, key, value, scale=0.7, softcap=softcap, attn_bias=bias, allowed=allowed
    )._asdict()
    for part, tensor in result.items():
        assert np.allclose(tensor.to_host(), expected[part], rtol=0, atol=3e-6), part
    if "weights" in result and bias is not None:
        assert not result["weights"].to_host()[~np.broadcast_to(allowed, (2, 6, 4, 7))].any()


@pytest.mark.parametrize("name", ["fast_unmasked", "fast_unmasked_weights", FLASH, *_FULL])
def test_a_graph_without_a_mask_is_attention(
    graphs: AttentionGraphs, runtime: Runtime, name: str
) -> None:
    _check(graphs, runtime, name, None)


@pytest.mark.parametrize("name", ["fast", "fast_weights", *_FULL])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("heads", [1, 6])
def test_a_graph_with_a_mask_is_attention(
    graphs: AttentionGraphs, runtime: Runtime, name: str, batch: int, heads: int
) -> None:
    _check(graphs, runtime, name, _bias(batch, heads))


@pytest.fixture(scope="module")
def graphs_of_a_device_without_the_operator(runtime: Runtime) -> AttentionGraphs:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "runs_on_device", lambda session, operators: False)
        return AttentionGraphs(runtime)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weights", [False, True])
def test_where_the_operator_does_not_run_on_the_device_the_decomposed_graph_is_taken(
    graphs_of_a_device_without_the_operator: AttentionGraphs, masked: bool, weights: bool
) -> None:
    chosen = graphs_of_a_device_without_the_operator.choose(
        masked=masked, weights=weights, steps=False, softcap=False, queries=4096, keys=4096
    )

    assert chosen == "full"
