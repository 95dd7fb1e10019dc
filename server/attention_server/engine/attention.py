"""Computes one request: project, attend block by block, combine."""

from __future__ import annotations

import time

import numpy as np

from attention_server.domain.masks import Block, BlockMask, MaskBuilder
from attention_server.domain.request import AttendResult, Execution, Float32Array, Task
from attention_server.engine.attention_graphs import AttentionGraphs, BlockResult
from attention_server.engine.blocks import blocks
from attention_server.engine.layers import Heads, Layer
from attention_server.engine.overflow import (
    check_finite,
    check_scores,
    largest_bias,
    largest_position_bias,
    largest_score,
    may_overflow,
)
from attention_server.engine.providers import Runtime
from attention_server.engine.rows import RowsOfAnswer
from attention_server.engine.session import DeviceTensor

__all__ = ["Attention"]


class Attention:
    """Attention over one request, from its tensors to its answer."""

    def __init__(self, runtime: Runtime, graphs: AttentionGraphs, layer: Layer, task: Task) -> None:
        self._runtime = runtime
        self._graphs = graphs
        self._layer = layer
        self._request = task.request
        self._checkpoint = task.checkpoint

    def compute(self) -> AttendResult:
        """Returns the answer.

        Raises:
            InvalidRequest: Scores or values that float32 cannot hold.
            DeadlinePassed: Noticed between blocks.
            Abandoned: Noticed between blocks.
        """
        started = time.perf_counter_ns()
        request, wanted = self._request, self._request.outputs
        heads = self._layer.project(request)
        largest = largest_score(
            heads.query.to_host(), heads.key.to_host(), request.settings.scale
        ) + largest_bias(request.mask.attn_bias)
        rows = RowsOfAnswer(self._runtime, request, heads)
        masks = MaskBuilder(request)
        path = ""
        for block in blocks(
            batch=request.batch,
            num_heads=request.settings.num_heads,
            num_kv_heads=request.settings.num_kv_heads,
            query_len=request.query_len,
            row=max(request.kv_len, heads.query.shape[3], heads.value.shape[3]),
        ):
            self._checkpoint()
            path = self._put_block(block, masks.build(block), heads, rows, largest)

        projections: dict[str, Float32Array] = {}
        if wanted.projections:
            projections = {
                "query_heads": heads.query.to_host(),
                "key_heads": heads.key.to_host(),
                "value_heads": heads.value.to_host(),
            }
        del heads  # what follows takes memory of its own
        output, head_outputs = None, None
        if wanted.output:
            output = self._layer.combine(rows.head_outputs())
            check_finite(output, "the output")
        if wanted.head_outputs:
            head_outputs = rows.head_outputs().to_host()
            check_finite(head_outputs, "a head output")
        if wanted.projections:
            check_finite(projections["value_heads"], "a projected value")
        return AttendResult(
            fully_masked_rows=rows.fully_masked_rows,
            execution=Execution(
                provider=self._runtime.provider,
                path=path,
                compute_us=(time.perf_counter_ns() - started) // 1000,
            ),
            output=output,
            head_outputs=head_outputs,
            **projections,
            **rows.gathered(),
        )

    def _put_block(
        self, block: Block, mask: BlockMask, heads: Heads, rows: RowsOfAnswer, largest: float
    ) -> str:
        """Puts a block's rows into the answer; returns the name of the graph that gave them.

        What it needs for that is free again when it returns, before the next block. ``largest`` is
        what no score and bias of the request are beyond together.
        """
        wanted, softcap = self._request.outputs, self._request.settings.softcap
        bias, added = mask.bias, self._layer.position_bias(self._request, block)
        if added is not None:
            largest += largest_position_bias(added)
            with np.errstate(over="ignore"):  # found below
                bias = added if bias is None else added + bias
        careful = may_overflow(largest)
        path = self._graphs.choose(
            masked=bias is not None,
            weights=wanted.weights is not None,
            steps=careful or wanted.scores is not None or wanted.log_sum_exp,
            softcap=softcap > 0,
        )
        result = self._attend(path, heads, block, bias)
        if careful:
            check_scores(result["scores"].to_host(), softcap, bias, mask.in_sight)
        rows.put(block, mask, result)
        return path

    def _attend(
        self, path: str, heads: Heads, block: Block, bias: Float32Array | None
    ) -> BlockResult:
        settings = self._request.settings
        return self._graphs.run(
            path,
            self._cut(heads.query, (block.batch, block.heads, block.queries)),
            self._cut(heads.key, (block.batch, block.kv_heads)),
            self._cut(heads.value, (block.batch, block.kv_heads)),
            scale=settings.scale,
            softcap=settings.softcap,
            bias=bias,
        )

    def _cut(self, value: DeviceTensor, part: tuple[slice, ...]) -> DeviceTensor:
        """Returns a part of a tensor; the tensor itself where the part is all of it."""
        shape = value.shape
        if all(cut.stop - cut.start == size for cut, size in zip(part, shape, strict=False)):
            return value
        return DeviceTensor.from_host(self._runtime, value.to_host()[part])
