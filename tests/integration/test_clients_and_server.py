"""Every call and every keyword of the SDK, through both clients, to a real server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from attention_client import (
    AsyncAttentionClient,
    AttendResult,
    AttentionError,
    AttentionSettings,
    InvalidRequestError,
    LimitExceededError,
    ModelNotFoundError,
    NonFiniteError,
    Reason,
    RequestTooLargeError,
    ScoresSpec,
    ServerUnavailableError,
    WeightsSpec,
)
from attention_server import EmbeddedServer
from attention_service import reference

Ask = Callable[..., Any]
Array = NDArray[Any]

BATCH, QUERY_LEN, KV_LEN, HEADS, KV_HEADS = 2, 3, 5, 4, 2
EVERYTHING: dict[str, Any] = {
    "weights": True,
    "scores": True,
    "projections": True,
    "head_outputs": True,
    "log_sum_exp": True,
}


@pytest.fixture(scope="module")
def embeddings() -> dict[str, Array]:
    """Query, key and value for "sdpa"."""
    random = np.random.default_rng(0)
    shapes = {
        "query": (BATCH, QUERY_LEN, HEADS * 4),
        "key": (BATCH, KV_LEN, KV_HEADS * 4),
        "value": (BATCH, KV_LEN, KV_HEADS * 3),
    }
    return {n: random.standard_normal(s).astype(np.float32) for n, s in shapes.items()}


@pytest.fixture(scope="module")
def layer_embeddings() -> dict[str, Array]:
    """Query, key and value for "layer"."""
    random = np.random.default_rng(1)
    shapes = {"query": (2, 3, 12), "key": (2, 5, 8), "value": (2, 5, 6)}
    return {n: random.standard_normal(s).astype(np.float32) for n, s in shapes.items()}


def attend(**keywords: Any) -> Callable[[Any], Any]:
    return lambda client: client.attend("sdpa", num_heads=HEADS, num_kv_heads=KV_HEADS, **keywords)


def assert_close(array: Array | None, expected: Array) -> None:
    assert array is not None
    np.testing.assert_allclose(array, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_every_output_is_that_of_the_formula(
    ask: Ask, address: str, embeddings: dict[str, Array], dtype: Any
) -> None:
    sent = {name: array.astype(dtype) for name, array in embeddings.items()}
    heads = {"query": HEADS, "key": KV_HEADS, "value": KV_HEADS}
    split: dict[str, Any] = {
        n: reference.split_heads(a.astype(np.float64), heads[n]) for n, a in sent.items()
    }
    expected = reference.attention(**split)

    result: AttendResult = ask(address, attend(**sent, **EVERYTHING))

    assert_close(result.output, reference.combine_heads(expected.head_outputs))
    assert_close(result.weights, expected.weights)
    assert_close(result.scores, expected.scores)
    assert_close(result.head_outputs, expected.head_outputs)
    assert_close(result.log_sum_exp, expected.log_sum_exp)
    assert_close(result.query_heads, split["query"])
    assert_close(result.key_heads, split["key"])
    assert_close(result.value_heads, split["value"])


@pytest.mark.parametrize(
    ("dtype", "rounded"),
    [
        ("float32", lambda array: array),
        ("float16", lambda array: array.astype(np.float16)),
        ("bfloat16", lambda array: array.astype(ml_dtypes.bfloat16).astype(np.float32)),
    ],
    ids=["float32", "float16", "bfloat16"],
)
def test_answer_travels_in_the_type_asked_for(
    ask: Ask,
    address: str,
    embeddings: dict[str, Array],
    dtype: str,
    rounded: Callable[[Array], Array],
) -> None:
    whole: AttendResult = ask(address, attend(**embeddings, **EVERYTHING))

    result: AttendResult = ask(address, attend(**embeddings, **EVERYTHING, dtype=dtype))

    expected = {
        name: array if name == "log_sum_exp" else rounded(array)
        for name, array in whole.arrays().items()
    }
    assert result.arrays().keys() == expected.keys()
    for name, array in result.arrays().items():
        assert array.dtype == expected[name].dtype, name
        assert np.array_equal(array, expected[name]), name


def test_every_output_of_a_model_has_the_contracts_shape(
    ask: Ask, address: str, layer_embeddings: dict[str, Array]
) -> None:
    result: AttendResult = ask(
        address, lambda client: client.attend("layer", **layer_embeddings, **EVERYTHING)
    )

    assert {name: array.shape for name, array in result.arrays().items()} == {
        "output": (2, 3, 10),
        "weights": (2, 4, 3, 5),
        "scores": (2, 4, 3, 5),
        "query_heads": (2, 4, 3, 4),
        "key_heads": (2, 2, 5, 4),
        "value_heads": (2, 2, 5, 3),
        "head_outputs": (2, 4, 3, 3),
        "log_sum_exp": (2, 4, 3),
    }


def test_what_is_not_asked_for_is_absent(
    ask: Ask, address: str, embeddings: dict[str, Array]
) -> None:
    result: AttendResult = ask(address, attend(**embeddings, output=False, log_sum_exp=True))

    assert list(result.arrays()) == ["log_sum_exp"]


def test_selected_weights_and_scores_are_those_of_all(
    ask: Ask, address: str, embeddings: dict[str, Array]
) -> None:
    whole: AttendResult = ask(address, attend(**embeddings, **EVERYTHING))
    assert whole.weights is not None
    assert whole.scores is not None

    result: AttendResult = ask(
        address,
        attend(
            **embeddings,
            weights=WeightsSpec(heads=[3, 0], query_indices=[-1], average_heads=True, top_k=2),
            scores=ScoresSpec(heads=[2], query_indices=[1, 1]),
        ),
    )

    mean = whole.weights[:, [3, 0]].mean(axis=1, keepdims=True)[:, :, [-1]]
    order = np.argsort(-mean, axis=-1)[..., :2]
    assert_close(result.weights, np.take_along_axis(mean, order, axis=-1))
    assert np.array_equal(np.asarray(result.weight_key_indices), order)
    assert_close(result.scores, whole.scores[:, [2]][:, :, [1, 1]])


def test_masks_of_every_form_apply_together(
    ask: Ask, address: str, embeddings: dict[str, Array]
) -> None:
    random = np.random.default_rng(2)
    masks: dict[str, Any] = {
        "kv_lengths": [5, 3],
        "query_lengths": [3, 2],
        "key_mask": random.random((BATCH, KV_LEN)) < 0.8,
        "attend_mask": random.random((1, HEADS, QUERY_LEN, KV_LEN)) < 0.8,
        "causal": "lower_right",
        "window": (2, None),
    }
    bias = random.standard_normal((BATCH, QUERY_LEN, KV_LEN)).astype(np.float32)
    expected = reference.attention(
        reference.split_heads(embeddings["query"], HEADS),
        reference.split_heads(embeddings["key"], KV_HEADS),
        reference.split_heads(embeddings["value"], KV_HEADS),
        scale=0.25,
        softcap=2.0,
        attn_bias=bias,
        allowed=reference.may_attend(batch=BATCH, query_len=QUERY_LEN, kv_len=KV_LEN, **masks),
        ablated_heads=[1],
    )

    result: AttendResult = ask(
        address,
        attend(
            **embeddings,
            **masks,
            attn_bias=bias,
            scale=0.25,
            softcap=2.0,
            ablated_heads=[1],
            weights=True,
        ),
    )

    assert_close(result.weights, expected.weights)
    assert_close(result.output, reference.combine_heads(expected.head_outputs))
    assert result.applied == AttentionSettings(
        num_heads=HEADS,
        num_kv_heads=KV_HEADS,
        scale=0.25,
        softcap=2.0,
        causal="lower_right",
        window=(2, None),
    )


def test_rows_that_see_nothing_are_counted(
    ask: Ask, address: str, embeddings: dict[str, Array]
) -> None:
    result: AttendResult = ask(
        address, attend(**embeddings, kv_lengths=[0, 5], query_lengths=[2, 3], log_sum_exp=True)
    )

    assert result.fully_masked_rows == 2 * HEADS
    assert result.output is not None
    assert not result.output[0].any()
    assert result.log_sum_exp is not None
    assert (result.log_sum_exp[0] == -np.inf).all()


def test_answer_tells_how_it_came_about(
    ask: Ask, address: str, embeddings: dict[str, Array]
) -> None:
    result: AttendResult = ask(address, attend(**embeddings, request_id="語 1"))

    assert (result.request_id, result.model, result.model_version) == ("語 1", "sdpa", "1")
    assert result.execution.provider == "CPUExecutionProvider"
    assert result.execution.batched_requests == 1
    assert result.execution.path


def test_models_are_listed_described_and_chosen_by_version(
    ask: Ask, address: str, layer_embeddings: dict[str, Array]
) -> None:
    models = ask(address, lambda client: client.list_models())
    newest = ask(address, lambda client: client.get_model("layer"))
    older = ask(address, lambda client: client.get_model("layer", version="2"))
    result = ask(address, lambda client: client.attend("layer", **layer_embeddings, version=2))

    assert [(m.name, m.version) for m in models] == [("layer", "10"), ("layer", "2"), ("sdpa", "1")]
    assert newest == models[0]
    assert older == models[1]
    assert result.model_version == "2"


def test_server_describes_itself(ask: Ask, address: str) -> None:
    info = ask(address, lambda client: client.server_info())

    assert info.providers == ("CPUExecutionProvider",)
    assert info.limits.message_bytes == 64 * 2**20
    assert (info.limits.batch, info.limits.length) == (256, 65_536)


@pytest.mark.parametrize(
    ("keywords", "error", "reason"),
    [
        ({"query": np.full((1, 1, 4), np.nan)}, NonFiniteError, Reason.NON_FINITE),
        ({"query": np.ones((1, 1, 5))}, InvalidRequestError, Reason.INVALID_SHAPE),
        (
            {"query": np.ones((1, 1, 4)), "kv_lengths": [2]},
            InvalidRequestError,
            Reason.OUT_OF_RANGE,
        ),
        ({"query": np.ones((257, 1, 4))}, LimitExceededError, Reason.BATCH_LIMIT),
        ({"query": np.ones((1, 1, 4)), "version": 7}, ModelNotFoundError, Reason.VERSION_NOT_FOUND),
        (
            {"query": np.ones((1, 1, 4)), "query_positions": [[0]]},
            InvalidRequestError,
            Reason.POSITIONS_NOT_USED,
        ),
    ],
    ids=["not finite", "shape", "range", "limit", "version", "positions"],
)
def test_refusal_becomes_an_exception(
    ask: Ask,
    address: str,
    keywords: dict[str, Any],
    error: type[AttentionError],
    reason: Reason,
) -> None:
    with pytest.raises(error) as caught:
        ask(address, lambda client: client.attend("sdpa", **keywords, num_heads=4))

    assert type(caught.value) is error
    assert caught.value.reason is reason


def test_request_larger_than_a_stream_takes_is_refused_as_too_large(ask: Ask) -> None:
    large = [np.ones((1, 9, 1024), np.float32)] * 3  # 36 kB each
    keywords: dict[str, Any] = {"num_heads": 1, "output": False, "weights": True}
    limits: dict[str, Any] = {"max_message_bytes": 1 << 16, "max_stream_bytes": 1 << 16}
    with (
        EmbeddedServer(demo=False, **limits) as server,
        pytest.raises(RequestTooLargeError) as caught,
    ):
        ask(server.address, lambda client: client.attend("sdpa", *large, **keywords))

    assert (caught.value.reason, caught.value.code) == (Reason.MESSAGE_LIMIT, None)


def test_no_server_is_an_exception(ask: Ask) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: nobody else can answer there
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ServerUnavailableError):
            ask(address, lambda client: client.server_info(), retry=None)


async def test_answers_of_one_client_go_to_those_who_asked(address: str) -> None:
    sent = [np.full((1, 1 + i % 7, 4), i, np.float32) for i in range(1, 65)]

    async with AsyncAttentionClient(address) as client:
        results = await asyncio.gather(
            *(client.attend("sdpa", query, num_heads=2) for query in sent)
        )

    for query, result in zip(sent, results, strict=True):
        assert_close(result.output, query)


def test_large_tensors_arrive_whole(ask: Ask, address: str) -> None:
    value = np.random.default_rng(3).standard_normal((1, 4096, 256)).astype(np.float32)  # 4 MiB
    key = np.zeros((1, 4096, 2), np.float32)

    result: AttendResult = ask(
        address,
        lambda client: client.attend("sdpa", key[:, :1], key, value, num_heads=2, projections=True),
    )

    assert np.array_equal(
        np.asarray(result.value_heads), value.reshape(1, 4096, 2, 128).transpose(0, 2, 1, 3)
    )
