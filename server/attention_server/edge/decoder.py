"""Bytes as requests, each form of which is checked once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from google.protobuf.message import DecodeError, Message

from attention_server.domain.catalog import Catalog
from attention_server.edge.decode import (
    TENSORS,
    Decoded,
    RequestForm,
    check,
    check_request_id,
    data_in,
    read,
)
from attention_server.edge.entries import check_entries
from attention_server.edge.wire import parse
from attention_service.apart import Apart, Seams
from attention_service.limits import Limits
from attention_service.v1 import attention_pb2 as pb

__all__ = ["Decoder", "StreamDecoder", "StreamMessage"]

_MOST_KNOWN = 1024
_MOST_BYTES_KNOWN = 512  # of a request without its data, so that no list is kept
_LARGEST_BATCH_KNOWN = 64  # nor long arrays of lengths


class _Forms:
    """Forms of requests that were right, by all of their bytes but ids and data.

    Callers send many requests of few forms, whose data is then read where it stands. Belongs to one
    server; several threads may use it.
    """

    def __init__(self, message_type: type[Message], own: str, beside: tuple[str, ...] = ()) -> None:
        paths = {name: name for name in beside}
        paths["own_id"] = f"{own}request_id"
        paths.update((path, f"{own}{path}.data") for path in TENSORS)
        self._seams = Seams(message_type, paths)
        self._known: dict[bytes, RequestForm] = {}

    def take_apart(self, data: bytes) -> Apart | None:
        """Returns the message in parts; None for one that protobuf has to read."""
        return self._seams.take_apart(data)

    def form_of(self, apart: Apart) -> RequestForm | None:
        """Returns the form, if it is known."""
        return self._known.get(apart.rest)

    def remember(self, apart: Apart | None, form: RequestForm) -> None:
        """Keeps the form of a request that was right, unless it is large."""
        if apart is None or len(apart.rest) > _MOST_BYTES_KNOWN:
            return
        if form.sizes.batch > _LARGEST_BATCH_KNOWN:
            return
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[apart.rest] = form


class Decoder:
    """Decodes what comes as a message of its own.

    Args:
        catalog: The models.
        limits: Bounds of a request.
    """

    def __init__(self, catalog: Catalog, limits: Limits) -> None:
        self._catalog = catalog
        self._limits = limits
        self._forms = _Forms(pb.AttendRequest, "")

    def decode(self, data: bytes) -> Decoded:
        """Returns the request that an AttendRequest asks for.

        Raises:
            InvalidRequest: A message that is no request.
            LimitExceeded: A request for too much.
            ModelNotFound: No such model.
        """
        apart = self._forms.take_apart(data)
        form = None if apart is None else self._forms.form_of(apart)
        if apart is not None and form is not None:
            own_id = _text(apart, "own_id")
            if own_id is not None:
                check_request_id(own_id)
                return read(form, own_id, apart.parts)
        check_entries(pb.AttendRequest, data, self._limits)
        message = parse(pb.AttendRequest, data)
        form = check(message, self._catalog, self._limits)
        self._forms.remember(apart, form)
        return read(form, message.request_id, data_in(message))


class StreamMessage(NamedTuple):
    """A message of a stream, and what decodes the request in it."""

    message: pb.AttendStreamRequest
    """Where the form of its request is known, of that the id alone."""
    decode: Callable[[], Decoded]


class StreamDecoder:
    """Decodes what comes on a stream.

    Args:
        catalog: The models.
        limits: Bounds of a request on a stream.
    """

    def __init__(self, catalog: Catalog, limits: Limits) -> None:
        self._catalog = catalog
        self.limits = limits
        self._forms = _Forms(pb.AttendStreamRequest, "request.", ("request_id", "timeout"))

    def known(self, data: bytes) -> StreamMessage | None:
        """Returns a message with a request of a form that is known, at once."""
        apart = self._forms.take_apart(data)
        form = None if apart is None else self._forms.form_of(apart)
        if apart is None or form is None:
            return None
        stream_id, own_id = _text(apart, "request_id"), _text(apart, "own_id")
        if stream_id is None or own_id is None:
            return None
        message = pb.AttendStreamRequest(
            request_id=stream_id, request=pb.AttendRequest(request_id=own_id)
        )
        if "timeout" in apart.parts:
            try:
                message.timeout.MergeFromString(bytes(apart.parts["timeout"]))
            except DecodeError:
                return None
        return StreamMessage(message, partial(_checked_and_read, form, own_id, apart))

    def parse(self, data: bytes) -> StreamMessage:
        """Returns a message of whatever kind.

        Raises:
            InvalidRequest: MALFORMED_MESSAGE.
            LimitExceeded: LENGTH_LIMIT, of a message that is too much to be parsed.
        """
        check_entries(pb.AttendStreamRequest, data, self.limits)
        message = parse(pb.AttendStreamRequest, data)
        apart = None if message.chunked else self._forms.take_apart(data)
        return StreamMessage(message, partial(self._decode, message.request, apart))

    def check(self, message: pb.AttendRequest) -> RequestForm:
        """Returns what can be said of a request before the data of its tensors is there.

        Raises:
            InvalidRequest: A message that is no request.
            LimitExceeded: A request for too much.
            ModelNotFound: No such model.
        """
        return check(message, self._catalog, self.limits)

    def _decode(self, message: pb.AttendRequest, apart: Apart | None) -> Decoded:
        form = self.check(message)
        self._forms.remember(apart, form)
        return read(form, message.request_id, data_in(message))


def _checked_and_read(form: RequestForm, own_id: str, apart: Apart) -> Decoded:
    check_request_id(own_id)
    return read(form, own_id, apart.parts)


def _text(apart: Apart, name: str) -> str | None:
    """Returns a string of a message, empty if it is absent; None for bytes that are no text."""
    if name not in apart.parts:
        return ""
    try:
        return str(apart.parts[name], "utf-8")
    except UnicodeDecodeError:
        return None
