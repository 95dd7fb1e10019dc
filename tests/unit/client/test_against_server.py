from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from attention_client import (
    AsyncAttentionClient,
    AttentionError,
    InvalidRequestError,
    LimitExceededError,
    ModelNotFoundError,
    NonFiniteError,
    Reason,
    WeightsSpec,
    from_torch_attn_mask,
)
from attention_server import EmbeddedServer
from attention_service import reference

Ask = Callable[..., Any]

HEADS = 4
QUERY = np.random.default_rng(0).standard_normal((2, 5, 16), np.float32)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with EmbeddedServer() as embedded:
        yield embedded.address


def expected(**masks: Any) -> reference.Attention:
    heads = reference.split_heads(QUERY, HEADS)
    allowed = reference.may_attend(batch=2, query_len=5, kv_len=5, **masks)
    return reference.attention(heads, heads, heads, allowed=allowed)


def test_output_and_weights_are_those_of_the_formula(server: str, ask: Ask) -> None:
    result = ask(
        server,
        lambda c: c.attend("sdpa", QUERY, num_heads=HEADS, kv_lengths=[5, 3], weights=True),
    )

    attention = expected(kv_lengths=[5, 3])
    np.testing.assert_allclose(result.weights, attention.weights, atol=3e-6)
    np.testing.assert_allclose(
        result.output, reference.combine_heads(attention.head_outputs), atol=1e-5
    )
    assert result.scores is None


def test_the_last_query_is_asked_for_by_a_negative_index(server: str, ask: Ask) -> None:
    spec = WeightsSpec(heads=[2], query_indices=[-1], top_k=2)

    result = ask(
        server,
        lambda c: c.attend(
            "sdpa", QUERY, num_heads=HEADS, causal="upper_left", weights=spec, output=False
        ),
    )

    row = expected(causal="upper_left").weights[:, 2, -1]
    np.testing.assert_allclose(result.weights[:, 0, 0], np.sort(row)[:, :-3:-1], atol=3e-6)
    assert result.weight_key_indices.shape == (2, 1, 1, 2)
    assert result.output is None


def test_a_torch_mask_is_splatted_into_the_call(server: str, ask: Ask) -> None:
    future = np.triu(np.ones((5, 5), bool), 1)  # true where torch masks

    result = ask(
        server,
        lambda c: c.attend(
            "sdpa", QUERY, num_heads=HEADS, weights=True, **from_torch_attn_mask(future)
        ),
    )

    np.testing.assert_allclose(result.weights, expected(causal="upper_left").weights, atol=3e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_shorter_type_travels_both_ways(server: str, ask: Ask, dtype: str) -> None:
    result = ask(
        server,
        lambda c: c.attend("sdpa", QUERY.astype(np.float16), num_heads=HEADS, dtype=dtype),
    )

    output = reference.combine_heads(expected().head_outputs)
    assert result.output.dtype == {"float16": np.float16, "bfloat16": np.float32}[dtype]
    np.testing.assert_allclose(result.output, output, atol=0.02)


def test_what_was_applied_is_told_in_words_that_can_be_asked_again(server: str, ask: Ask) -> None:
    keywords = {"num_heads": 4, "causal": "lower_right", "window": (2, None), "softcap": 30.0}

    applied = ask(server, lambda c: c.attend("sdpa", QUERY, **keywords)).applied

    assert {name: getattr(applied, name) for name in keywords} == keywords


@pytest.mark.parametrize(
    ("kind", "reason", "model", "query", "keywords"),
    [
        (ModelNotFoundError, Reason.MODEL_NOT_FOUND, "none", QUERY, {}),
        (ModelNotFoundError, Reason.VERSION_NOT_FOUND, "sdpa", QUERY, {"version": 99}),
        (InvalidRequestError, Reason.OUT_OF_RANGE, "sdpa", QUERY, {"kv_lengths": [5, 6]}),
        (NonFiniteError, Reason.NON_FINITE, "sdpa", QUERY * np.nan, {}),
        (LimitExceededError, Reason.BATCH_LIMIT, "sdpa", np.zeros((257, 1, 4)), {}),
        (
            LimitExceededError,
            Reason.ANSWER_LIMIT,
            "sdpa",
            np.broadcast_to(np.float32(0), (2, 2**14, 2**13)),
            {},
        ),
    ],
)
def test_what_the_server_refuses_is_its_error(
    server: str,
    ask: Ask,
    kind: type[AttentionError],
    reason: Reason,
    model: str,
    query: Any,
    keywords: dict[str, Any],
) -> None:
    with pytest.raises(kind) as caught:
        ask(server, lambda client: client.attend(model, query, num_heads=HEADS, **keywords))

    assert type(caught.value) is kind
    assert caught.value.reason is reason


async def test_concurrent_calls_each_get_their_own_answer(server: str) -> None:
    queries = [QUERY + shift for shift in range(20)]

    async with AsyncAttentionClient(server) as client:
        results = await asyncio.gather(
            *(
                client.attend("sdpa", query, num_heads=1, request_id=str(i), scale=0.0)
                for i, query in enumerate(queries)
            )
        )

    for i, (query, result) in enumerate(zip(queries, results, strict=True)):
        assert result.request_id == str(i)
        assert result.output is not None
        np.testing.assert_allclose(result.output[:, 0], query.mean(axis=1), atol=1e-5)
