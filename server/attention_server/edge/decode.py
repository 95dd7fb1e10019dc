"""An AttendRequest message as a request of the domain, validated once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from attention_server.domain.catalog import Catalog
from attention_server.domain.errors import InvalidRequest, LimitExceeded, Violation
from attention_server.domain.limits import answer_shapes, head_shapes
from attention_server.domain.model import AttentionSettings, Model
from attention_server.domain.request import AttendRequest, Float32Array, Mask, Outputs, Sizes
from attention_server.edge import fields
from attention_server.edge.decode_heads import decode_settings
from attention_server.edge.decode_mask import check_mask, decode_mask
from attention_server.edge.decode_outputs import decode_data_type, decode_outputs, item_bytes
from attention_server.edge.decode_positions import check_positions, decode_positions
from attention_server.edge.decode_whole import check_whole
from attention_server.edge.encode import AnswerForm, encode_head
from attention_service.limits import Limits, OverLimit
from attention_service.reasons import Reason
from attention_service.tensor import Content, TensorForm
from attention_service.v1 import attention_pb2 as pb

__all__ = [
    "TENSORS",
    "Decoded",
    "RequestForm",
    "check",
    "check_request_id",
    "data_in",
    "decode",
    "read",
    "tensors_in",
]

_MAX_REQUEST_ID_BYTES = 128

TENSORS = (
    *("query", "key", "value", "query_positions", "key_positions"),
    *("mask.key_mask", "mask.attend_mask", "mask.attn_bias"),
)
"""Paths of all tensors that a request may have."""


class Decoded(NamedTuple):
    """A request and the form of its answer, which holds none of the request's tensors."""

    request: AttendRequest
    form: AnswerForm


class RequestForm(NamedTuple):
    """A request of which all is right but perhaps the data of its tensors, which was not read.

    Many requests have the same.
    """

    tensors: Mapping[str, TensorForm]
    """By their paths."""
    model: Model
    settings: AttentionSettings
    sizes: Sizes
    outputs: Outputs
    ablated_heads: tuple[int, ...]
    mask: Mask
    """But for its tensors."""
    answer_head: bytes
    data_type: pb.DataType.ValueType
    answer_bytes: int


def decode(message: pb.AttendRequest, catalog: Catalog, limits: Limits) -> Decoded:
    """Returns the request that a message asks for.

    Sizes, of the answer too, are checked against the limits before any tensor is read.

    Raises:
        InvalidRequest: A message that is no request.
        LimitExceeded: A request for too much.
        ModelNotFound: No such model.
    """
    form = check(message, catalog, limits)
    return read(form, message.request_id, data_in(message))


def check(message: pb.AttendRequest, catalog: Catalog, limits: Limits) -> RequestForm:
    """Returns what can be said of a request before the data of its tensors is there.

    Raises:
        InvalidRequest: A message that is no request.
        LimitExceeded: A request for too much.
        ModelNotFound: No such model.
    """
    check_request_id(message.request_id)
    model = catalog.find(message.model, message.model_version)
    try:
        return _check(message, model, limits)
    except OverLimit as over:
        raise LimitExceeded(over.reason, Violation(over.field, over.description)) from None


def read(form: RequestForm, request_id: str, data: Mapping[str, Content]) -> Decoded:
    """Returns the request, its tensors read.

    Args:
        form: What is known of it.
        request_id: Its own.
        data: Data of its tensors, by path.

    Raises:
        InvalidRequest: Data that does not fit.
    """
    tensors, model, settings = form.tensors, form.model, form.settings
    query = key = value = _embeddings("query", tensors, data)
    if "key" in tensors:
        key = value = _embeddings("key", tensors, data)
    if "value" in tensors:
        value = _embeddings("value", tensors, data)
    mask = decode_mask(form.mask, tensors, data)
    positions = decode_positions(model, settings, mask, form.sizes, tensors, data)
    request = AttendRequest(
        model=model.key,
        query=query,
        key=key,
        value=value,
        mask=mask,
        settings=settings,
        ablated_heads=form.ablated_heads,
        outputs=form.outputs,
        query_positions=positions.query,
        key_positions=positions.key,
    )
    answer = AnswerForm(request_id, form.answer_head, form.data_type, form.answer_bytes)
    return Decoded(request, answer)


def _embeddings(
    field: str, tensors: Mapping[str, TensorForm], data: Mapping[str, Content]
) -> Float32Array:
    return fields.embeddings(tensors[field], data.get(field, b""), field)


def tensors_in(message: pb.AttendRequest) -> Iterator[tuple[str, pb.Tensor]]:
    """Yields each tensor of a request and its path."""
    for path in TENSORS:
        mask, _, name = path.rpartition(".")
        holder: Any = message.mask if mask else message
        if holder.HasField(name):
            yield path, getattr(holder, name)


def data_in(message: pb.AttendRequest) -> dict[str, bytes]:
    """Returns the data of a request's tensors by their paths."""
    return {path: tensor.data for path, tensor in tensors_in(message)}


def _check(message: pb.AttendRequest, model: Model, limits: Limits) -> RequestForm:
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
    for field in ("query", "key", "value"):
        if message.HasField(field):
            fields.check_type(getattr(message, field), field, fields.FLOATS)
    mask = check_mask(message, settings, sizes)
    check_positions(message, model, settings, mask, sizes)
    return RequestForm(
        tensors={path: TensorForm(t.data_type, tuple(t.shape)) for path, t in tensors_in(message)},
        model=model,
        settings=settings,
        sizes=sizes,
        outputs=outputs,
        ablated_heads=() if ablated is None else tuple(ablated.tolist()),
        mask=mask,
        answer_head=encode_head(model.key, settings),
        data_type=data_type,
        answer_bytes=answer_bytes,
    )


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
