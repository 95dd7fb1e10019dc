"""What a server would refuse for its size, told from the request alone."""

from __future__ import annotations

from typing import TypeAlias

from attention_client._outgoing import Outgoing
from attention_service import tensor
from attention_service.limits import Limits
from attention_service.shapes import Dims, answer_shapes, head_shapes
from attention_service.v1 import attention_pb2 as pb

_Shape: TypeAlias = tuple[int, ...]

_SDPA = "sdpa"


def check_attend(outgoing: Outgoing, limits: Limits) -> None:
    """Refuses what the server would refuse for its size, in the server's order and words.

    A request that contradicts itself is left to the server, and so is what only the model knows:
    given ``num_heads``, any model's work is known; tensors and answer are those of "sdpa" alone.

    Raises:
        OverLimit: The first limit that it is over.
    """
    _check(outgoing, limits, brings_tensors=True)


def check_analysis(outgoing: Outgoing, limits: Limits) -> None:
    """Refuses likewise an attention to analyse, of which a few figures are the answer.

    Raises:
        OverLimit: The first limit that it is over.
    """
    _check(outgoing, limits, brings_tensors=False)


def _check(outgoing: Outgoing, limits: Limits, *, brings_tensors: bool) -> None:
    request = outgoing.request
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
    if dims is not None and brings_tensors:
        _check_answer(request.outputs, dims, limits)
    limits.check_entries("heads.ablated_heads", len(request.heads.ablated_heads))
    if dims is not None:
        limits.check_heads(head_shapes(dims))
    limits.check_message(outgoing.nbytes)


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
    data_type = outputs.data_type or pb.DATA_TYPE_FLOAT32
    limits.check_answer(shapes, item_bytes=tensor.byte_size(data_type, (1,)))


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
