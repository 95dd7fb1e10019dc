"""What attention gives row by row, gathered from its blocks."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from attention_server.domain.analysis import AnalysisGatherer
from attention_server.domain.masks import Block, BlockMask
from attention_server.domain.request import AttendRequest, Float32Array
from attention_server.domain.selection import RowGatherer, WeightGatherer
from attention_server.engine.attention_graphs import BlockResult
from attention_server.engine.layers import Heads
from attention_server.engine.providers import CPU, Runtime
from attention_server.engine.session import DeviceTensor
from attention_service.head_analysis import HeadAnalysis

__all__ = ["GatheredRows", "RowsOfAnswer"]


class GatheredRows(TypedDict, total=False):
    """Fields of AttendResult that are gathered row by row; those asked for are there."""

    weights: Float32Array
    weight_key_indices: NDArray[np.int32] | None
    scores: Float32Array
    log_sum_exp: Float32Array
    head_analysis: tuple[HeadAnalysis, ...]


class RowsOfAnswer:
    """Takes each block as it is computed; gives the whole when all were taken.

    Args:
        runtime: ONNX Runtime.
        request: What is answered.
        heads: Its heads.
        side_by_side: Whether the head outputs of a query should lie side by side in memory.
    """

    def __init__(
        self, runtime: Runtime, request: AttendRequest, heads: Heads, *, side_by_side: bool
    ) -> None:
        self._runtime = runtime
        self._side_by_side = side_by_side and runtime.provider == CPU
        self._request = request
        wanted = request.outputs
        rows = tuple(heads.query.shape[:3])  # [batch, heads, query_len]
        self._head_outputs_shape = (*rows, heads.value.shape[3])
        self._keeps_head_outputs = wanted.output or wanted.head_outputs
        self._whole: DeviceTensor | None = None
        self._parts: Float32Array | None = None
        self._weights = WeightGatherer(wanted.weights, request) if wanted.weights else None
        self._scores = RowGatherer(wanted.scores, request) if wanted.scores else None
        self._log_sum_exp = np.empty(rows, np.float32) if wanted.log_sum_exp else None
        self._analysis = (
            None if wanted.analysis is None else AnalysisGatherer(wanted.analysis, request)
        )

    def put(self, block: Block, mask: BlockMask, result: BlockResult) -> None:
        """Takes what a block gave."""
        if self._weights is not None:
            self._weights.put(block, result["weights"].to_host(), mask.in_sight)
        if self._analysis is not None:
            self._analysis.put(block, result["weights"].to_host(), mask.in_sight)
        if self._scores is not None:
            self._scores.put(block, result["scores"].to_host())
        part = (block.batch, block.heads, block.queries)
        if self._log_sum_exp is not None:
            self._log_sum_exp[part] = result["log_sum_exp"].to_host()
        if not self._keeps_head_outputs:
            return
        if tuple(result["head_outputs"].shape) == self._head_outputs_shape:
            self._whole = result["head_outputs"]  # the only block: no copy
            return
        if self._parts is None:
            self._parts = self._empty()
        self._parts[part] = result["head_outputs"].to_host()

    def head_outputs(self) -> DeviceTensor:
        """Returns [batch, heads, query_len, value_head_dim], those of ablated heads 0.

        Only where the output or they themselves are wanted.
        """
        ablated = list(self._request.ablated_heads)
        if not ablated and self._whole is not None:
            return self._whole
        parts = self._parts
        if parts is None:
            assert self._whole is not None, "no block was put"
            parts = self._whole.to_host()
        parts[:, ablated] = 0.0
        if self._side_by_side:
            return DeviceTensor(parts)
        return DeviceTensor.from_host(self._runtime, parts)

    def _empty(self) -> Float32Array:
        """Returns an array for all head outputs."""
        if not self._side_by_side:
            return np.empty(self._head_outputs_shape, np.float32)
        batch, heads, queries, head_dim = self._head_outputs_shape
        joined = np.empty((batch, queries, heads, head_dim), np.float32)
        parts: Float32Array = joined.transpose(0, 2, 1, 3)
        return parts

    def gathered(self) -> GatheredRows:
        """Returns weights, scores, log-sum-exp and analysis, those that were asked for."""
        rows: GatheredRows = {}
        if self._weights is not None:
            rows["weights"], rows["weight_key_indices"] = self._weights.result()
        if self._scores is not None:
            rows["scores"] = self._scores.result()
        if self._log_sum_exp is not None:
            rows["log_sum_exp"] = self._log_sum_exp
        if self._analysis is not None:
            rows["head_analysis"] = self._analysis.result()
        return rows
