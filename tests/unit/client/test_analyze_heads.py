"""The call that asks what heads attend to: its request, its answer, its errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from attention_client import (
    AttentionSettings,
    Execution,
    HeadAnalysis,
    InvalidRequestError,
    ModelNotFoundError,
    NotImplementedByServerError,
    Reason,
    RequestTooLargeError,
)
from attention_client._names import HEAD_PATTERN_NAMES
from attention_service.v1 import attention_pb2 as pb

Ask = Callable[..., Any]
Serve = Callable[..., str]

QUERY = np.arange(6, dtype=np.float32).reshape(1, 3, 2)


def request_sent(serve: Serve, ask: Ask, *args: Any, **keywords: Any) -> pb.AnalyzeHeadsRequest:
    requests: list[pb.AnalyzeHeadsRequest] = []

    def handler(request: pb.AnalyzeHeadsRequest, _: Any) -> pb.AnalyzeHeadsResponse:
        requests.append(request)
        return pb.AnalyzeHeadsResponse()

    ask(serve(AnalyzeHeads=handler), lambda client: client.analyze_heads(*args, **keywords))
    (request,) = requests
    return request


def test_the_attention_is_that_of_attend_without_outputs(serve: Serve, ask: Ask) -> None:
    keywords: dict[str, Any] = {
        "key": QUERY + 1,
        "kv_lengths": [2],
        "key_mask": [[True, False, True]],
        "causal": "lower_right",
        "num_heads": 2,
        "version": 3,
        "request_id": "mine",
    }
    attends: list[pb.AttendRequest] = []

    def attend(request: pb.AttendRequest, _: Any) -> pb.AttendResponse:
        attends.append(request)
        return pb.AttendResponse()

    ask(serve(Attend=attend), lambda client: client.attend("m", QUERY, **keywords))
    request = request_sent(serve, ask, "m", QUERY, **keywords)

    assert request.attend == attends[0]
    assert not request.attend.HasField("outputs")
    assert not request.relations


@pytest.mark.parametrize(
    "pairs",
    [
        [(0, 1, 0), (0, 2, 1)],
        [(1, 0), (2, 1)],
        np.array([[1, 0], [2, 1]]),
        [[1, 0], (0, 2, 1)],
    ],
    ids=["with sequence", "without", "array", "either"],
)
def test_pairs_of_one_sequence_need_not_name_it(serve: Serve, ask: Ask, pairs: Any) -> None:
    request = request_sent(serve, ask, "m", QUERY, relations={"nsubj": pairs, "none": []})

    assert [relation.name for relation in request.relations] == ["nsubj", "none"]
    assert list(request.relations[0].pairs) == [
        pb.Pair(sequence=0, query=1, key=0),
        pb.Pair(sequence=0, query=2, key=1),
    ]


def test_the_answer_is_told_in_the_contracts_names(serve: Serve, ask: Ask) -> None:
    names = "entropy normalized_entropy max_weight mean_distance self_share previous_share "
    names += "next_share first_share local_share"
    figures = {name: number / 16 for number, name in enumerate(names.split())}
    response = pb.AnalyzeHeadsResponse(
        model="m",
        model_version="2",
        heads=[
            pb.HeadAnalysis(head=0, rows=2),
            pb.HeadAnalysis(
                head=1,
                rows=3,
                **figures,
                pattern=pb.HEAD_PATTERN_RELATION,
                relation="nsubj",
                relation_shares={"nsubj": 0.75},
            ),
        ],
        fully_masked_rows=7,
        execution=pb.Execution(provider="CPUExecutionProvider", path="blocks", compute_us=3),
        applied=pb.AttentionSettings(num_heads=2, causal=pb.CAUSAL_MODE_NONE),
    )

    result = ask(
        serve(AnalyzeHeads=lambda *_: response),
        lambda client: client.analyze_heads("m", QUERY, request_id="mine"),
    )

    assert result.heads == (
        HeadAnalysis(head=0, rows=2),
        HeadAnalysis(
            head=1,
            rows=3,
            **figures,
            pattern="relation",
            relation="nsubj",
            relation_shares={"nsubj": 0.75},
        ),
    )
    assert result.heads[0].entropy is None
    assert result.heads[1].entropy == 0.0  # present, and 0
    assert (result.model, result.model_version, result.request_id) == ("m", "2", "mine")
    assert result.fully_masked_rows == 7
    assert result.execution == Execution("CPUExecutionProvider", "blocks", 0, 0, 3)
    assert result.applied == AttentionSettings(2, 0, 0.0, 0.0, "none", None)


def test_every_pattern_of_the_contract_has_its_name() -> None:
    expected = {
        number: name.removeprefix("HEAD_PATTERN_").lower().replace("unspecified", "none")
        for name, number in pb.HeadPattern.items()
    }

    assert expected == HEAD_PATTERN_NAMES


def test_what_is_over_a_limit_is_not_sent(serve: Serve, ask: Ask) -> None:
    info = pb.GetServerInfoResponse(
        limits=pb.Limits(message_bytes=QUERY.nbytes - 1, stream_bytes=1 << 20)
    )

    with pytest.raises(RequestTooLargeError) as caught:
        ask(
            serve(GetServerInfo=lambda *_: info),  # AnalyzeHeads would be UNIMPLEMENTED
            lambda client: client.analyze_heads("m", QUERY),
        )

    assert caught.value.reason is Reason.MESSAGE_LIMIT  # it does not travel on a stream
    assert caught.value.code is None


def test_the_answer_is_no_tensor_that_a_limit_could_refuse(serve: Serve, ask: Ask) -> None:
    info = pb.GetServerInfoResponse(limits=pb.Limits(message_bytes=64, stream_bytes=64))

    result = ask(
        serve(GetServerInfo=lambda *_: info, AnalyzeHeads=lambda *_: pb.AnalyzeHeadsResponse()),
        lambda client: client.analyze_heads("sdpa", QUERY, num_heads=2),
    )

    assert result.heads == ()


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"relations": {"r": [(0, 3)]}}, r"relations\['r'\]\[0\] key: must be 0 to 2"),
        ({"window": 3}, "window: must be a pair"),
        ({"causal": "yes"}, "causal: must be one of"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    ask: Ask, keywords: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidRequestError, match=says):
        ask("localhost:1", lambda client: client.analyze_heads("m", QUERY, **keywords))


@pytest.mark.parametrize("keyword", ["weights", "output", "dtype"])
def test_what_to_return_is_no_keyword(ask: Ask, keyword: str) -> None:
    with pytest.raises(TypeError, match=keyword):
        ask("localhost:1", lambda client: client.analyze_heads("m", QUERY, **{keyword: True}))


def test_errors_are_those_of_every_call(serve: Serve, ask: Ask) -> None:
    def no_model(_: Any, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.NOT_FOUND, "no model m; there is sdpa")

    with pytest.raises(ModelNotFoundError, match="no model m"):
        ask(serve(AnalyzeHeads=no_model), lambda client: client.analyze_heads("m", QUERY))
    with pytest.raises(NotImplementedByServerError, match="does not serve this call"):
        ask(serve(), lambda client: client.analyze_heads("m", QUERY))
