"""What a request may ask for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from attention_server.domain.errors import LimitExceeded, Violation
from attention_server.domain.model import AttentionSettings, Model
from attention_server.domain.request import Outputs, Rows, Sizes
from attention_service.reasons import Reason

__all__ = ["Limits", "answer_shapes", "head_shapes"]

_ALWAYS_4_BYTES = ("weight_key_indices", "log_sum_exp")  # INT32 and FLOAT32
_AROUND_TENSORS = 4096  # names, shapes and settings of an answer take less


@dataclass(frozen=True)
class Limits:
    """Bounds of one request; ``check`` methods raise LimitExceeded."""

    message_bytes: int
    batch: int
    length: int
    work: int
    stream_bytes: int

    def check_sizes(self, batch: int, query_len: int, kv_len: int) -> None:
        """Refuses more sequences or longer ones than allowed."""
        if batch > self.batch:
            raise _exceeded(
                Reason.BATCH_LIMIT,
                "query",
                f"at most {self.batch} sequences at once, not {batch}; send several requests",
            )
        for name, length in (("query", query_len), ("key", kv_len)):
            if length > self.length:
                raise _exceeded(
                    Reason.LENGTH_LIMIT, name, f"at most {self.length} long, not {length}"
                )

    def check_work(self, batch: int, num_heads: int, query_len: int, kv_len: int) -> None:
        """Refuses more scores than allowed."""
        work = batch * num_heads * query_len * kv_len
        if work > self.work:
            raise _exceeded(
                Reason.WORK_LIMIT,
                "",
                f"batch * heads * query_len * kv_len may be {self.work}, not {work}; "
                "send fewer queries a request",
            )

    def check_entries(self, field: str, count: int) -> None:
        """Refuses a longer list of heads or queries than any query is long."""
        if count > self.length:
            raise _exceeded(
                Reason.LENGTH_LIMIT, field, f"at most {self.length} entries, not {count}"
            )

    def check_heads(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuses heads that no answer, on a stream or not, could hold; all are computed.

        Args:
            shapes: As ``head_shapes`` returns them.
        """
        for name, shape in shapes.items():
            if 4 * math.prod(shape) > self.stream_bytes:
                raise _exceeded(
                    Reason.WORK_LIMIT,
                    "",
                    f"{name} {list(shape)} would take {4 * math.prod(shape)} bytes, at most "
                    f"{self.stream_bytes} are allowed; send fewer or shorter sequences",
                )

    def check_answer(self, shapes: Mapping[str, tuple[int, ...]], item_bytes: int) -> None:
        """Refuses an answer that no message holds.

        Args:
            shapes: As ``answer_shapes`` returns them.
            item_bytes: Size of an element of the answer's floating-point tensors.
        """
        size = sum(
            math.prod(shape) * (4 if name in _ALWAYS_4_BYTES else item_bytes)
            for name, shape in shapes.items()
        )
        largest = self.message_bytes - _AROUND_TENSORS
        if size > largest:
            raise _exceeded(
                Reason.ANSWER_LIMIT,
                "outputs",
                f"the answer would hold {size} bytes of tensors, at most {largest} fit; "
                "select heads or query_indices, use top_k, or ask for FLOAT16",
            )


def answer_shapes(
    outputs: Outputs, settings: AttentionSettings, model: Model, sizes: Sizes
) -> dict[str, tuple[int, ...]]:
    """Returns the shape of each tensor in an answer, by its name in the contract."""
    batch, query_len, kv_len = sizes[:3]
    heads = settings.num_heads
    all_heads = head_shapes(settings, model, sizes)

    def rows(selected: Rows) -> tuple[int, int, int]:
        return (
            batch,
            heads if selected.heads is None else len(selected.heads),
            query_len if selected.query_indices is None else len(selected.query_indices),
        )

    shapes: dict[str, tuple[int, ...]] = {}
    if outputs.output:
        joined = heads * all_heads["head_outputs"][-1]
        shapes["output"] = (batch, query_len, model.output_dim or joined)
    if outputs.weights is not None:
        _, selected, queries = rows(outputs.weights)
        selected = 1 if outputs.weights.average_heads else selected
        shapes["weights"] = (batch, selected, queries, outputs.weights.top_k or kv_len)
        if outputs.weights.top_k:
            shapes["weight_key_indices"] = shapes["weights"]
    if outputs.scores is not None:
        shapes["scores"] = (*rows(outputs.scores), kv_len)
    if outputs.projections:
        shapes |= {name: all_heads[name] for name in ("query_heads", "key_heads", "value_heads")}
    if outputs.head_outputs:
        shapes["head_outputs"] = all_heads["head_outputs"]
    if outputs.log_sum_exp:
        shapes["log_sum_exp"] = (batch, heads, query_len)
    return shapes


def head_shapes(
    settings: AttentionSettings, model: Model, sizes: Sizes
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of projections and head outputs, by their names in the contract."""
    batch, query_len, kv_len = sizes[:3]
    heads, kv_heads = settings.num_heads, settings.num_kv_heads
    head_dim = model.head_dim or sizes.query_dim // heads
    value_head_dim = model.value_head_dim or sizes.value_dim // kv_heads
    return {
        "query_heads": (batch, heads, query_len, head_dim),
        "key_heads": (batch, kv_heads, kv_len, head_dim),
        "value_heads": (batch, kv_heads, kv_len, value_head_dim),
        "head_outputs": (batch, heads, query_len, value_head_dim),
    }


def _exceeded(reason: Reason, field: str, description: str) -> LimitExceeded:
    return LimitExceeded(reason, Violation(field, description))
