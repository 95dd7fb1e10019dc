"""The contract itself: its style, its promises to the last release, and the stubs made from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "protos"
BIN = Path(sys.executable).parent  # not resolved: a virtual environment's python is a link


def _run(*command: str) -> str:
    """Returns what the command printed; where it fails, the test fails with it."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def _stubs(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*_pb2*"))
        if path.suffix in {".py", ".pyi"}
    }


def test_committed_stubs_are_what_make_protos_generates(tmp_path: Path) -> None:
    # DEV= : the environment that runs this test, whatever make would say about it.
    _run("make", "protos", "DEV=", f"BIN={BIN}", f"STUBS={tmp_path}")

    generated, committed = _stubs(tmp_path), _stubs(PROTOS)
    assert generated.keys() == committed.keys()
    stale = [name for name in generated if generated[name] != committed[name]]
    assert stale == [], "run `make protos` and commit what it writes"


def test_contract_passes_the_standard_and_comments_rules() -> None:
    _run(str(BIN / "buf"), "lint", "protos")


def test_contract_breaks_no_promise_of_the_last_release() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no release to compare with")
    assert _run("git", "rev-parse", "--is-shallow-repository").strip() == "false", (
        "this clone has no history: git fetch --unshallow --tags"
    )
    tags = _run("git", "tag", "--list", "v*", "--merged", "HEAD", "--sort=-version:refname").split()
    if not tags:
        pytest.skip("no release yet: nothing is promised")
    _run(str(BIN / "buf"), "breaking", "protos", "--against", f".git#tag={tags[0]},subdir=protos")
