"""Execution providers: which one of those asked for works here."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

__all__ = ["CPU", "CUDA", "PROVIDERS", "EngineUnavailable", "Runtime", "cores", "load_runtime"]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
PROVIDERS = {"cpu": CPU, "cuda": CUDA}
"""ONNX Runtime's names of the providers that can be asked for."""

_FATAL_ONLY = 4
_MOST_THREADS = 8  # each session has a pool of its own, and several run at a time


class EngineUnavailable(Exception):
    """The server cannot compute here; the message says what to install or to change."""


@dataclass(frozen=True)
class Runtime:
    """ONNX Runtime with the provider that will be used."""

    onnxruntime: ModuleType
    provider: str
    intra_op_threads: int = 0
    """Threads inside one run; 0 for one a core, at most 8."""
    notes: tuple[str, ...] = ()
    """What was asked for and cannot be had, one line each."""

    @property
    def device(self) -> str:
        """Where tensors between sessions lie: "cpu" or "cuda"."""
        return "cuda" if self.provider == CUDA else "cpu"

    @property
    def providers(self) -> tuple[str, ...]:
        """Names in order of preference; beside CUDA stands the CPU, for shapes and the like."""
        return (self.provider,) if self.provider == CPU else (self.provider, CPU)

    def single_threaded(self) -> Runtime:
        """Returns the same with one thread a run; itself on a GPU, which has no such choice."""
        if self.provider != CPU or self.threads == 1:
            return self
        return replace(self, intra_op_threads=1)

    @property
    def threads(self) -> int:
        """Threads inside one run on the CPU."""
        return self.intra_op_threads or min(cores(), _MOST_THREADS)

    def options(self) -> Any:
        """Returns the SessionOptions of every session."""
        options = self.onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL_ONLY  # what it raises says the same
        # The arena would keep the memory of its largest run for ever; without it, and with blocks
        # that are small enough for malloc's own heap, runs take no longer: within 5 % at 768 wide,
        # 128 and 512 tokens, with one caller or two.
        options.enable_cpu_mem_arena = False
        # Threads that spin between runs take the cores from gRPC, and from each other. On 2 cores
        # with 2 threads, runs a second of a layer in stages, 1 caller / 2 callers: 384 wide, 16
        # tokens: no spinning 2,540 / 3,610, stopped after a run 2,360 / 1,770, spinning 1,060 /
        # 1,920 (1 thread: 2,990 / 5,950); 768 wide, 128 tokens: 254 / 263, 231 / 134, 57 / 93.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Bytes that pass for ONNX and for ONNX Runtime's own format too are read as ONNX.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        # Tells which provider runs which operator.
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        return options

    def large_run_options(self) -> Any:
        """Returns the RunOptions of a large run: a GPU's memory goes back when it ends.

        The arena would keep it for ever; giving back that of small runs too would cost them time.
        """
        if self.provider == CPU:
            return None
        options = self.onnxruntime.RunOptions()
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "gpu:0")
        return options


def load_runtime(
    preferred: Sequence[str] = ("cpu",), *, require: bool = False, intra_op_threads: int = 0
) -> Runtime:
    """Imports ONNX Runtime and takes the first provider of ``preferred`` that works here.

    Args:
        preferred: Keys of PROVIDERS.
        require: Whether anything but the first of ``preferred`` is an error.
        intra_op_threads: Threads inside one run; 0 for one a core, at most 8.

    Raises:
        EngineUnavailable: ONNX Runtime is missing, or no provider of ``preferred`` works.
    """
    # Official builds report to their maker unless this says no before they are loaded.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError:
        raise EngineUnavailable(
            "onnxruntime is missing; install it with: pip install 'attention-service[server]' "
            "(with CUDA: 'attention-service[server-gpu]')"
        ) from None
    onnxruntime.set_default_logger_severity(_FATAL_ONLY)
    notes: list[str] = []
    for name in preferred[:1] if require else preferred:
        obstacle = _cuda_obstacle(onnxruntime) if name == "cuda" else None
        if obstacle is None:
            return Runtime(onnxruntime, PROVIDERS[name], intra_op_threads, tuple(notes))
        notes.append(obstacle)
    raise EngineUnavailable("; ".join(notes))


def cores() -> int:
    """Returns the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cuda_obstacle(onnxruntime: ModuleType) -> str | None:
    """Returns why CUDA cannot be used, or None."""
    if CUDA not in onnxruntime.get_available_providers():
        return (
            "CUDA is not in this onnxruntime; use an environment without it and "
            "pip install 'attention-service[server-gpu]'"
        )
    # onnxruntime-gpu lists CUDA on machines without a GPU too: only an allocation tells.
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
        onnxruntime.preload_dlls()
    try:
        onnxruntime.OrtValue.ortvalue_from_shape_and_type([1], "float32", "cuda", 0)
    except Exception:  # noqa: BLE001 - each driver fails with an error of its own
        return "CUDA cannot be used: no GPU, or its driver, CUDA or cuDNN libraries are missing"
    return None
