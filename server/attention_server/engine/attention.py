"""Computes one request: project, attend block by block, combine."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from functools import partial
from threading import Lock
from typing import NamedTuple

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
from attention_server.engine.side_by_side import side_by_side

__all__ = ["Attention"]

_NO_PATH = "none"
# 12 heads of 64, 2 threads, ms in blocks side by side / one after the other: causal 1,024 tokens
# 21.7 / 20.0, 2,048: 63 / 67, with 4 key and value heads 60 / 105, 4,096: 265 / 289; with a mask
# of pairs 2,048: 137 / 157; without any mask 2,048: 85 / 88, 4,096: 330 / 342.
_PAIRS_WORTH_THREADS = 1 << 25
_ROWS_WORTH_A_KEY = 32  # so many rows are attended to one key in the time that it takes to copy it


class _Part(NamedTuple):
    """A block to compute."""

    number: int
    block: Block
    mask: BlockMask


class Attention:
    """Attention over one request, from its tensors to its answer.

    Args:
        runtime: ONNX Runtime.
        graphs: What attends to one block after the other.
        one_core: The same with one thread a run, for several blocks at a time; None for never.
        layer: What stands around attention.
        task: The request.
    """

    def __init__(
        self,
        runtime: Runtime,
        graphs: AttentionGraphs,
        one_core: AttentionGraphs | None,
        layer: Layer,
        task: Task,
    ) -> None:
        self._runtime = runtime
        self._layer = layer
        self._needed = Needed.by(task.request.outputs)
        self._whole_request = task.request
        self._request = self._needed.alone(task.request)
        self._masks = MaskBuilder(task.request, self._needed.queries)
        self._checkpoint = task.checkpoint
        self._at_once = 1 if one_core is None else self._blocks_at_once()
        self._graphs = graphs if one_core is None or self._at_once == 1 else one_core
        self._paths: dict[int, str] = {}  # by the number of the block
        self._putting = Lock()

    def compute(self) -> AttendResult:
        """Returns the answer.

        Raises:
            InvalidRequest: Scores or values that float32 cannot hold.
            DeadlinePassed: Noticed between blocks.
            Abandoned: Noticed between blocks.
        """
        started = time.perf_counter_ns()
        wanted = self._request.outputs
        rows: RowsOfAnswer | None = None
        projections: dict[str, Float32Array] = {}
        if self._request.query_len:
            heads = self._project()
            rows = RowsOfAnswer(
                self._runtime, self._request, heads, side_by_side=self._layer.joins_in_place
            )
            largest = self._largest_score(heads)
            if not self._by_flash(largest):
                heads = self._keys_in_one_piece(heads)
            side_by_side(
                self._parts(heads, largest),
                partial(self._put_part, heads=heads, rows=rows, largest=largest),
                threads=self._at_once,
            )
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
                path="+".join(dict.fromkeys(path for _, path in sorted(self._paths.items())))
                or _NO_PATH,
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

    def _keys_in_one_piece(self, heads: Heads) -> Heads:
        """Returns heads of whose keys and values one block after the other takes some."""
        if self._runtime.provider != CPU:
            return heads
        key = DeviceTensor.from_host(self._runtime, heads.key.to_host())
        if heads.value is heads.key:
            return heads._replace(key=key, value=key)
        return heads._replace(
            key=key, value=DeviceTensor.from_host(self._runtime, heads.value.to_host())
        )

    def _blocks_at_once(self) -> int:
        """Returns how many blocks are computed side by side, each by one thread.

        A thread that has a block to itself waits for no other before the next, and takes its keys
        and values from where they lie. Short blocks take less time than Python between them.
        """
        request, wanted = self._request, self._request.outputs
        settings, threads = request.settings, self._runtime.threads
        if wanted.weights is not None or wanted.scores is not None:
            return 1  # what is kept of a block is as large as what is computed
        if (
            request.batch * settings.num_heads * request.query_len * request.kv_len
            < _PAIRS_WORTH_THREADS
        ):
            return 1
        if self._masks.same_for_every_query and request.batch * settings.num_kv_heads % threads:
            return 1  # whole heads, which would not be done together
        return threads

    def _parts(self, heads: Heads, largest: float) -> Generator[_Part, None, None]:
        """Yields what there is to compute, as long as the answer is wanted."""
        for number, block in enumerate(self._blocks(heads, largest)):
            self._checkpoint()
            yield _Part(number, block, self._masks.build(block))

    def _blocks(self, heads: Heads, largest: float) -> Iterator[Block]:
        """Yields the blocks of all rows needed, without the keys that none of their rows sees."""
        request, wanted = self._request, self._request.outputs
        settings = request.settings
        head_dim = max(heads.query.shape[3], heads.value.shape[3])
        by_flash = self._by_flash(largest)
        every_key = self._needs_every_key(largest)
        cut: Iterator[Block]
        if by_flash:
            cut = blocks_of_heads(
                batch=request.batch,
                num_heads=settings.num_heads,
                num_kv_heads=settings.num_kv_heads,
                query_len=request.query_len,
                kv_len=request.kv_len,
                head_dim=head_dim,
                at_once=self._at_once,
            )
        else:
            cut = blocks(
                batch=request.batch,
                runs=head_runs(settings.num_heads, settings.num_kv_heads, self._needed.heads),
                query_len=request.query_len,
                kv_len=request.kv_len,
                head_dim=head_dim,
                rows_kept=wanted.weights is not None or wanted.scores is not None,
                rows_differ=not self._masks.same_for_every_query,
                threads=1 if self._at_once > 1 else self._runtime.threads,
                at_once=self._at_once,
            )
        for block in cut:
            if by_flash:
                # Whatever the copy costs: were a key masked, it would take all scores at once.
                yield block._replace(keys=self._masks.keys(block))
            else:
                yield block if every_key else self._without_unseen_keys(block)

    def _by_flash(self, largest: float) -> bool:
        """Returns whether whole heads go to the kernel that keeps no scores."""
        path = self._path(
            masked=self._layer.biases_by_position,
            careful=self._needs_every_key(largest),
            queries=self._request.query_len,
            keys=self._request.kv_len,
        )
        return self._masks.same_for_every_query and path == FLASH

    def _needs_every_key(self, largest: float) -> bool:
        """Returns whether keys that nobody sees are computed too.

        What overflows is refused out of sight too, and a score is asked for wherever it is.
        """
        return self._request.outputs.scores is not None or may_overflow(largest)

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

    def _put_part(self, part: _Part, *, heads: Heads, rows: RowsOfAnswer, largest: float) -> None:
        """Puts a block's rows into the answer.

        What it needs for that is free again when it returns. ``largest`` is what no score and bias
        of the request are beyond together.
        """
        number, block, mask = part
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
        with self._putting:
            rows.put(block, mask, result)
            self._paths[number] = path

    def _path(self, *, masked: bool, careful: bool, queries: int, keys: int) -> str:
        """Returns the name of the graph for a block of so many queries and keys of a head."""
        wanted = self._request.outputs
        return self._graphs.choose(
            masked=masked,
            weights=wanted.of_weights,
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
        """Returns a part of a tensor, in one piece; without a copy where it is so already."""
        whole = all(_size(cut) == size for cut, size in zip(part, value.shape, strict=False))
        if whole and self._runtime.provider != CPU:
            return value
        return DeviceTensor.from_host(self._runtime, value.to_host()[part])


def _size(part: slice) -> int:
    return int(part.stop - part.start)
