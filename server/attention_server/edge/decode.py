"""An AttendRequest message as a request of the domain, validated once."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final, NamedTuple

from attention_server.domain.catalog import Catalog
from attention_server.domain.errors import InvalidRequest, LimitExceeded, Violation
from attention_server.domain.limits import answer_shapes, head_shapes
from attention_server.domain.model import AttentionSettings, Model, ModelKey
from attention_server.domain.request import AttendRequest, Mask, Outputs, Sizes
from attention_server.edge import fields
from attention_server.edge.decode_heads import decode_settings
from attention_server.edge.decode_mask import check_mask, decode_mask
from attention_server.edge.decode_outputs import decode_data_type, decode_outputs, item_bytes
from attention_server.edge.decode_positions import check_positions, decode_positions
from attention_server.edge.decode_whole import check_whole
from attention_service.limits import Limits, OverLimit
from attention_service.reasons import Reason
from attention_service.tensor import MAX_RANK
from attention_service.v1 import attention_pb2 as pb

__all__ = ["AnswerForm", "Checked", "Decoded", "check", "check_request_id", "decode", "read"]

_MAX_REQUEST_ID_BYTES = 128
_TENSORS: Final = ("query", "key", "value", "query_positions", "key_positions")
_MASKS: Final = ("key_mask", "attend_mask", "attn_bias")
_MOST_KNOWN = 1024
_MOST_BYTES_KNOWN = 256  # of heads, masks and outputs, so that no list is kept
_LARGEST_BATCH_KNOWN = 64  # nor long arrays of lengths


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


class Settled(NamedTuple):
    """What is the same for all requests of one outline."""

    model: Model
    settings: AttentionSettings
    sizes: Sizes
    outputs: Outputs
    ablated_heads: tuple[int, ...]
    mask: Mask
    """But for its tensors."""
    data_type: pb.DataType.ValueType
    answer_bytes: int


class Checked(NamedTuple):
    """A request of which all is right but perhaps the data of its tensors, which was not read."""

    message: pb.AttendRequest
    settled: Settled


_known: dict[Hashable, Settled] = {}
"""What came of outlines that were right: callers send many requests of few."""


def decode(message: pb.AttendRequest, catalog: Catalog, limits: Limits) -> Decoded:
    """Returns the request that a message asks for.

    Sizes, of the answer too, are checked against the limits before any tensor is read.

    Raises:
        InvalidRequest: A message that is no request.
        LimitExceeded: A request for too much.
        ModelNotFound: No such model.
    """
    return read(check(message, catalog, limits))


def check(message: pb.AttendRequest, catalog: Catalog, limits: Limits) -> Checked:
    """Returns what can be said of a request before the data of its tensors is there.

    Raises:
        InvalidRequest: A message that is no request.
        LimitExceeded: A request for too much.
        ModelNotFound: No such model.
    """
    check_request_id(message.request_id)
    model = catalog.find(message.model, message.model_version)
    outline = _outline(message)
    if outline is not None:
        outline = (catalog, limits, model.key, outline)  # of the first two there are few
    known = None if outline is None else _known.get(outline)
    if known is None:
        try:
            known = _check(message, model, limits)
        except OverLimit as over:
            raise LimitExceeded(over.reason, Violation(over.field, over.description)) from None
        if outline is not None and known.sizes.batch <= _LARGEST_BATCH_KNOWN:
            if len(_known) >= _MOST_KNOWN:
                _known.clear()
            _known[outline] = known
    return Checked(message, known)


def read(checked: Checked, data: fields.Data = fields.NO_DATA) -> Decoded:
    """Returns the request, its tensors read.

    Args:
        checked: What is known of it.
        data: Data of the tensors that came in chunks.

    Raises:
        InvalidRequest: Data that does not fit.
    """
    message, settled = checked
    model, settings = settled.model, settled.settings
    query = fields.embeddings(message.query, "query", data)
    key = fields.embeddings(message.key, "key", data) if message.HasField("key") else query
    value = fields.embeddings(message.value, "value", data) if message.HasField("value") else key
    mask = decode_mask(message, settled.mask, data)
    positions = decode_positions(message, model, settings, mask, settled.sizes, data)
    request = AttendRequest(
        model=model.key,
        query=query,
        key=key,
        value=value,
        mask=mask,
        settings=settings,
        ablated_heads=settled.ablated_heads,
        outputs=settled.outputs,
        query_positions=positions.query,
        key_positions=positions.key,
    )
    form = AnswerForm(
        message.request_id, model.key, settings, settled.data_type, settled.answer_bytes
    )
    return Decoded(request, form)


def _outline(message: pb.AttendRequest) -> Hashable | None:
    """Returns what ``_check`` reads of a message; None where that is much, or rarely the same."""
    mask = b""
    if message.HasField("mask"):
        if any(message.mask.HasField(name) for name in _MASKS):
            return None
        mask = message.mask.SerializeToString()
    heads, outputs = message.heads.SerializeToString(), message.outputs.SerializeToString()
    if len(heads) + len(mask) + len(outputs) > _MOST_BYTES_KNOWN:
        return None
    tensors = []
    for name in _TENSORS:
        if message.HasField(name):
            tensor = getattr(message, name)
            if len(tensor.shape) > MAX_RANK:
                return None
            tensors.append((name, tensor.data_type, *tensor.shape))
    return (*tensors, heads, mask, outputs)


def _check(message: pb.AttendRequest, model: Model, limits: Limits) -> Settled:
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
    return Settled(
        model=model,
        settings=settings,
        sizes=sizes,
        outputs=outputs,
        ablated_heads=() if ablated is None else tuple(ablated.tolist()),
        mask=mask,
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
