"""The shapes that the limits are held against, in the domain's terms."""

from __future__ import annotations

from attention_server.domain.model import AttentionSettings, Model
from attention_server.domain.request import Outputs, Sizes
from attention_service import shapes
from attention_service.shapes import Dims, Shapes

__all__ = ["answer_shapes", "head_shapes"]


def answer_shapes(
    outputs: Outputs, settings: AttentionSettings, model: Model, sizes: Sizes
) -> Shapes:
    """Returns the shape of each tensor in an answer, by its name in the contract."""
    return shapes.answer_shapes(
        _dims(settings, model, sizes),
        output=outputs.output,
        weights=outputs.weights,
        scores=outputs.scores,
        projections=outputs.projections,
        head_outputs=outputs.head_outputs,
        log_sum_exp=outputs.log_sum_exp,
    )


def head_shapes(settings: AttentionSettings, model: Model, sizes: Sizes) -> Shapes:
    """Returns the shapes of what is computed over all heads, by their names in the contract."""
    return shapes.head_shapes(_dims(settings, model, sizes))


def _dims(settings: AttentionSettings, model: Model, sizes: Sizes) -> Dims:
    """Returns a request's sizes; those that "sdpa" leaves open the request says."""
    head_dim, value_head_dim = model.head_dim, model.value_head_dim
    if not model.projects:
        head_dim = sizes.query_dim // settings.num_heads
        value_head_dim = sizes.value_dim // settings.num_kv_heads
    return Dims(
        batch=sizes.batch,
        query_len=sizes.query_len,
        kv_len=sizes.kv_len,
        num_heads=settings.num_heads,
        num_kv_heads=settings.num_kv_heads,
        head_dim=head_dim,
        value_head_dim=value_head_dim,
        output_dim=model.output_dim or settings.num_heads * value_head_dim,
    )
