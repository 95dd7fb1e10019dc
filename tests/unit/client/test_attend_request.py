from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from attention_client import InvalidRequestError, Reason, ScoresSpec, WeightsSpec
from attention_client._attend import AttendCall
from attention_client._request import request_of
from attention_service.tensor import encode
from attention_service.v1 import attention_pb2 as pb

Ask = Callable[..., Any]
Serve = Callable[..., str]

QUERY = np.arange(2 * 5 * 3, dtype=np.float32).reshape(2, 5, 3)
MASK = np.array([[True, False], [True, True]])
PLAIN = pb.AttendRequest(model="m", query=encode(QUERY))


def sent(**keywords: Any) -> pb.AttendRequest:
    return request_of(AttendCall("m", QUERY, **keywords)).message()


@pytest.mark.parametrize(
    ("keyword", "value", "field", "message"),
    [
        ("key", QUERY, "key", encode(QUERY)),
        ("value", QUERY, "value", encode(QUERY)),
        ("kv_lengths", [3, 2], "mask.kv_lengths", [3, 2]),
        ("kv_lengths", np.array([3, 2]), "mask.kv_lengths", [3, 2]),
        ("query_lengths", (3, 2), "mask.query_lengths", [3, 2]),
        ("query_offsets", [2**31 - 1, 0], "mask.query_offsets", [2**31 - 1, 0]),
        ("key_mask", MASK, "mask.key_mask", encode(MASK)),
        ("attend_mask", MASK.tolist(), "mask.attend_mask", encode(MASK)),
        ("attn_bias", [[0.5]], "mask.attn_bias", encode(np.array([[0.5]], np.float32))),
        ("causal", "none", "mask.causal", pb.CAUSAL_MODE_NONE),
        ("causal", "upper_left", "mask.causal", pb.CAUSAL_MODE_UPPER_LEFT),
        ("causal", "lower_right", "mask.causal", pb.CAUSAL_MODE_LOWER_RIGHT),
        ("window", (4, 0), "mask.window", pb.SlidingWindow(left=4, right=0)),
        ("window", (None, 1), "mask.window", pb.SlidingWindow(right=1)),
        ("window", (None, None), "mask.window", pb.SlidingWindow()),
        ("query_positions", [[0, 7]], "query_positions", encode(np.array([[0, 7]], np.int32))),
        ("key_positions", [[1]], "key_positions", encode(np.array([[1]], np.int32))),
        ("num_heads", np.int64(8), "heads.num_heads", 8),
        ("num_kv_heads", 2, "heads.num_kv_heads", 2),
        ("scale", 0, "heads.scale", 0.0),
        ("softcap", np.float32(30), "heads.softcap", 30.0),
        ("ablated_heads", [3, 0], "heads.ablated_heads", [3, 0]),
        ("ablated_heads", [], "heads.ablated_heads", []),
        ("output", False, "outputs.omit_output", True),
        ("weights", True, "outputs.weights", pb.WeightsSpec()),
        (
            "weights",
            WeightsSpec(heads=[1, 1], query_indices=[-1, 0, -5], average_heads=True, top_k=3),
            "outputs.weights",
            pb.WeightsSpec(heads=[1, 1], query_indices=[4, 0, 0], average_heads=True, top_k=3),
        ),
        ("scores", True, "outputs.scores", pb.ScoresSpec()),
        (
            "scores",
            ScoresSpec(heads=[0], query_indices=[-2]),
            "outputs.scores",
            pb.ScoresSpec(heads=[0], query_indices=[3]),
        ),
        ("projections", True, "outputs.projections", True),
        ("head_outputs", True, "outputs.head_outputs", True),
        ("log_sum_exp", True, "outputs.log_sum_exp", True),
        ("dtype", "float16", "outputs.data_type", pb.DATA_TYPE_FLOAT16),
        ("dtype", "bfloat16", "outputs.data_type", pb.DATA_TYPE_BFLOAT16),
        ("dtype", np.float16, "outputs.data_type", pb.DATA_TYPE_FLOAT16),
        ("dtype", np.dtype("<f4"), "outputs.data_type", pb.DATA_TYPE_UNSPECIFIED),  # the default
        ("dtype", np.float32, "outputs.data_type", pb.DATA_TYPE_FLOAT32),
        ("dtype", ml_dtypes.bfloat16, "outputs.data_type", pb.DATA_TYPE_BFLOAT16),
        ("version", "3", "model_version", "3"),
        ("version", 3, "model_version", "3"),
        ("request_id", "mine", "request_id", "mine"),
    ],
)
def test_a_keyword_says_one_thing(keyword: str, value: Any, field: str, message: Any) -> None:
    request = sent(**{keyword: value})

    *parents, leaf = field.split(".")
    holder = request
    for parent in parents:
        holder = getattr(holder, parent)
    assert getattr(holder, leaf) == message
    if hasattr(message, "DESCRIPTOR"):
        assert holder.HasField(leaf)  # type: ignore[arg-type]
    holder.ClearField(leaf)  # type: ignore[arg-type]
    for parent in parents:
        request.ClearField(parent)  # type: ignore[arg-type]
    assert request == PLAIN


def test_nothing_but_a_query_asks_for_the_models_own() -> None:
    assert sent() == PLAIN
    for holder, field in [("mask", "window"), ("heads", "scale"), ("heads", "softcap")]:
        assert not getattr(sent(), holder).HasField(field)


@pytest.mark.parametrize(
    ("keyword", "value", "at", "reason", "says"),
    [
        ("query", None, "query", Reason.MISSING_FIELD, "must be given"),
        ("query", QUERY[0], "query", Reason.INVALID_SHAPE, r"query\[None\]"),
        ("key", QUERY[0], "key", Reason.INVALID_SHAPE, r"key\[None\]"),
        ("value", QUERY[None], "value", Reason.INVALID_SHAPE, "heads are joined"),
        ("query", 1.0, "query", Reason.INVALID_SHAPE, r"\[batch, length, dim\]"),
        ("query", [[[1.0], [1.0, 2.0]]], "query", Reason.INVALID_DATA_TYPE, "one length"),
        ("query", "q.npy", "query", Reason.INVALID_DATA_TYPE, "real numbers"),
        ("query", QUERY > 1, "query", Reason.INVALID_DATA_TYPE, "attend_mask or key_mask"),
        ("query", QUERY * 1j, "query", Reason.INVALID_DATA_TYPE, "complex64"),
        ("query", object(), "query", Reason.INVALID_DATA_TYPE, "objects"),
        ("query", [[[None]]], "query", Reason.INVALID_DATA_TYPE, "objects"),
        ("query", [[[10**400]]], "query", Reason.INVALID_DATA_TYPE, "objects"),
        ("query", [[[1e300]]], "query", Reason.NON_FINITE, "within float32"),
        ("key_mask", [[1, 0]], "key_mask", Reason.INVALID_DATA_TYPE, r"astype\(bool\)"),
        ("key_mask", [[0.0]], "key_mask", Reason.INVALID_DATA_TYPE, "is attn_bias"),
        ("attend_mask", [[1]], "attend_mask", Reason.INVALID_DATA_TYPE, "boolean"),
        ("attn_bias", MASK, "attn_bias", Reason.INVALID_DATA_TYPE, "is attend_mask"),
        ("query_positions", [[0.0]], "query_positions", Reason.INVALID_DATA_TYPE, "integers"),
        ("query_positions", [[True]], "query_positions", Reason.INVALID_DATA_TYPE, "integers"),
        ("key_positions", [[2**31]], "key_positions", Reason.OUT_OF_RANGE, "int32"),
        ("kv_lengths", 3, "kv_lengths", Reason.INVALID_COUNT, "list"),
        ("kv_lengths", np.array(3), "kv_lengths", Reason.INVALID_COUNT, "list"),
        ("kv_lengths", "32", "kv_lengths", Reason.INVALID_COUNT, "list"),
        ("kv_lengths", [], "kv_lengths", Reason.INVALID_COUNT, "empty"),
        ("kv_lengths", [1, 2.0], "kv_lengths[1]", Reason.OUT_OF_RANGE, "whole"),
        ("kv_lengths", [[1], [2]], "kv_lengths[0]", Reason.OUT_OF_RANGE, "whole"),
        ("query_lengths", [True], "query_lengths[0]", Reason.OUT_OF_RANGE, "whole"),
        ("query_offsets", [2**63], "query_offsets[0]", Reason.OUT_OF_RANGE, "must be"),
        ("causal", "LOWER_RIGHT", "causal", Reason.INVALID_ENUM, "'lower_right'"),
        ("causal", True, "causal", Reason.INVALID_ENUM, "'upper_left'"),
        ("window", 4, "window", Reason.INVALID_COUNT, "pair"),
        ("window", (1, 2, 3), "window", Reason.INVALID_COUNT, "pair"),
        ("window", (-1, 0), "window[0]", Reason.OUT_OF_RANGE, "0 to"),
        ("window", (0, 2**32), "window[1]", Reason.OUT_OF_RANGE, "0 to"),
        ("num_heads", 8.0, "num_heads", Reason.OUT_OF_RANGE, "whole"),
        ("num_heads", -1, "num_heads", Reason.OUT_OF_RANGE, "0 to"),
        ("num_kv_heads", "2", "num_kv_heads", Reason.OUT_OF_RANGE, "whole"),
        ("scale", float("nan"), "scale", Reason.NON_FINITE, "finite"),
        ("scale", "1", "scale", Reason.OUT_OF_RANGE, "number"),
        ("softcap", float("inf"), "softcap", Reason.NON_FINITE, "finite"),
        ("ablated_heads", [-1], "ablated_heads[0]", Reason.OUT_OF_RANGE, "0 to"),
        ("output", None, "output", Reason.OUT_OF_RANGE, "True or False"),
        ("weights", 5, "weights", Reason.OUT_OF_RANGE, "a WeightsSpec"),
        ("weights", ScoresSpec(), "weights", Reason.OUT_OF_RANGE, "a WeightsSpec"),
        ("weights", WeightsSpec(heads=[-1]), "weights.heads[0]", Reason.OUT_OF_RANGE, "0 to"),
        ("weights", WeightsSpec(heads=[]), "weights.heads", Reason.INVALID_COUNT, "empty"),
        (
            "weights",
            WeightsSpec(query_indices=[0, -6]),
            "weights.query_indices[1]",
            Reason.OUT_OF_RANGE,
            "-5 to",
        ),
        ("weights", WeightsSpec(top_k=-1), "weights.top_k", Reason.OUT_OF_RANGE, "0 to"),
        (
            "weights",
            WeightsSpec(average_heads=1),  # type: ignore[arg-type]
            "weights.average_heads",
            Reason.OUT_OF_RANGE,
            "True or False",
        ),
        ("scores", "all", "scores", Reason.OUT_OF_RANGE, "a ScoresSpec"),
        (
            "scores",
            ScoresSpec(query_indices=[]),
            "scores.query_indices",
            Reason.INVALID_COUNT,
            "empty",
        ),
        ("dtype", "float64", "dtype", Reason.INVALID_ENUM, "'bfloat16'"),
        ("dtype", np.int32, "dtype", Reason.INVALID_ENUM, "'int32'"),
        ("dtype", 3, "dtype", Reason.INVALID_ENUM, "not 3"),
        ("model", 3, "model", Reason.INVALID_NAME, "text"),
        ("model", "\ud800", "model", Reason.INVALID_NAME, "text"),
        ("version", 0, "version", Reason.OUT_OF_RANGE, "1 to"),
        ("version", 1.0, "version", Reason.INVALID_NAME, "text"),
        ("request_id", b"x", "request_id", Reason.INVALID_NAME, "text"),
        ("request_id", "é" * 65, "request_id", Reason.INVALID_NAME, "at most 128 bytes"),
        ("timeout", 0, "timeout", Reason.OUT_OF_RANGE, "more than 0"),
        ("timeout", float("inf"), "timeout", Reason.NON_FINITE, "finite"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_it_is_sent(
    serve: Serve, ask: Ask, keyword: str, value: Any, at: str, reason: Reason, says: str
) -> None:
    arrived: list[Any] = []
    address = serve(Attend=lambda request, _: arrived.append(request))
    keywords = {"model": "m", "query": QUERY, keyword: value}

    with pytest.raises(InvalidRequestError, match=says) as caught:
        ask(address, lambda client: client.attend(**keywords))

    assert isinstance(caught.value, ValueError)
    assert caught.value.reason is reason
    assert [violation.field for violation in caught.value.violations] == [at]
    assert at in caught.value.message
    assert caught.value.code is None
    assert not arrived
