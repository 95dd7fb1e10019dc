from __future__ import annotations

import subprocess
from pathlib import Path


def test_another_process_writes_the_same_bytes(
    model_directory: Path, other_process: tuple[subprocess.Popen[bytes], Path]
) -> None:
    process, other_directory = other_process
    assert process.wait(timeout=240) == 0
    names = sorted(path.name for path in model_directory.iterdir())
    assert sorted(path.name for path in other_directory.iterdir()) == names
    for name in names:
        assert (other_directory / name).read_bytes() == (model_directory / name).read_bytes(), name
