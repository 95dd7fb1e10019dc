"""An AttendRequest message as a request of the domain, validated once."""

from __future__ import annotations

from typing import NamedTuple

from attention_server.domain.catalog import Catalog
from attention_server.domain.errors import InvalidRequest, LimitExceeded, Violation
from attention_server.domain.limits import answer_shapes, head_shapes
from attention_server.domain.model import AttentionSettings, ModelKey
from attention_server.domain.request import AttendRequest, Sizes
from attention_server.edge import fields
from attention_server.edge.decode_heads import decode_settings
from attention_server.edge.decode_mask import decode_mask
from attention_server.edge.decode_outputs import decode_data_type, decode_outputs, item_bytes
from attention_server.edge.decode_positions import check_no_positions, decode_positions
from attention_server.edge.decode_whole import check_whole
from attention_service.limits import Limits, OverLimit
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb

__all__ = ["AnswerForm", "Decoded", "check_request_id", "decode"]

_MAX_REQUEST_ID_BYTES = 128


class AnswerForm(NamedTuple):
    """What an answer is made with, beside the result."""

    request_id: str
    model: ModelKey
    settings: AttentionSettings
    data_type: pb.DataType.ValueType
    """Element type of its floating-point tensors."""
    tensor_bytes: int
    """Size of its tensors."""


class Decoded(NamedTuple):
    """A request and the form of its answer, which holds none of the request's tensors."""

    request: AttendRequest
    form: AnswerForm


def decode(message: pb.AttendRequest, catalog: Catalog, limits: Limits) -> Decoded:
    """Returns the request that a message asks for.

    Sizes, of the answer too, are checked against the limits before any tensor is read.

    Raises:
        InvalidRequest: A message that is no request.
        LimitExceeded: A request for too much.
        ModelNotFound: No such model.
    """
    try:
        return _decode(message, catalog, limits)
    except OverLimit as over:
        raise LimitExceeded(over.reason, Violation(over.field, over.description)) from None


def _decode(message: pb.AttendRequest, catalog: Catalog, limits: Limits) -> Decoded:
    check_request_id(message.request_id)
    model = catalog.find(message.model, message.model_version)
    sizes = _sizes(message)
    limits.check_sizes(sizes.batch, sizes.query_len, sizes.kv_len)
    settings = decode_settings(message, model, sizes)
    limits.check_work(sizes.batch, settings.num_heads, sizes.query_len, sizes.kv_len)
    outputs = decode_outputs(message.outputs, model, settings, sizes, limits)
    data_type = decode_data_type(message.outputs)
    answer_bytes = limits.check_answer(
        answer_shapes(outputs, settings, model, sizes), item_bytes(data_type)
    )
    ablated = fields.indices(
        message.heads.ablated_heads, "heads.ablated_heads", settings.num_heads, limits
    )
    limits.check_heads(head_shapes(settings, model, sizes))
    if model.whole:
        check_whole(message)
    if model.positions == "none":
        check_no_positions(message)

    query = fields.embeddings(message.query, "query")
    key = fields.embeddings(message.key, "key") if message.HasField("key") else query
    value = fields.embeddings(message.value, "value") if message.HasField("value") else key
    mask = decode_mask(message, settings, sizes)
    positions = decode_positions(message, model, settings, mask, sizes)
    request = AttendRequest(
        model=model.key,
        query=query,
        key=key,
        value=value,
        mask=mask,
        settings=settings,
        ablated_heads=() if ablated is None else tuple(ablated.tolist()),
        outputs=outputs,
        query_positions=positions.query,
        key_positions=positions.key,
    )
    form = AnswerForm(message.request_id, model.key, settings, data_type, answer_bytes)
    return Decoded(request, form)


def check_request_id(request_id: str) -> None:
    """Refuses an id that is too long.

    Raises:
        InvalidRequest: INVALID_NAME.
    """
    if len(request_id.encode()) > _MAX_REQUEST_ID_BYTES:
        raise InvalidRequest.of(
            Reason.INVALID_NAME, "request_id", f"must have at most {_MAX_REQUEST_ID_BYTES} bytes"
        )


def _sizes(message: pb.AttendRequest) -> Sizes:
    """Returns the sizes of query, key and value, which must fit each other."""
    if not message.HasField("query"):
        raise InvalidRequest.of(Reason.MISSING_FIELD, "query", "must be given")
    query = fields.shape(message.query, "query", 3)
    key, value = query, query
    if message.HasField("key"):
        key = value = fields.shape(message.key, "key", 3)
        fields.check_shape("key", key[:1], query[:1], "[batch, ...]")
    if message.HasField("value"):
        value = fields.shape(message.value, "value", 3)
        fields.check_shape("value", value[:2], key[:2], "[batch, kv_len, ...]")
    return Sizes(query[0], query[1], key[1], query[2], key[2], value[2])
