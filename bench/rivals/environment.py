"""Environments of rivals, made when they are first asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping
from pathlib import Path

from bench.worker import Unavailable

__all__ = ["python", "variables"]

_ROOT = Path(__file__).parents[2]
_PATIENCE = 900  # seconds; some 450 MB each


def python(environments: Path, name: str, *packages: str) -> str:
    """Returns the interpreter of an environment with these packages.

    Raises:
        Unavailable: They cannot be installed here.
    """
    environment = environments / name
    interpreter, installed = environment / "bin/python", environment / ".installed"
    if not installed.exists():
        venv.create(environment, with_pip=True, clear=True)
        command = [str(interpreter), "-m", "pip", "install", "--quiet", *packages]
        try:
            done = subprocess.run(  # noqa: S603  # our own words
                command, capture_output=True, text=True, timeout=_PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{name} was not installed within {_PATIENCE} s") from None
        if done.returncode:
            last = done.stderr.strip().rpartition("\n")[2]
            raise Unavailable(f"{name} cannot be installed: {last}")
        installed.touch()
    return str(interpreter)


def variables() -> Mapping[str, str]:
    """Returns the environment variables under which a rival's programs run."""
    # Triton's own Python must be that of the interpreter, not the system's.
    libraries = (sysconfig.get_config_var("LIBDIR"), os.environ.get("LD_LIBRARY_PATH"))
    search = os.pathsep.join(path for path in libraries if path)
    bin_of_interpreter = str(Path(sys.executable).parent)
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), bin_of_interpreter))
    return {**os.environ, "PYTHONPATH": str(_ROOT), "LD_LIBRARY_PATH": search, "PATH": path}
