"""A request for attention, validated, with every default filled in, and its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from attention_server.domain.model import AttentionSettings, ModelKey
from attention_service.head_analysis import HeadAnalysis
from attention_service.head_relations import Relations

__all__ = [
    "AttendRequest",
    "AttendResult",
    "BoolArray",
    "Execution",
    "Float32Array",
    "Int32Array",
    "Int64Array",
    "Manner",
    "Mask",
    "Outputs",
    "Rows",
    "Sizes",
    "Task",
    "WeightRows",
]

Float32Array = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Mask:
    """Who may attend to whom, beside causality and window."""

    kv_lengths: Int64Array  # [batch]
    query_lengths: Int64Array  # [batch]
    query_offsets: Int64Array | None = None  # [batch]
    key_mask: BoolArray | None = None  # [batch, kv_len]
    attend_mask: BoolArray | None = None  # [batch or 1, heads or 1, query_len or 1, kv_len]
    attn_bias: Float32Array | None = None  # as attend_mask; finite or -inf


@dataclass(frozen=True)
class Rows:
    """Heads and queries to return, in this order, repeats allowed; None for all."""

    heads: NDArray[np.intp] | None = None
    query_indices: NDArray[np.intp] | None = None


@dataclass(frozen=True)
class WeightRows(Rows):
    """Weights to return: first heads and queries, then the mean, then the largest."""

    average_heads: bool = False
    top_k: int = 0
    """Largest weights of a row to keep, at most kv_len; 0 for all."""


@dataclass(frozen=True)
class Outputs:
    """What an answer holds."""

    output: bool = True
    weights: WeightRows | None = None
    scores: Rows | None = None
    projections: bool = False
    head_outputs: bool = False
    log_sum_exp: bool = False
    analysis: Relations | None = None
    """What to measure heads against, maybe nothing; None for no analysis."""

    @property
    def of_weights(self) -> bool:
        """Whether anything is made of weights, which are computed only then."""
        return self.weights is not None or self.analysis is not None


class Sizes(NamedTuple):
    """Sizes of a request's query, key and value."""

    batch: int
    query_len: int
    kv_len: int
    query_dim: int
    key_dim: int
    value_dim: int


@dataclass(frozen=True, eq=False)
class AttendRequest:
    """Attention over one batch. ``key is query`` and ``value is key`` where they are absent."""

    model: ModelKey
    query: Float32Array  # [batch, query_len, query_dim]
    key: Float32Array  # [batch, kv_len, key_dim]
    value: Float32Array  # [batch, kv_len, value_dim]
    mask: Mask
    settings: AttentionSettings
    ablated_heads: tuple[int, ...] = ()
    outputs: Outputs = Outputs()
    query_positions: Int32Array | None = None  # [batch or 1, query_len], where positions are used
    key_positions: Int32Array | None = None  # [batch or 1, kv_len], where positions are used

    @property
    def batch(self) -> int:
        """Sequences."""
        return int(self.query.shape[0])

    @property
    def query_len(self) -> int:
        """Queries of the longest sequence."""
        return int(self.query.shape[1])

    @property
    def kv_len(self) -> int:
        """Keys of the longest sequence."""
        return int(self.key.shape[1])


class Task(NamedTuple):
    """A request to compute, and whether its answer is still wanted."""

    request: AttendRequest
    checkpoint: Callable[[], None]
    """Raises DeadlinePassed or Abandoned once the answer is not wanted any more."""


class Manner(NamedTuple):
    """How tasks are computed."""

    together: bool = False
    """As one padded batch: they share a batch key. Else one after the other."""
    every_core: bool = True
    """With all threads that a run may have. Else with one, for others run beside it."""


@dataclass(frozen=True)
class Execution:
    """How an answer was computed."""

    provider: str
    """ONNX Runtime execution provider."""
    path: str
    """Graph of attention that was run."""
    compute_us: int
    """Time of computing, microseconds."""
    queue_us: int = 0
    """Time between arrival and the start of computing, microseconds."""
    batched_requests: int = 1


@dataclass(frozen=True, eq=False)
class AttendResult:
    """An answer; what was not asked for is None. Shapes as in the contract."""

    fully_masked_rows: int
    execution: Execution
    output: Float32Array | None = None
    weights: Float32Array | None = None
    weight_key_indices: NDArray[np.int32] | None = None
    scores: Float32Array | None = None
    query_heads: Float32Array | None = None
    key_heads: Float32Array | None = None
    value_heads: Float32Array | None = None
    head_outputs: Float32Array | None = None
    log_sum_exp: Float32Array | None = None
    head_analysis: tuple[HeadAnalysis, ...] | None = None

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Returns the tensors that are there, by their names in the contract."""
        return {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
