"""A request whose tensors come in chunks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attention_server.domain.errors import InvalidRequest, LimitExceeded, Violation
from attention_server.edge.decode import Decoded, RequestForm, read, tensors_in
from attention_service import tensor
from attention_service.limits import Limits, OverLimit
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb

__all__ = ["ChunkedRequest"]


class ChunkedRequest:
    """Puts tensors together, each in one array that is as large as its shape says.

    The system gives memory to an array as it is written to: who announces much and sends little
    takes little.

    Args:
        message: The request; it gives its data away.
        form: What is known of it.
        limits: Bounds of all tensors together.

    Raises:
        LimitExceeded: MESSAGE_LIMIT.
        InvalidRequest: INVALID_BYTE_LENGTH: a tensor has more data than its shape says.
    """

    def __init__(self, message: pb.AttendRequest, form: RequestForm, limits: Limits) -> None:
        self._request_id, self._form = message.request_id, form
        sizes = {path: tensor.byte_size(*each) for path, each in form.tensors.items()}
        try:
            limits.check_message(sum(sizes.values()))
        except OverLimit as over:
            raise LimitExceeded(over.reason, Violation(over.field, over.description)) from None
        self._data: dict[str, NDArray[np.uint8]] = {}
        self._missing: dict[str, int] = {}
        for path, each in tensors_in(message):
            self._missing[path] = sizes[path]
            self.add(path, each.data)
            each.ClearField("data")

    @property
    def missing(self) -> tuple[str, ...]:
        """Paths of the tensors that are not complete."""
        return tuple(path for path, size in self._missing.items() if size)

    def add(self, path: str, data: bytes) -> None:
        """Takes bytes that follow those that came.

        Raises:
            InvalidRequest: INVALID_BYTE_LENGTH or MISSING_FIELD.
        """
        if path not in self._missing:
            raise InvalidRequest.of(
                Reason.MISSING_FIELD,
                "chunk.field",
                f"must be a tensor of the request: {', '.join(self._missing)}",
            )
        missing = self._missing[path]
        if len(data) > missing:
            raise InvalidRequest.of(
                Reason.INVALID_BYTE_LENGTH,
                f"{path}.data",
                f"must have no more bytes than the shape says, but {len(data) - missing} more came",
            )
        if not data:
            return
        if path not in self._data:
            self._data[path] = np.empty(missing, np.uint8)
        array = self._data[path]
        start = array.size - missing
        array[start : start + len(data)] = np.frombuffer(data, np.uint8)
        self._missing[path] = missing - len(data)

    def decoded(self) -> Decoded:
        """Returns the request, once it is complete.

        Raises:
            InvalidRequest: Data that does not fit.
        """
        return read(self._form, self._request_id, self._data)
