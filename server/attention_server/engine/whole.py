"""Computes a request to a model that cannot be taken apart: one graph does all of it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from attention_server.domain.analysis import AnalysisGatherer
from attention_server.domain.masks import Block, BlockMask, MaskBuilder, fully_masked_rows
from attention_server.domain.model import Model
from attention_server.domain.request import (
    AttendRequest,
    AttendResult,
    BoolArray,
    Execution,
    Float32Array,
    Task,
)
from attention_server.domain.selection import WeightGatherer
from attention_server.engine.blocks import blocks_of_sequences
from attention_server.engine.model_unusable import ModelUnusable, check_shape
from attention_server.engine.overflow import check_finite
from attention_server.engine.providers import Runtime
from attention_server.engine.session import DeviceTensor, Session

__all__ = ["WholeLayer"]

_PATH = "whole"
_SUM_TOLERANCE = 0.01  # a softmax may be of half the precision


class WholeLayer:
    """A layer that came as one graph, which takes all masks as one boolean mask.

    Rows may depend on each other in it, so no block cuts a sequence. What it gives is looked at as
    what comes from outside: it may be of any make.
    """

    def __init__(self, runtime: Runtime, graph: bytes, model: Model) -> None:
        self._runtime = runtime
        self._session = Session(runtime, graph)
        self._model = model

    def attend(self, task: Task) -> AttendResult:
        """Returns the answer to a request.

        Raises:
            InvalidRequest: An output that float32 cannot hold.
            ModelUnusable: The graph gives something else than attention's output and weights.
            DeadlinePassed: Noticed between blocks.
            Abandoned: Noticed between blocks.
        """
        started = time.perf_counter_ns()
        request, wanted = task.request, task.request.outputs
        masks = MaskBuilder(request)
        weights = None if wanted.weights is None else WeightGatherer(wanted.weights, request)
        analysis = None if wanted.analysis is None else AnalysisGatherer(wanted.analysis, request)
        gatherers = [gatherer for gatherer in (weights, analysis) if gatherer is not None]
        output = np.empty((*request.query.shape[:2], self._model.output_dim), np.float32)
        for block in blocks_of_sequences(
            batch=request.batch,
            num_heads=request.settings.num_heads,
            num_kv_heads=request.settings.num_kv_heads,
            query_len=request.query_len,
            kv_len=request.kv_len,
        ):
            task.checkpoint()
            mask = masks.build(block)
            self._put_block(request, block, mask, output, gatherers)
        gathered, key_indices = (None, None) if weights is None else weights.result()
        return AttendResult(
            fully_masked_rows=fully_masked_rows(request),
            execution=Execution(
                provider=self._runtime.provider,
                path=_PATH,
                compute_us=(time.perf_counter_ns() - started) // 1000,
            ),
            output=output if wanted.output else None,
            weights=gathered,
            weight_key_indices=key_indices,
            head_analysis=None if analysis is None else analysis.result(),
        )

    def _put_block(
        self,
        request: AttendRequest,
        block: Block,
        mask: BlockMask,
        output: Float32Array,
        gatherers: Sequence[WeightGatherer | AnalysisGatherer],
    ) -> None:
        """Puts what a block's sequences give into the answer."""
        names = ["output", "weights"] if gatherers else ["output"]
        inputs = {
            "query": request.query[block.batch],
            "key": request.key[block.batch],
            "value": request.value[block.batch],
            "attend_mask": _attend_mask(request, block, mask),
        }
        tensors = {
            name: DeviceTensor.from_host(self._runtime, array) for name, array in inputs.items()
        }
        in_sight = mask.in_sight
        given = dict(zip(names, self._session.run(names, tensors), strict=True))
        part = given["output"].to_host()
        check_shape("output", part.shape, output[block.batch].shape)
        check_finite(part, "the output")
        if in_sight is not None:
            _check_blind(part, in_sight)
        output[block.batch] = part
        if gatherers:
            rows = given["weights"].to_host()
            pairs = (part.shape[0], request.settings.num_heads, part.shape[1], request.kv_len)
            check_shape("weights", rows.shape, pairs)
            check_finite(rows, "an attention weight")
            _check_weights(rows, in_sight)
            rows = np.abs(rows)  # without the sign of -0
            for gatherer in gatherers:
                gatherer.put(block, rows, in_sight)


def _attend_mask(request: AttendRequest, block: Block, mask: BlockMask) -> BoolArray:
    """Returns which query may attend to which key, bool [batch, 1, query_len, kv_len]."""
    batch = block.batch.stop - block.batch.start
    shape = (batch, 1, request.query_len, request.kv_len)
    in_sight = mask.in_sight
    return np.broadcast_to(np.True_ if in_sight is None else in_sight, shape)


def _check_blind(output: Float32Array, in_sight: BoolArray) -> None:
    """Refuses an output of queries that may attend to nothing.

    Raises:
        ModelUnusable: An output that is not 0.
    """
    blind = ~in_sight[:, 0].any(axis=-1, keepdims=True)  # [batch or 1, query_len, 1]
    if output.any(where=blind):
        raise ModelUnusable("its output is not 0 where attend_mask forbids every key")


def _check_weights(weights: Float32Array, in_sight: BoolArray | None) -> None:
    """Refuses what no softmax gives: the caller could not tell it from attention.

    Raises:
        ModelUnusable: Weights below 0, on keys that are out of sight, or that do not sum to 1.
    """
    if weights.min() < 0:
        raise ModelUnusable("it gives attention weights below 0")
    if in_sight is not None and weights.any(where=~in_sight):
        raise ModelUnusable("it gives weight to keys that attend_mask forbids")
    sees_any_key = np.True_ if in_sight is None else in_sight.any(axis=-1)
    with np.errstate(over="ignore"):
        off = np.abs(weights.sum(axis=-1) - sees_any_key)
    if off.max() > _SUM_TOLERANCE:
        raise ModelUnusable("it gives attention weights that do not sum to 1 over the keys")
