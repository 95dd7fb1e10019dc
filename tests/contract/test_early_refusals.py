"""What a server would refuse for its size, the SDK refuses before it is sent, in the same words."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from attention_client import (
    AttentionClient,
    AttentionError,
    FieldViolation,
    LimitExceededError,
    Reason,
    ScoresSpec,
    WeightsSpec,
)
from attention_client._attend import AttendCall
from attention_client._outgoing import Outgoing
from attention_client._over_limits import check_attend
from attention_client._request import request_of
from attention_server import EmbeddedServer
from attention_server.domain.catalog import Catalog
from attention_server.domain.errors import LimitExceeded
from attention_server.domain.model import SDPA, AttentionSettings, Model, ModelKey
from attention_server.edge.attend import AttendHandlers
from attention_server.edge.decode import decode
from attention_server.edge.describe import DescribeHandlers
from attention_server.edge.stream import StreamHandlers
from attention_service import tensor
from attention_service.limits import Limits, OverLimit
from attention_service.v1 import attention_pb2 as pb
from tests.contract.malformed import limits
from tests.wire import Wire

Ask = Callable[..., Any]

_TENSORS = ("query", "key", "value")
_LONG = np.ones((1, 17, 4), np.float32)  # one more than ``limits.SETTINGS`` allows


class Served(NamedTuple):
    """A server, and how often each of its methods was called."""

    address: str
    calls: Counter[str]


@contextmanager
def served(**settings: Any) -> Iterator[Served]:
    calls: Counter[str] = Counter()

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any) -> Any:
            calls[method.__name__] += 1
            return method(*args)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for handlers, name in (
            (AttendHandlers, "attend"),
            (StreamHandlers, "attend_stream"),
            (DescribeHandlers, "get_server_info"),
        ):
            patch.setattr(handlers, name, counted(getattr(handlers, name)))
        with EmbeddedServer(demo=False, **settings) as server:
            yield Served(server.address, calls)


@pytest.fixture(scope="module")
def small_server() -> Iterator[Served]:
    with served(**limits.SETTINGS) as small:
        yield small


@pytest.fixture
def small(small_server: Served) -> Served:
    small_server.calls.clear()
    return small_server


def keywords_of(message: pb.AttendRequest) -> dict[str, Any] | None:
    """Returns how the SDK is asked for this request to "sdpa"; None where it cannot be."""
    heads, outputs = message.heads, message.outputs
    given = {field.name: value for field, value in message.ListFields() if field.name in _TENSORS}
    try:
        tensors = {name: tensor.decode(value) for name, value in given.items()}
    except tensor.TensorError:
        return None
    spec = outputs.weights
    return {
        **tensors,
        "num_heads": heads.num_heads,
        "num_kv_heads": heads.num_kv_heads,
        "ablated_heads": list(heads.ablated_heads),
        "output": not outputs.omit_output,
        "weights": outputs.HasField("weights")
        and WeightsSpec(
            list(spec.heads) or None, list(spec.query_indices) or None, top_k=spec.top_k
        ),
        "scores": outputs.HasField("scores")
        and ScoresSpec(
            list(outputs.scores.heads) or None, list(outputs.scores.query_indices) or None
        ),
    }


def rows(*, streamed: bool) -> list[Any]:
    """Returns what is over a limit, or what is over one of messages alone."""
    return [
        pytest.param(row.request, keywords, id=row.what)
        for row in limits.ROWS
        if isinstance(row.request, pb.AttendRequest)
        and (row.reason is Reason.ANSWER_LIMIT) is streamed
        and (keywords := keywords_of(row.request)) is not None
    ]


def refused(ask: Ask, address: str, **keywords: Any) -> AttentionError:
    with pytest.raises(AttentionError) as caught:
        ask(address, lambda client: client.attend("sdpa", **keywords))
    return caught.value


@pytest.mark.parametrize(("request_", "keywords"), rows(streamed=False))
def test_sdk_refuses_in_the_servers_words_and_sends_nothing(
    small: Served, ask: Ask, request_: pb.AttendRequest, keywords: dict[str, Any]
) -> None:
    error = refused(ask, small.address, **keywords)

    assert small.calls == {"get_server_info": 1}
    with Wire(small.address) as wire:
        said = wire.refusal("Attend", request_)
    assert type(error) is LimitExceededError
    assert (error.message, error.reason) == (said.message, said.reason)
    assert error.violations == tuple(map(FieldViolation, said.fields, said.descriptions))
    assert error.code is None
    assert error.__context__ is None


def test_every_limit_of_a_server_has_a_request_above() -> None:
    said = {limit.reason for limit in limits.ROWS}

    assert said == {reason for reason in Reason if reason.name.endswith("_LIMIT")} - {
        Reason.MESSAGE_LIMIT
    }
    asked = rows(streamed=False) + rows(streamed=True)
    attend = [row for row in limits.ROWS if isinstance(row.request, pb.AttendRequest)]
    assert len(asked) >= len(attend) - 2  # what has a shape without data no array can say


@pytest.mark.parametrize(("request_", "keywords"), rows(streamed=True))
def test_what_no_message_holds_is_answered_on_a_stream(
    small: Served, ask: Ask, request_: pb.AttendRequest, keywords: dict[str, Any]
) -> None:
    result = ask(small.address, lambda client: client.attend("sdpa", **keywords))

    assert small.calls == {"get_server_info": 1, "attend_stream": 1}
    assert sum(array.nbytes for array in result.arrays().values()) > (1 << 16) - 4096
    with Wire(small.address) as wire:
        assert wire.refusal("Attend", request_).reason == Reason.ANSWER_LIMIT


@pytest.mark.parametrize(
    ("keywords", "reason", "message"),
    [
        (
            {
                **{name: np.ones((1, 16, 2048), np.float32) for name in _TENSORS},
                "output": False,
            },
            Reason.MESSAGE_LIMIT,
            f"the request takes {3 << 17} bytes, at most {1 << 18} fit on a stream",
        ),
        (
            {"query": np.ones((1, 9, 1)), "value": np.ones((1, 9, 8192), np.float16)},
            Reason.ANSWER_LIMIT,
            f"the answer would hold {9 << 15} bytes of tensors, at most {(1 << 18) - 4096} fit",
        ),
    ],
    ids=["request", "answer"],
)
def test_what_no_stream_holds_is_refused(
    small: Served, ask: Ask, keywords: dict[str, Any], reason: Reason, message: str
) -> None:
    error = refused(ask, small.address, num_heads=1, **keywords)

    assert small.calls == {"get_server_info": 1}
    assert message in error.message
    assert (error.reason, error.code) == (reason, None)


_BOUNDS = Limits(message_bytes=1 << 13, batch=7, length=7, work=800, stream_bytes=8000).on_stream()
_UP_TO_8 = st.integers(1, 8)
_LISTS = st.none() | st.lists(st.just(0), min_size=1, max_size=8)
_SELECTIONS: dict[str, Any] = {
    "weights": st.booleans()
    | st.builds(WeightsSpec, _LISTS, _LISTS, st.booleans(), st.none() | _UP_TO_8),
    "scores": st.booleans() | st.builds(ScoresSpec, _LISTS, _LISTS),
    "ablated_heads": _LISTS,
    "dtype": st.sampled_from(["float32", "float16", "bfloat16"]),
    **{name: st.booleans() for name in ("output", "projections", "head_outputs", "log_sum_exp")},
}


@given(data=st.data(), sizes=st.tuples(*[_UP_TO_8] * 3), kv_heads=st.integers(1, 3))
def test_sdk_refuses_exactly_what_the_server_refuses(
    data: st.DataObject, sizes: tuple[int, int, int], kv_heads: int
) -> None:
    batch, query_len, kv_len = sizes
    num_heads = kv_heads * data.draw(st.integers(1, 3), "groups")
    head_dim, value_head_dim = data.draw(_UP_TO_8, "head"), data.draw(st.integers(1, 40), "value")
    request = request_of(
        AttendCall(
            "sdpa",
            np.ones((batch, query_len, num_heads * head_dim), np.float32),
            np.ones((batch, kv_len, kv_heads * head_dim), np.float32),
            np.ones((batch, kv_len, kv_heads * value_head_dim), np.float32),
            num_heads=num_heads,
            num_kv_heads=kv_heads,
            **data.draw(st.fixed_dictionaries(_SELECTIONS), "selections"),
        )
    )

    assume(request.nbytes <= _BOUNDS.stream_bytes)  # the server counts what comes

    assert _said_by_sdk(request) == _said_by_server(request)


def _said_by_sdk(request: Outgoing, bounds: Limits = _BOUNDS) -> tuple[Reason, str, str] | None:
    try:
        check_attend(request, bounds)
    except OverLimit as over:
        return (over.reason, over.field, over.description)
    return None


def _said_by_server(
    request: Outgoing, bounds: Limits = _BOUNDS, model: Model = SDPA
) -> tuple[Reason, str, str] | None:
    try:
        decode(request.message(), Catalog([model]), bounds)
    except LimitExceeded as error:
        return (error.reason, *error.violations[0])
    return None


def test_weights_of_a_model_that_comes_whole_are_bounded_by_the_server() -> None:
    model = replace(
        SDPA,
        key=ModelKey("whole", "1"),
        query_dim=1,
        key_dim=1,
        value_dim=1,
        output_dim=1,
        defaults=AttentionSettings(num_heads=4, num_kv_heads=4, scale=0.0),
    )

    bounds = replace(_BOUNDS, work=1 << 20, stream_bytes=4000)

    def said(batch: int) -> tuple[Reason, str, str] | None:
        request = request_of(AttendCall("whole", np.ones((batch, 7, 1)), num_heads=4))
        assert _said_by_sdk(request, bounds) is None  # it does not know the model
        return _said_by_server(request, bounds, model)

    assert said(5) is None
    assert said(6) == (
        Reason.TENSOR_LIMIT,
        "",
        (
            "weights [6, 4, 7, 7] would take 4704 bytes, "
            "a tensor over all heads may take 4000 at most; send fewer or shorter sequences"
        ),
    )


def test_what_contradicts_itself_is_left_to_the_server(small: Served, ask: Ask) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "no heads": {"query": np.ones((4, 16, 4))},
        "heads that do not divide": {"query": np.ones((4, 16, 4)), "num_heads": 3},
        "another batch": {"query": _LONG, "key": np.ones((2, 1, 4)), "num_heads": 1},
        "values of another length": {"query": _LONG, "value": np.ones((1, 1, 4)), "num_heads": 1},
    }
    for what, keywords in wrong.items():
        error = refused(ask, small.address, **keywords)

        assert error.code == "INVALID_ARGUMENT", what
        assert type(error) is not LimitExceededError, what


def test_limits_are_read_once_however_much_is_asked(small: Served) -> None:
    with AttentionClient(small.address) as client:
        for _ in range(20):
            client.attend("sdpa", np.ones((1, 1, 4)), num_heads=1)

    assert small.calls == {"get_server_info": 1, "attend_stream": 1}


def test_client_refuses_nothing_that_a_server_started_anew_would_take() -> None:
    with served(**limits.SETTINGS) as before:
        client = AttentionClient(before.address)
        with pytest.raises(LimitExceededError):
            client.attend("sdpa", _LONG, num_heads=1)
    assert before.calls == {"get_server_info": 1}

    with served(listen=before.address) as after, client:
        client.attend("sdpa", _LONG, num_heads=1)

    assert after.calls == {"get_server_info": 1, "attend_stream": 1}


def test_server_refuses_by_itself_where_it_takes_less_than_before() -> None:
    with served() as before:
        client = AttentionClient(before.address)
        client.attend("sdpa", _LONG, num_heads=1)

    with (
        served(listen=before.address, **limits.SETTINGS) as after,
        client,
        pytest.raises(LimitExceededError) as caught,
    ):
        client.attend("sdpa", _LONG, num_heads=1)

    assert after.calls == {"attend_stream": 1}
    assert caught.value.code == "INVALID_ARGUMENT"
