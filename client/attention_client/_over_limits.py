"""What a server would refuse for its size, told from the request alone."""

from __future__ import annotations

from typing import TypeAlias

from attention_service import tensor
from attention_service.limits import Limits
from attention_service.shapes import Dims, answer_shapes, head_shapes
from attention_service.v1 import attention_pb2 as pb

_Shape: TypeAlias = tuple[int, ...]

_SDPA = "sdpa"
_ALL_BUT_TENSORS = 1 << 16
"""Bytes that the rest seldom takes; a message that longer lists make too large, gRPC refuses."""


def check_attend(request: pb.AttendRequest, limits: Limits) -> None:
    """Refuses what the server would refuse for its size, in the server's order and words.

    A request that contradicts itself is left to the server, and so is what only the model knows:
    given ``num_heads``, any model's work is known; tensors and answer are those of "sdpa" alone.

    Raises:
        OverLimit: The first limit that it is over.
    """
    if _tensor_bytes(request) + _ALL_BUT_TENSORS > limits.message_bytes:
        limits.check_message(request.ByteSize())  # protobuf serializes for it: never in vain
    query: _Shape = tuple(request.query.shape)
    key = tuple(request.key.shape) if request.HasField("key") else query
    value = tuple(request.value.shape) if request.HasField("value") else key
    if key[0] != query[0] or value[:2] != key[:2]:
        return
    limits.check_sizes(query[0], query[1], key[1])
    dims = _dims(request.heads, query, key, value) if request.model == _SDPA else None
    if request.model == _SDPA and dims is None:
        return
    limits.check_work(query[0], request.heads.num_heads, query[1], key[1])
    _check_lists(request.outputs, limits)
    if dims is not None:
        _check_answer(request.outputs, dims, limits)
    limits.check_entries("heads.ablated_heads", len(request.heads.ablated_heads))
    if dims is not None:
        limits.check_heads(head_shapes(dims))


def _check_lists(outputs: pb.OutputSpec, limits: Limits) -> None:
    selections: tuple[tuple[str, pb.WeightsSpec | pb.ScoresSpec], ...] = (
        ("weights", outputs.weights),
        ("scores", outputs.scores),
    )
    for name, selected in selections:
        limits.check_entries(f"outputs.{name}.heads", len(selected.heads))
        limits.check_entries(f"outputs.{name}.query_indices", len(selected.query_indices))


def _check_answer(outputs: pb.OutputSpec, dims: Dims, limits: Limits) -> None:
    shapes = answer_shapes(
        dims,
        output=not outputs.omit_output,
        weights=outputs.weights if outputs.HasField("weights") else None,
        scores=outputs.scores if outputs.HasField("scores") else None,
        projections=outputs.projections,
        head_outputs=outputs.head_outputs,
        log_sum_exp=outputs.log_sum_exp,
    )
    limits.check_answer(shapes, item_bytes=tensor.byte_size(outputs.data_type, (1,)))


def _dims(heads: pb.HeadConfig, query: _Shape, key: _Shape, value: _Shape) -> Dims | None:
    """Returns the sizes of a request to "sdpa"; None where heads and widths do not fit."""
    num_heads, num_kv_heads = heads.num_heads, heads.num_kv_heads or heads.num_heads
    if not num_heads or num_heads % num_kv_heads or query[2] % num_heads or value[2] % num_kv_heads:
        return None
    head_dim, value_head_dim = query[2] // num_heads, value[2] // num_kv_heads
    if key[2] != num_kv_heads * head_dim:
        return None
    return Dims(
        batch=query[0],
        query_len=query[1],
        kv_len=key[1],
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        value_head_dim=value_head_dim,
        output_dim=num_heads * value_head_dim,
    )


def _tensor_bytes(request: pb.AttendRequest) -> int:
    """Returns the bytes of all tensors, without a look at their data: protobuf would copy it."""
    mask = request.mask
    fields = (
        request.query,
        request.key,
        request.value,
        request.query_positions,
        request.key_positions,
        mask.key_mask,
        mask.attend_mask,
        mask.attn_bias,
    )
    return sum(
        tensor.byte_size(field.data_type, tuple(field.shape))
        for field in fields
        if field.data_type  # unspecified where the field is absent
    )
