"""What a model that comes whole cannot do: its graph takes tensors and one boolean mask."""

from __future__ import annotations

from attention_server.domain.errors import InvalidRequest
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb

__all__ = ["check_whole"]

_HEADS_AXIS = 1


def check_whole(message: pb.AttendRequest) -> None:
    """Refuses what only a model in stages can do.

    Raises:
        InvalidRequest: INVALID_HEADS or MASK_NOT_SUPPORTED.
    """
    heads, mask = message.heads, message.mask
    if heads.HasField("scale"):
        raise _unchangeable("scale")
    if heads.HasField("softcap"):
        raise _unchangeable("softcap")
    if heads.ablated_heads:
        raise _unchangeable("ablated_heads")
    if mask.HasField("attn_bias"):
        raise InvalidRequest.of(
            Reason.MASK_NOT_SUPPORTED,
            "mask.attn_bias",
            "must be absent: this model takes boolean masks alone, attend_mask and key_mask",
        )
    shape = mask.attend_mask.shape
    if len(shape) > _HEADS_AXIS + 2 and shape[_HEADS_AXIS] > 1:
        raise InvalidRequest.of(
            Reason.MASK_NOT_SUPPORTED,
            "mask.attend_mask.shape",
            "must be the same for all heads, [batch or 1, 1, query_len or 1, kv_len]: this model "
            "takes no mask of each head",
        )


def _unchangeable(name: str) -> InvalidRequest:
    return InvalidRequest.of(
        Reason.INVALID_HEADS,
        f"heads.{name}",
        "must be absent: what this model does inside cannot be changed",
    )
