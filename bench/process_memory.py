"""Memory of another process, as Linux tells it."""

from __future__ import annotations

import re
from pathlib import Path

from bench.worker import Unavailable

__all__ = ["forget_peak", "peak_mib", "resident_mib"]


def resident_mib(pid: int) -> float:
    """Returns the memory that the process holds now, MiB.

    Raises:
        Unavailable: The system does not tell.
    """
    return _status(pid, "VmRSS")


def peak_mib(pid: int) -> float:
    """Returns the most it held since ``forget_peak``, MiB.

    Raises:
        Unavailable: The system does not tell.
    """
    return _status(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Makes the peak begin anew, at what is held now.

    Raises:
        Unavailable: The system does not let us.
    """
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")  # proc(5)
    except OSError:
        raise Unavailable("this system does not say how much memory a process held") from None


def _status(pid: int, field: str) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        raise Unavailable("this system does not say how much memory a process holds") from None
    found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found, field
    return int(found[1]) / 1024
