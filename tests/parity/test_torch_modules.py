"""Attention layers of PyTorch modules, exported and served, against the modules themselves."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from attention_client import AttentionClient, InvalidRequestError
from attention_export import export
from attention_server import EmbeddedServer
from attention_service.reasons import Reason
from attention_service.reference import may_attend
from tests.own_modules import DIMS, Flexible, Fused, ShowsWeights

BATCH, QUERY_LEN, KV_LEN = 3, 5, 8
TOLERANCE = 1e-5
OWN = ("fused", "shows-weights", "wrapped")

MASKS: dict[str, dict[str, Any]] = {
    "no mask": {},
    "padding": {"kv_lengths": [8, 3, 1]},
    "a sequence without keys": {"kv_lengths": [8, 0, 2]},
    "causal": {"causal": "lower_right", "kv_lengths": [8, 6, 5]},
    "causal, more queries than keys": {"causal": "lower_right", "kv_lengths": [8, 2, 1]},
    "a window": {"causal": "upper_left", "window": (1, None)},
    "pairs": {"attend_mask": np.arange(BATCH * QUERY_LEN * KV_LEN).reshape(3, 1, 5, 8) % 3 == 1},
}


@pytest.fixture(scope="module")
def modules() -> dict[str, nn.Module]:
    torch.manual_seed(6)
    decoder = nn.TransformerDecoderLayer(12, 4, 16)  # the sequence comes first
    return {
        "fused": Fused(),
        "shows-weights": ShowsWeights(),
        "wrapped": Flexible(),
        "decoder": decoder,
    }


@pytest.fixture(scope="module")
def client(
    modules: dict[str, nn.Module], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AttentionClient]:
    models: Path = tmp_path_factory.mktemp("torch-modules")
    for name in OWN:
        export(modules[name], models=models, name=name, **DIMS)
    export(modules["decoder"], models=models, name="decoder", layer="multihead_attn")
    with EmbeddedServer(models, demo=False) as server, AttentionClient(server.address) as asking:
        yield asking


def numbers(length: int, dim: int) -> NDArray[np.float32]:
    return np.random.default_rng(dim).standard_normal((BATCH, length, dim)).astype(np.float32)


QUERY, KEY, VALUE = numbers(QUERY_LEN, 12), numbers(KV_LEN, 8), numbers(KV_LEN, 6)


def allowed(mask: dict[str, Any]) -> NDArray[np.bool_]:
    """[batch, 1, query_len, kv_len]."""
    return may_attend(
        batch=BATCH,
        query_len=QUERY_LEN,
        kv_len=KV_LEN,
        query_lengths=[QUERY_LEN] * BATCH,
        **mask,
    )


def in_float64(module: nn.Module, mask: NDArray[np.bool_]) -> tuple[NDArray[np.float64], ...]:
    """Results of a module of one's own, 0 in rows that may attend to nothing."""
    blind = ~np.asarray(mask.any(axis=-1, keepdims=True))
    inputs = (torch.tensor(x, dtype=torch.float64) for x in (QUERY, KEY, VALUE))
    exact = copy.deepcopy(module).double().eval()
    with torch.no_grad():
        returned = exact(*inputs, torch.tensor(mask | blind))
    output, *weights = returned if isinstance(returned, tuple) else (returned,)
    return (
        np.where(blind[:, 0], 0.0, output.numpy()),
        *(np.where(blind, 0.0, each.numpy()) for each in weights),
    )


def assert_close(actual: NDArray[Any] | None, right: NDArray[Any]) -> None:
    """What is 0 must be exactly 0: weights on masked keys, rows that may attend to nothing."""
    assert actual is not None
    assert not actual[right == 0.0].any()
    np.testing.assert_allclose(actual, right, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_served_module_gives_what_the_module_gives(
    mask: dict[str, Any], name: str, client: AttentionClient, modules: dict[str, nn.Module]
) -> None:
    output, *weights = in_float64(modules[name], allowed(mask))

    answer = client.attend(name, QUERY, KEY, VALUE, weights=bool(weights), **mask)

    for actual, right in zip((answer.output, answer.weights), (output, *weights), strict=False):
        assert_close(actual, right)


@pytest.mark.parametrize(
    ("name", "outputs"),
    [("fused", ("weights",)), ("shows-weights", ("scores", "head_outputs", "log_sum_exp"))],
)
def test_what_a_module_does_not_give_is_not_supported(
    name: str, outputs: tuple[str, ...], client: AttentionClient
) -> None:
    for output in outputs:
        asked: dict[str, Any] = {output: True}
        with pytest.raises(InvalidRequestError) as caught:
            client.attend(name, QUERY, KEY, VALUE, **asked)
        assert caught.value.reason is Reason.OUTPUT_NOT_SUPPORTED


def test_served_cross_attention_of_a_decoder_is_torchs(
    client: AttentionClient, modules: dict[str, nn.Module]
) -> None:
    module: Any = modules["decoder"].get_submodule("multihead_attn").eval()
    memory = numbers(KV_LEN, 12)
    lengths = [8, 3, 5]
    query, key = (torch.tensor(x).transpose(0, 1) for x in (QUERY, memory))
    padding = torch.arange(KV_LEN) >= torch.tensor(lengths)[:, None]
    with torch.no_grad():
        output, weights = module(
            query, key, key, key_padding_mask=padding, average_attn_weights=False
        )

    answer = client.attend(
        "decoder", QUERY, memory, memory, kv_lengths=lengths, weights=True, scores=True
    )

    assert answer.scores is not None
    assert_close(answer.output, output.transpose(0, 1).numpy())
    assert_close(answer.weights, weights.numpy())
    described = client.get_model("decoder")
    assert described.source["layer"] == "multihead_attn"
    assert described.defaults.num_heads == 4
