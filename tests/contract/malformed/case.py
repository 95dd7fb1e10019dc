"""What a row of the tables of malformed requests says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import grpc
from google.protobuf.message import Message

from attention_service.reasons import Reason


class Malformed(NamedTuple):
    """A request that has no answer, and the error that it has in place of one."""

    what: str
    """What is wrong with it."""
    request: Message | bytes
    reason: Reason
    fields: tuple[str, ...]
    """Paths of the fields at fault."""
    code: grpc.StatusCode
    rpc: str


def refused(
    reason: Reason,
    fields: str | tuple[str, ...],
    requests: Mapping[str, Message | bytes],
    *,
    code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT,
    rpc: str = "Attend",
) -> list[Malformed]:
    """Returns a row for each request, by what is wrong with it; all have the same error."""
    paths = (fields,) if isinstance(fields, str) else fields
    return [
        Malformed(what, request, reason, paths, code, rpc) for what, request in requests.items()
    ]
