"""Attention itself, between projection and combination: a few graphs that serve every model.

``fast`` is ONNX's Attention operator, with weights or without, with a bias or without;
``flash_unmasked`` is ONNX Runtime's own MultiHeadAttention, whose kernel for the CPU keeps no
scores; ``full`` is the same step by step and gives every step. They are exported from PyTorch by
``attention-export graphs`` and committed beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from attention_server.domain.request import Float32Array
from attention_server.engine.probe import attends_rightly
from attention_server.engine.providers import CPU, Runtime
from attention_server.engine.session import DeviceTensor, Session

__all__ = ["FLASH", "AttentionGraphs", "BlockResult"]

FLASH = "flash_unmasked"
"""The graph that keeps no scores: of as many queries and keys as there are it takes no memory."""

_DIRECTORY = Path(__file__).parent / "graphs"
_GRAPHS = (
    "fast",
    "fast_weights",
    "fast_unmasked",
    "fast_unmasked_weights",
    FLASH,
    "full",
    "full_softcap",
)
_FAST = "fast"
_COMPUTING = frozenset({"Attention", "MatMul"})
# 12 heads of 64, 2 threads, ms with flash_unmasked / fast_unmasked: 256 queries and keys 1.8 / 1.9,
# 512: 6.1 / 8.0, 1,024: 21 / 43; 128 queries and 512 keys 1.8 / 1.6, 16 and 4,096: 5.7 / 3.8.
_PAIRS_WORTH_FLASH = 512 * 512
_QUERIES_WORTH_FLASH = 128
_NO_BIAS = np.zeros((1, 1, 1, 1), np.float32)


BlockResult = Mapping[str, DeviceTensor]
"""What one run of a graph gives: head_outputs and, as the graph has them, weights, scores and
log_sum_exp. Shapes as in the contract."""


class AttentionGraphs:
    """Chooses the cheapest graph that gives what is wanted, and runs it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        sessions = {
            name: Session(runtime, (_DIRECTORY / f"{name}.onnx").read_bytes()) for name in _GRAPHS
        }
        # Where a provider lacks a form of the Attention operator, or a release of ONNX Runtime has
        # it wrong, the decomposed graph serves: slower, but right, and never on the CPU in silence.
        self._sessions = {
            name: session
            for name, session in sessions.items()
            if name.startswith("full")
            or (
                # Elsewhere the operator has other kernels, which nobody has tried.
                (name != FLASH or runtime.provider == CPU)
                and session.runs_on_device(_COMPUTING)
                and attends_rightly(
                    runtime,
                    session,
                    masked="unmasked" not in name,
                    with_weights="weights" in name,
                )
            )
        }

    @property
    def for_merging(self) -> bytes | None:
        """The graph that a layer's stages can be merged with; None where there is none to use.

        On a GPU there is none: what one run gives back there, heads too, would all be copied.
        """
        if self._runtime.provider != CPU or _FAST not in self._sessions:
            return None
        return (_DIRECTORY / f"{_FAST}.onnx").read_bytes()

    def choose(
        self,
        *,
        masked: bool,
        weights: bool,
        steps: bool,
        softcap: bool,
        queries: int,
        keys: int,
    ) -> str:
        """Returns the name of the graph for a block.

        Args:
            masked: Whether there is a bias.
            weights: Whether weights are wanted.
            steps: Whether scores or log-sum-exp are wanted.
            softcap: Whether scores are bounded.
            queries: Queries of a head.
            keys: Keys of a head.
        """
        if softcap:
            return "full_softcap"
        if steps:
            return "full"
        many = queries >= _QUERIES_WORTH_FLASH and queries * keys >= _PAIRS_WORTH_FLASH
        if many and not masked and not weights and FLASH in self._sessions:
            return FLASH
        name = "fast" + ("" if masked else "_unmasked") + ("_weights" if weights else "")
        return name if name in self._sessions else "full"

    def run(
        self,
        graph: str,
        query: DeviceTensor,  # [batch, heads, query_len, head_dim]
        key: DeviceTensor,  # [batch, kv_heads, kv_len, head_dim]
        value: DeviceTensor,  # [batch, kv_heads, kv_len, value_head_dim]
        *,
        scale: float,
        softcap: float,
        bias: Float32Array | None,  # [batch or 1, heads or 1, query_len, kv_len]
    ) -> BlockResult:
        """Returns everything that the graph of this name gives."""
        inputs = {"query": query, "key": key, "value": value, "scale": self._scalar(scale)}
        if "unmasked" not in graph:
            inputs["attn_bias"] = self._to_device(_NO_BIAS if bias is None else bias)
        if graph == "full_softcap":
            inputs["softcap"] = self._scalar(softcap)
        outputs = ["head_outputs"]
        if graph.startswith("full"):
            outputs += ["weights", "scores", "log_sum_exp"]
        elif graph.endswith("weights"):
            outputs += ["weights"]
        return dict(zip(outputs, self._sessions[graph].run(outputs, inputs), strict=True))

    def _scalar(self, value: float) -> DeviceTensor:
        return self._to_device(np.array(value, np.float32))

    def _to_device(self, array: Float32Array) -> DeviceTensor:
        return DeviceTensor.from_host(self._runtime, array)
