from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

MAIN = "import sys; from attention_export.cli import main; sys.exit(main())"


def test_another_process_writes_the_same_bytes(
    model_directory: Path, fresh_command: list[str], tmp_path: Path
) -> None:
    subprocess.run(
        [sys.executable, "-c", MAIN, *fresh_command, "--out", str(tmp_path)],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        cwd=tmp_path,
        check=True,
    )
    for path in model_directory.iterdir():
        again = tmp_path / path.relative_to(model_directory.parents[1])
        assert again.read_bytes() == path.read_bytes(), path.name
