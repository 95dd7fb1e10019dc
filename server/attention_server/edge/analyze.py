"""An AnalyzeHeadsRequest message as a request of the domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from attention_server.domain.catalog import Catalog
from attention_server.domain.errors import InvalidRequest, LimitExceeded, Violation
from attention_server.domain.request import AttendRequest, Int64Array
from attention_server.edge.decode import Decoded, decode
from attention_service.head_relations import Relations
from attention_service.limits import Limits
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb

__all__ = ["decode_analysis"]

_MOST_RELATIONS = 64
_MOST_NAME_BYTES = 128
_HEAD_BYTES = 128  # of an answer; the figures and the pattern of a head take no more
_SHARE_BYTES = 16  # beside the name
_AROUND_HEADS = 4096


def decode_analysis(message: pb.AnalyzeHeadsRequest, catalog: Catalog, limits: Limits) -> Decoded:
    """Returns the request that a message asks for, and the form of its answer.

    Raises:
        InvalidRequest: A message that is no request.
        LimitExceeded: A request for too much.
        ModelNotFound: No such model.
    """
    if not message.HasField("attend"):
        raise InvalidRequest.of(Reason.MISSING_FIELD, "attend", "must be given")
    attend = message.attend
    if attend.HasField("outputs"):
        raise InvalidRequest.of(
            Reason.OUTPUT_NOT_SUPPORTED,
            "attend.outputs",
            "must be absent: an analysis gives figures, and no tensor",
        )
    names = _names(message.relations, limits)
    attend.outputs.omit_output = True
    try:
        request, form = decode(attend, catalog, limits)
    except InvalidRequest as error:
        raise error.within("attend") from None
    outputs = catalog.find(*request.model).outputs
    if "weights" not in outputs:
        raise InvalidRequest.of(
            Reason.OUTPUT_NOT_SUPPORTED,
            "attend.model",
            f"must be a model that gives weights; this one gives only {', '.join(outputs)}",
        )
    answer_bytes = _answer_bytes(names, request.settings.num_heads, limits)
    pairs = [
        _pairs(relation.pairs, f"relations[{i}].pairs", request)
        for i, relation in enumerate(message.relations)
    ]
    relations: Relations = dict(zip(names, pairs, strict=True))
    analysis = replace(request, outputs=replace(request.outputs, analysis=relations))
    return Decoded(analysis, form._replace(tensor_bytes=answer_bytes))


def _names(relations: Sequence[pb.Relation], limits: Limits) -> list[str]:
    """Returns the name of each relation, once they and their pairs are not too many."""
    if len(relations) > _MOST_RELATIONS:
        raise _too_many(f"at most {_MOST_RELATIONS} relations, not {len(relations)}")
    pairs = sum(len(relation.pairs) for relation in relations)
    if pairs > limits.length:
        raise _too_many(f"at most {limits.length} pairs in all relations together, not {pairs}")
    first: dict[str, int] = {}
    for i, relation in enumerate(relations):
        field, name = f"relations[{i}].name", relation.name
        if not 0 < len(name.encode()) <= _MOST_NAME_BYTES:
            must = f"must have 1 to {_MOST_NAME_BYTES} bytes"
            raise InvalidRequest.of(Reason.INVALID_NAME, field, must)
        if first.setdefault(name, i) != i:
            must = f"must be unique, but relations[{first[name]}] has the same"
            raise InvalidRequest.of(Reason.INVALID_NAME, field, must)
    return list(first)


def _too_many(description: str) -> LimitExceeded:
    must = f"{description}; send several requests"
    return LimitExceeded(Reason.LENGTH_LIMIT, Violation("relations", must))


def _answer_bytes(names: Sequence[str], heads: int, limits: Limits) -> int:
    """Returns what an answer takes at most, bytes; refuses one that is too large."""
    sizes = [len(name.encode()) for name in names]
    size = heads * (_HEAD_BYTES + max(sizes, default=0) + sum(sizes) + _SHARE_BYTES * len(sizes))
    largest = limits.message_bytes - _AROUND_HEADS
    if size > largest:
        must = (
            f"the answer for {heads} heads would take {size} bytes, at most {largest} fit; "
            "send fewer relations, or shorter names"
        )
        raise LimitExceeded(Reason.ANSWER_LIMIT, Violation("relations", must))
    return size


def _pairs(pairs: Sequence[pb.Pair], field: str, request: AttendRequest) -> Int64Array:
    """Returns the pairs [pairs, 3], each (sequence, query, key) in the request."""
    indices = [(pair.sequence, pair.query, pair.key) for pair in pairs]
    array = np.array(indices, np.int64).reshape(-1, 3)
    sizes = request.batch, request.query_len, request.kv_len
    wrong = np.argwhere(array >= sizes)[: InvalidRequest.MAX_VIOLATIONS + 1].tolist()
    if wrong:
        names = ("sequence", "query", "key")
        raise InvalidRequest(
            Reason.OUT_OF_RANGE,
            *(
                Violation(
                    f"{field}[{pair}].{names[part]}",
                    f"must be 0 to {sizes[part] - 1}, not {array[pair, part]}",
                )
                for pair, part in wrong
            ),
        )
    return array
