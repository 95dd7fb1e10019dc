"""Computes small requests that ask for the output alone: one run of one graph does all of it."""

from __future__ import annotations

import time

import numpy as np

from attention_server.domain.masks import Block, MaskBuilder, fully_masked_rows
from attention_server.domain.request import (
    AttendRequest,
    AttendResult,
    Execution,
    Float32Array,
    Outputs,
    Task,
)
from attention_server.engine.overflow import check_finite, largest_score, may_overflow
from attention_server.engine.providers import Runtime
from attention_server.engine.session import DeviceTensor, Session

__all__ = ["MergedLayer"]

_PATH = "merged"
_OUTPUT_ALONE = Outputs()

_MOST_SCORES = 1 << 19
"""Of a request. More take so long that a few runs more cost nothing, and less memory in blocks."""


class MergedLayer:
    """A layer in one graph.

    In stages a request is four runs, and a thread that comes back from each waits for Python's lock
    again: on 2 cores, 384 wide, 4 to 16 tokens, two threads compute 3,900 requests a second so, no
    more than one thread does, and 9,700 in one graph.
    """

    def __init__(self, runtime: Runtime, graph: bytes, *, rotates: bool) -> None:
        self._runtime = runtime
        self._session = Session(runtime, graph)
        self._rotates = rotates

    def attend(self, task: Task) -> AttendResult | None:
        """Returns the answer; None where the stages must give it.

        That is where more than the output is asked for or added to scores, where a request is
        large, and where scores might overflow and are to be looked at.

        Raises:
            InvalidRequest: Heads or an output that float32 cannot hold.
            DeadlinePassed: Noticed before it begins.
            Abandoned: Noticed before it begins.
        """
        started = time.perf_counter_ns()
        request = task.request
        if not _is_plain(request):
            return None
        task.checkpoint()
        bias = _bias(request)
        if bias is None:
            bias, blind_rows = np.zeros((1, 1, request.query_len, request.kv_len), np.float32), 0
        else:
            blind_rows = fully_masked_rows(request)
        arrays = {
            "query": request.query,
            "key": request.key,
            "value": request.value,
            "scale": np.array(request.settings.scale, np.float32),
            "attn_bias": bias,
        }
        if self._rotates:
            for name, positions, rotated in (
                ("query_positions", request.query_positions, request.query),
                ("key_positions", request.key_positions, request.key),
            ):
                assert positions is not None, "a request to such a model has positions"
                arrays[name] = np.broadcast_to(positions, rotated.shape[:2])
        tensors = {
            name: DeviceTensor.from_host(self._runtime, array) for name, array in arrays.items()
        }
        given = self._session.run(["output", "query_heads", "key_heads"], tensors)
        output, query_heads, key_heads = (tensor.to_host() for tensor in given)
        if may_overflow(largest_score(query_heads, key_heads, request.settings.scale)):
            return None
        check_finite(output, "the output")
        return AttendResult(
            fully_masked_rows=blind_rows,
            execution=Execution(
                provider=self._runtime.provider,
                path=_PATH,
                compute_us=(time.perf_counter_ns() - started) // 1000,
            ),
            output=output,
        )


def _is_plain(request: AttendRequest) -> bool:
    settings = request.settings
    return (
        request.batch * settings.num_heads * request.query_len * request.kv_len <= _MOST_SCORES
        and request.outputs == _OUTPUT_ALONE
        and not request.ablated_heads
        and settings.softcap == 0
        and request.mask.attn_bias is None
    )


def _bias(request: AttendRequest) -> Float32Array | None:
    """Returns all masks as one bias [batch or 1, heads or 1, query_len, kv_len]; None for none."""
    block = Block(
        batch=slice(0, request.batch),
        heads=slice(0, request.settings.num_heads),
        kv_heads=slice(0, request.settings.num_kv_heads),
        queries=slice(0, request.query_len),
        keys=slice(0, request.kv_len),
    )
    return MaskBuilder(request).build(block).bias
