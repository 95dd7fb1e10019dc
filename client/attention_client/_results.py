"""What comes of a call to ``attend``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_client._incoming import TENSORS, Answer
from attention_client._names import CAUSAL_MODE_NAMES, CausalMode
from attention_service.v1 import attention_pb2 as pb

__all__ = ["AttendResult", "AttentionSettings", "Execution"]

FloatArray = NDArray[np.floating[Any]]

_NONE = dict.fromkeys(TENSORS)


@dataclass(frozen=True)
class AttentionSettings:
    """The attention that is computed."""

    num_heads: int
    """Query heads; 0 where the request says."""
    num_kv_heads: int
    """Key and value heads; 0 where the request says."""
    scale: float
    """Factor on the dot products; 0 where the request says, or a model keeps it to itself."""
    softcap: float
    """Bound of the scores; 0 for none, or for one that such a model keeps to itself."""
    causal: CausalMode
    """Causality."""
    window: tuple[int | None, int | None] | None
    """Keys in sight before and after a query's place; None for no limit."""

    @classmethod
    def from_message(cls, message: pb.AttentionSettings) -> AttentionSettings:
        """Returns what the contract's message says."""
        window = message.window
        left = window.left if window.HasField("left") else None
        right = window.right if window.HasField("right") else None
        return cls(
            num_heads=message.num_heads,
            num_kv_heads=message.num_kv_heads,
            scale=message.scale,
            softcap=message.softcap,
            causal=CAUSAL_MODE_NAMES.get(message.causal, "none"),
            window=None if left is None and right is None else (left, right),
        )


@dataclass(frozen=True)
class Execution:
    """How an answer was computed."""

    provider: str
    """ONNX Runtime execution provider, "CPUExecutionProvider" say."""
    path: str
    """Name of the path taken through the engine."""
    batched_requests: int
    """Requests computed together with this one, itself included."""
    queue_us: int
    """Time between arrival and the start of computing, microseconds."""
    compute_us: int
    """Time of computing, microseconds."""

    @classmethod
    def from_message(cls, message: pb.Execution) -> Execution:
        """Returns what the contract's message says."""
        return cls(
            provider=message.provider,
            path=message.path,
            batched_requests=message.batched_requests,
            queue_us=message.queue_us,
            compute_us=message.compute_us,
        )


@dataclass(frozen=True, eq=False, repr=False)
class AttendResult:
    """The answer to ``attend``.

    What was not asked for is None. Arrays are float32, or float16 where that was asked for
    (bfloat16 comes as float32), and read-only: ``array.copy()`` may be written to.
    """

    output: FloatArray | None
    """[batch, query_len, output_dim]."""
    weights: FloatArray | None
    """After softmax and before ablation, [batch, selected heads, selected queries, kv_len or
    top_k]."""
    weight_key_indices: NDArray[np.int32] | None
    """The key index of each weight, shaped as weights; present with top_k. -1, with weight 0,
    where fewer keys were in sight."""
    scores: FloatArray | None
    """Before softcap, bias and mask, [batch, selected heads, selected queries, kv_len]."""
    query_heads: FloatArray | None
    """After rotation, where the model rotates, [batch, heads, query_len, head_dim]."""
    key_heads: FloatArray | None
    """[batch, kv_heads, kv_len, head_dim]."""
    value_heads: FloatArray | None
    """[batch, kv_heads, kv_len, value_head_dim]."""
    head_outputs: FloatArray | None
    """After ablation, [batch, heads, query_len, value_head_dim]."""
    log_sum_exp: NDArray[np.float32] | None
    """Natural logarithm of the softmax denominator, float32 [batch, heads, query_len]."""
    fully_masked_rows: int
    """Rows (sequence, head, query), of real queries, that could attend to nothing."""
    execution: Execution
    """How the answer was computed."""
    applied: AttentionSettings
    """What was computed, all defaults filled in."""
    model: str
    """Model that answered."""
    model_version: str
    """Version that answered."""
    request_id: str
    """As asked."""

    @classmethod
    def from_answer(cls, answer: Answer, request_id: str = "") -> AttendResult:
        """Returns what an answer says, to a request that its caller named so.

        Raises:
            ProtocolError: A tensor that is none.
        """
        message = answer.message
        arrays: dict[str, Any] = {**_NONE, **answer.arrays()}
        return cls(
            **arrays,
            fully_masked_rows=message.fully_masked_rows,
            execution=Execution.from_message(message.execution),
            applied=AttentionSettings.from_message(message.applied),
            model=message.model,
            model_version=message.model_version,
            request_id=request_id,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Returns the arrays that are present, by name: ``np.savez(path, **result.arrays())``."""
        present = ((name, getattr(self, name)) for name in TENSORS)
        return {name: array for name, array in present if array is not None}

    def __repr__(self) -> str:
        arrays = "".join(
            f", {name}={array.dtype}{list(array.shape)}" for name, array in self.arrays().items()
        )
        return (
            f"AttendResult(model={self.model!r}, model_version={self.model_version!r}{arrays}, "
            f"fully_masked_rows={self.fully_masked_rows})"
        )
