"""What the figures were measured on, and with."""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path

__all__ = ["busy", "cores", "described"]

_PACKAGES = ("attention-service", "grpcio", "numpy", "onnxruntime", "protobuf", "torch")


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def busy(seconds: float) -> float:
    """Returns which part of the cores others use, 0 to 1, while this process sleeps so long.

    0 where the system does not tell.
    """
    before = _ticks()
    time.sleep(seconds)
    spent = [now - then for now, then in zip(_ticks(), before, strict=True)]
    return 1 - sum(spent[3:5]) / sum(spent) if sum(spent) else 0.0


def _ticks() -> list[int]:
    """Returns what the cores did since the start, see proc(5): idle and iowait are 3 and 4."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    except OSError:
        return []
    return [int(ticks) for ticks in first.split()[1:9]]


def described() -> dict[str, str | int]:
    """Returns processor, cores, memory, system and versions."""
    versions = {package: metadata.version(package) for package in _PACKAGES}
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **versions,
    }


def _processor() -> str:
    """Returns its name and its widest vectors, as far as the system tells."""
    try:
        said = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.partition(":") for line in said.partition("\n\n")[0].splitlines())
    lines = {name.strip(): value.strip() for name, _, value in pairs}
    flags = lines.get("flags", "").split()
    vectors = next((name for name in ("avx512f", "avx2") if name in flags), "")
    return " ".join(part for part in (lines.get("model name", ""), vectors) if part)
