"""Head configuration: what is asked for against what the model has."""

from __future__ import annotations

import math

from attention_server.domain.errors import InvalidRequest
from attention_server.domain.model import AttentionSettings, Model, Window
from attention_server.domain.request import Sizes
from attention_service.manifest import Causal
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb

__all__ = ["CAUSAL_MODES", "decode_settings"]

CAUSAL_MODES: dict[pb.CausalMode.ValueType, Causal] = {
    pb.CAUSAL_MODE_UPPER_LEFT: "upper_left",
    pb.CAUSAL_MODE_LOWER_RIGHT: "lower_right",
    pb.CAUSAL_MODE_NONE: "none",
}


def decode_settings(message: pb.AttendRequest, model: Model, sizes: Sizes) -> AttentionSettings:
    """Returns what is computed, all defaults filled in.

    Raises:
        InvalidRequest: Heads or widths that the model does not have.
    """
    if model.projects:
        defaults = _of_model(message, model, sizes)
    else:
        defaults = _of_request(message.heads, sizes)
    heads, mask = message.heads, message.mask
    scale, softcap = defaults.scale, defaults.softcap
    if heads.HasField("scale"):
        scale = heads.scale
        if not math.isfinite(scale):
            raise _invalid("scale", "must be finite")
    if heads.HasField("softcap"):
        softcap = heads.softcap
        if not (math.isfinite(softcap) and softcap >= 0):
            raise _invalid("softcap", "must be 0 or more and finite; 0 for none")
    window = defaults.window
    if mask.HasField("window"):
        window = Window(
            mask.window.left if mask.window.HasField("left") else None,
            mask.window.right if mask.window.HasField("right") else None,
        )
    return AttentionSettings(
        num_heads=defaults.num_heads,
        num_kv_heads=defaults.num_kv_heads,
        scale=scale,
        softcap=softcap,
        causal=_causal(mask.causal, defaults.causal),
        window=window,
    )


def _of_model(message: pb.AttendRequest, model: Model, sizes: Sizes) -> AttentionSettings:
    """Returns the model's defaults, once the request fits its heads and widths."""
    for name in ("num_heads", "num_kv_heads"):
        asked, own = getattr(message.heads, name), getattr(model.defaults, name)
        if asked not in (0, own):
            raise _invalid(name, f"must be 0 or the model's own, {own}, not {asked}")
    widths = (
        ("query", sizes.query_dim, model.query_dim, True),
        ("key", sizes.key_dim, model.key_dim, message.HasField("key")),
        ("value", sizes.value_dim, model.value_dim, message.HasField("value")),
    )
    for field, width, own, given in widths:
        if width != own:
            must = "the last dimension must be" if given else "must be given, its last dimension"
            raise InvalidRequest.of(
                Reason.INVALID_SHAPE,
                f"{field}.shape",
                f"{must} the model's {field}_dim, {own}, not {width}",
            )
    return model.defaults


def _of_request(heads: pb.HeadConfig, sizes: Sizes) -> AttentionSettings:
    """Returns the heads of "sdpa", which the request itself says."""
    num_heads = heads.num_heads
    if not num_heads:
        raise InvalidRequest.of(Reason.MISSING_FIELD, "heads.num_heads", 'must be given for "sdpa"')
    num_kv_heads = heads.num_kv_heads or num_heads
    if num_heads % num_kv_heads:
        raise _invalid("num_kv_heads", f"must be a divisor of num_heads, {num_heads}")
    if sizes.query_dim % num_heads:
        raise InvalidRequest.of(
            Reason.INVALID_SHAPE,
            "query.shape",
            f"the last dimension must be a multiple of num_heads, {num_heads}, "
            f"not {sizes.query_dim}",
        )
    head_dim = sizes.query_dim // num_heads
    if sizes.key_dim != num_kv_heads * head_dim:
        raise InvalidRequest.of(
            Reason.INVALID_SHAPE,
            "key.shape",
            f"the last dimension must be num_kv_heads * head_dim, {num_kv_heads * head_dim}, "
            f"not {sizes.key_dim}",
        )
    if sizes.value_dim % num_kv_heads:
        raise InvalidRequest.of(
            Reason.INVALID_SHAPE,
            "value.shape",
            f"the last dimension must be a multiple of num_kv_heads, {num_kv_heads}, "
            f"not {sizes.value_dim}",
        )
    return AttentionSettings(num_heads, num_kv_heads, scale=1.0 / math.sqrt(head_dim))


def _causal(mode: pb.CausalMode.ValueType, default: Causal) -> Causal:
    if mode == pb.CAUSAL_MODE_UNSPECIFIED:
        return default
    if mode not in CAUSAL_MODES:
        raise InvalidRequest.of(
            Reason.INVALID_ENUM, "mask.causal", f"must be a CausalMode, not {mode}"
        )
    return CAUSAL_MODES[mode]


def _invalid(field: str, description: str) -> InvalidRequest:
    return InvalidRequest.of(Reason.INVALID_HEADS, f"heads.{field}", description)
