"""Computes one request: project, attend block by block, combine."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from attention_server.domain.masks import Block, BlockMask, MaskBuilder, fully_masked_rows
from attention_server.domain.request import AttendResult, Execution, Float32Array, Task
from attention_server.domain.selection import Needed
from attention_server.engine.attention_graphs import FLASH, AttentionGraphs, BlockResult
from attention_server.engine.blocks import blocks, blocks_of_heads, head_runs
from attention_server.engine.layers import Heads, Layer
from attention_server.engine.overflow import (
    check_finite,
    check_scores,
    largest_bias,
    largest_position_bias,
    largest_score,
    may_overflow,
)
from attention_server.engine.providers import CPU, Runtime
from attention_server.engine.rows import RowsOfAnswer
from attention_server.engine.session import DeviceTensor

__all__ = ["Attention"]

_NO_PATH = "none"
_ROWS_WORTH_A_KEY = 32  # so many rows are attended to one key in the time that it takes to copy it


class Attention:
    """Attention over one request, from its tensors to its answer."""

    def __init__(self, runtime: Runtime, graphs: AttentionGraphs, layer: Layer, task: Task) -> None:
        self._runtime = runtime
        self._graphs = graphs
        self._layer = layer
        self._needed = Needed.by(task.request.outputs)
        self._whole_request = task.request
        self._request = self._needed.alone(task.request)
        self._masks = MaskBuilder(task.request, self._needed.queries)
        self._checkpoint = task.checkpoint

    def compute(self) -> AttendResult:
        """Returns the answer.

        Raises:
            InvalidRequest: Scores or values that float32 cannot hold.
            DeadlinePassed: Noticed between blocks.
            Abandoned: Noticed between blocks.
        """
        started = time.perf_counter_ns()
        wanted = self._request.outputs
        paths: dict[str, None] = {}
        rows: RowsOfAnswer | None = None
        projections: dict[str, Float32Array] = {}
        if self._request.query_len:
            heads = self._project()
            rows = RowsOfAnswer(self._runtime, self._request, heads)
            largest = self._largest_score(heads)
            for block in self._blocks(heads, largest):
                self._checkpoint()
                paths[self._put_block(block, self._masks.build(block), heads, rows, largest)] = None
            if wanted.projections:
                projections = {
                    "query_heads": heads.query.to_host(),
                    "key_heads": heads.key.to_host(),
                    "value_heads": heads.value.to_host(),
                }
            del heads  # what follows takes memory of its own
        output, head_outputs = None, None
        if rows is not None and wanted.output:
            output = self._layer.combine(rows.head_outputs())
            check_finite(output, "the output")
        if rows is not None and wanted.head_outputs:
            head_outputs = rows.head_outputs().to_host()
            check_finite(head_outputs, "a head output")
        if wanted.projections:
            check_finite(projections["value_heads"], "a projected value")
        return AttendResult(
            fully_masked_rows=fully_masked_rows(self._whole_request),
            execution=Execution(
                provider=self._runtime.provider,
                path="+".join(paths) or _NO_PATH,
                compute_us=(time.perf_counter_ns() - started) // 1000,
            ),
            output=output,
            head_outputs=head_outputs,
            **projections,
            **({} if rows is None else rows.gathered()),
        )

    def _project(self) -> Heads:
        """Returns the heads; of values that nothing is made of only one column of zeros."""
        heads, wanted = self._layer.project(self._request), self._request.outputs
        if wanted.output or wanted.head_outputs or wanted.projections:
            return heads
        nothing = np.zeros((*heads.value.shape[:3], 1), np.float32)
        return heads._replace(value=DeviceTensor.from_host(self._runtime, nothing))

    def _largest_score(self, heads: Heads) -> float:
        """Returns what no score, with what the request adds to it, is beyond."""
        bias, queries = self._request.mask.attn_bias, self._needed.queries
        if bias is not None and queries is not None and bias.shape[2] > 1:
            bias = bias[:, :, queries]
        scale = self._request.settings.scale
        return largest_score(heads.query.to_host(), heads.key.to_host(), scale) + largest_bias(bias)

    def _blocks(self, heads: Heads, largest: float) -> Iterator[Block]:
        """Yields the blocks of all rows needed, without the keys that none of their rows sees."""
        request, wanted = self._request, self._request.outputs
        settings = request.settings
        head_dim = max(heads.query.shape[3], heads.value.shape[3])
        # What overflows is refused out of sight too, and a score is asked for wherever it is.
        every_key = wanted.scores is not None or may_overflow(largest)
        same_for_every_query = self._masks.same_for_every_query
        path = self._path(
            masked=self._layer.biases_by_position,
            careful=every_key,
            queries=request.query_len,
            keys=request.kv_len,
        )
        by_flash = same_for_every_query and path == FLASH
        cut: Iterator[Block]
        if by_flash:
            cut = blocks_of_heads(
                batch=request.batch,
                num_heads=settings.num_heads,
                num_kv_heads=settings.num_kv_heads,
                query_len=request.query_len,
                kv_len=request.kv_len,
                head_dim=head_dim,
            )
        else:
            cut = blocks(
                batch=request.batch,
                runs=head_runs(settings.num_heads, settings.num_kv_heads, self._needed.heads),
                query_len=request.query_len,
                kv_len=request.kv_len,
                head_dim=head_dim,
                rows_kept=wanted.weights is not None or wanted.scores is not None,
                rows_differ=not same_for_every_query,
                threads=self._runtime.threads,
            )
        for block in cut:
            if by_flash:
                # Whatever the copy costs: were a key masked, it would take all scores at once.
                yield block._replace(keys=self._masks.keys(block))
            else:
                yield block if every_key else self._without_unseen_keys(block)

    def _without_unseen_keys(self, block: Block) -> Block:
        """Returns the block with the keys that its rows see, where these are worth a copy."""
        keys = self._masks.keys(block)
        seen, all_keys = _size(keys), _size(block.keys)
        one_piece = _size(block.batch) * _size(block.kv_heads) == 1
        if self._runtime.provider != CPU:
            # Heads that are not cut stay on the device.
            worth_it = block.queries != slice(0, self._request.query_len)
        else:
            rows = _size(block.queries) * _size(block.heads) // _size(block.kv_heads)
            worth_it = one_piece or rows * (all_keys - seen) >= _ROWS_WORTH_A_KEY * seen
        return block._replace(keys=keys) if worth_it else block

    def _put_block(
        self, block: Block, mask: BlockMask, heads: Heads, rows: RowsOfAnswer, largest: float
    ) -> str:
        """Puts a block's rows into the answer; returns the name of the graph that gave them.

        What it needs for that is free again when it returns, before the next block. ``largest`` is
        what no score and bias of the request are beyond together.
        """
        softcap = self._request.settings.softcap
        bias, added = mask.bias, self._layer.position_bias(self._request, block)
        if added is not None:
            largest += largest_position_bias(added)
            with np.errstate(over="ignore"):  # found below
                bias = added if bias is None else added + bias
        careful = may_overflow(largest)
        path = self._path(
            masked=bias is not None,
            careful=careful,
            queries=_size(block.queries),
            keys=_size(block.keys),
        )
        result = self._attend(path, heads, block, bias)
        if careful:
            check_scores(result["scores"].to_host(), softcap, bias, mask.in_sight)
        rows.put(block, mask, result)
        return path

    def _path(self, *, masked: bool, careful: bool, queries: int, keys: int) -> str:
        """Returns the name of the graph for a block of so many queries and keys of a head."""
        wanted = self._request.outputs
        return self._graphs.choose(
            masked=masked,
            weights=wanted.weights is not None,
            steps=careful or wanted.scores is not None or wanted.log_sum_exp,
            softcap=self._request.settings.softcap > 0,
            queries=queries,
            keys=keys,
        )

    def _attend(
        self, path: str, heads: Heads, block: Block, bias: Float32Array | None
    ) -> BlockResult:
        settings = self._request.settings
        return self._graphs.run(
            path,
            self._cut(heads.query, (block.batch, block.heads, block.queries)),
            self._cut(heads.key, (block.batch, block.kv_heads, block.keys)),
            self._cut(heads.value, (block.batch, block.kv_heads, block.keys)),
            scale=settings.scale,
            softcap=settings.softcap,
            bias=bias,
        )

    def _cut(self, value: DeviceTensor, part: tuple[slice, ...]) -> DeviceTensor:
        """Returns a part of a tensor; the tensor itself where the part is all of it."""
        shape = value.shape
        if all(_size(cut) == size for cut, size in zip(part, shape, strict=False)):
            return value
        return DeviceTensor.from_host(self._runtime, value.to_host()[part])


def _size(part: slice) -> int:
    return int(part.stop - part.start)
