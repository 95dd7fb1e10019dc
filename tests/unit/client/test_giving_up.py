"""Requests that are given up while their stream is used by others, and by others of their name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from attention_client import AttendCall
from attention_client._incoming import ChunkedAnswer
from attention_client._outgoing import Outgoing
from attention_client._request import request_of
from attention_client._stream import NoStream, Outcome, Stream
from attention_service.v1 import attention_pb2 as pb

MESSAGE_BYTES = 64 << 20
SMALL = np.zeros((1, 1, 1), np.float32)
LARGE = np.zeros((1, 3, 1 << 18), np.float32)


class KeptStream(Stream):
    """A stream that keeps what is to be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes | Iterator[bytes] | None] = []
        self.before_sending: Callable[[], None] | None = None

    def _send(self, what: bytes | Iterator[bytes] | None) -> None:
        hook, self.before_sending = self.before_sending, None
        if hook is not None:
            hook()
        self.sent.append(what)

    def _cancel(self) -> None:
        pass


def request(query: np.ndarray = SMALL) -> Outgoing:
    return request_of(AttendCall("m", query, request_id="same"))


def ask(stream: Stream, settle: Callable[[Outcome], None], query: np.ndarray = SMALL) -> str:
    return stream.ask(request(query), timeout=1, message_bytes=MESSAGE_BYTES, settle=settle)


def refused(name: str) -> bytes:
    return pb.AttendStreamResponse(request_id=name, error=pb.Error(code=4)).SerializeToString()


def unexpected(outcome: Outcome) -> None:
    raise AssertionError(outcome)


@pytest.mark.parametrize("sent", [0, 2])
def test_upload_that_was_given_up_does_not_go_on_for_another_of_its_name(sent: int) -> None:
    stream, first, second = KeptStream(), unexpected, list[Outcome]().append
    name = ask(stream, first, LARGE)
    (upload,) = stream.sent
    assert isinstance(upload, Iterator)
    for _ in range(sent):
        next(upload)

    stream.give_up(name, first)
    stream._received(refused(name))
    assert ask(stream, second, LARGE) == name

    assert next(upload, None) is None


def test_request_is_cancelled_before_another_has_its_name() -> None:
    stream, first, second = KeptStream(), list[Outcome]().append, list[Outcome]().append
    name = ask(stream, first)

    def use_the_name() -> None:
        stream._received(refused(name))
        ask(stream, second)

    other = threading.Thread(target=use_the_name)

    def amid() -> None:
        other.start()
        other.join(0.2)

    stream.before_sending = amid
    stream.give_up(name, first)
    other.join()

    messages = [pb.AttendStreamRequest.FromString(sent) for sent in stream.sent if sent]  # type: ignore[arg-type]
    assert [message.request_id for message in messages] == [name] * 3
    assert [message.WhichOneof("part") for message in messages] == ["request", "cancel", "request"]


class Meanwhile:
    """Runs something once in another thread, and waits a little for it."""

    def __init__(self, run: Callable[[], object]) -> None:
        self._thread = threading.Thread(target=run, daemon=True)

    def __call__(self) -> None:
        if self._thread.ident is None:
            self._thread.start()
            self._thread.join(0.2)

    def join(self) -> None:
        self._thread.join(20)


class Names(set[str]):
    """Names that are added slowly."""

    meanwhile: Callable[[], None]

    def add(self, name: str) -> None:
        super().add(name)
        self.meanwhile()


class Answers(dict[str, ChunkedAnswer]):
    """Answers that are looked up slowly."""

    meanwhile: Meanwhile

    def __contains__(self, name: object) -> bool:
        found = super().__contains__(name)
        self.meanwhile()
        return found

    def get(self, name: str, default: Any = None) -> Any:
        found = super().get(name, default)
        self.meanwhile()
        return found


def test_request_may_be_given_up_while_the_others_are_told_the_end() -> None:
    stream, outcomes = KeptStream(), list[Outcome]()
    settle = outcomes.append
    telling, go_on = threading.Event(), threading.Event()

    def slow(_: Outcome) -> None:
        telling.set()
        go_on.wait(20)

    first, name = ask(stream, slow), ask(stream, settle)
    ask(stream, slow)  # whichever end they are told from
    ending = threading.Thread(target=lambda: stream.close(NoStream()))

    def end() -> None:
        go_on.set()
        ending.join(20)

    stream._given_up = names = Names()
    names.meanwhile = end
    ending.start()
    telling.wait(20)
    stream.give_up(name, settle)
    end()

    assert first != name
    assert stream.is_over
    assert len(outcomes) == 1


def test_request_may_be_given_up_while_its_answer_comes() -> None:
    stream, outcomes = KeptStream(), list[Outcome]()
    settle = outcomes.append
    name = ask(stream, settle)
    head = pb.AttendStreamResponse(request_id=name, chunked=True)
    head.response.output.data_type = pb.DATA_TYPE_FLOAT32
    head.response.output.shape.extend([1, 1, 1])
    stream._received(head.SerializeToString())
    stream._coming = answers = Answers(stream._coming)
    answers.meanwhile = Meanwhile(lambda: stream.give_up(name, settle))

    chunk = pb.TensorChunk(field="output", data=b"12")  # of 4 bytes
    stream._received(pb.AttendStreamResponse(request_id=name, chunk=chunk).SerializeToString())
    answers.meanwhile.join()

    assert outcomes == []
    assert not answers
    assert not stream._waiting


def test_outcome_is_told_while_nothing_is_held() -> None:
    stream = KeptStream()
    names: list[str] = []

    def ask_again(_: Outcome) -> None:
        other = threading.Thread(
            target=lambda: names.append(ask(stream, list[Outcome]().append)), daemon=True
        )
        other.start()
        other.join(20)

    stream._received(refused(ask(stream, ask_again)))
    assert names == ["same"]
    ask(stream, ask_again)
    stream.close(NoStream())
    assert len(names) == 2
