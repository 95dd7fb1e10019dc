"""Files are read only where they are files, of a size that can be right, and what was signed."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from attention_server.models.files import BrokenModel, read_files
from attention_service.manifest import MODEL_FILE, STAGE_FILES, Defaults, Manifest

CONTENT = b"weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()
MANIFEST = Manifest(
    name="layer",
    version="1",
    query_dim=1,
    key_dim=1,
    value_dim=1,
    output_dim=1,
    head_dim=1,
    value_head_dim=1,
    defaults=Defaults(1, 1, 1.0),
    opset=23,
    files={"file": DIGEST},
)
Make = Callable[[Path], None]


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(path))  # an address has room for 100 characters


def _elsewhere(path: Path) -> None:
    (path.parent.parent / "elsewhere").write_bytes(CONTENT)
    path.symlink_to("../elsewhere")


def _neighbour(path: Path) -> None:
    (path.parent / "neighbour").write_bytes(CONTENT)
    path.symlink_to("neighbour")


def _sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (lambda path: None, "No such file or directory"),
        (os.mkdir, "Is a directory"),
        (os.mkfifo, "is not a file"),
        (_socket, ""),
        (_elsewhere, "is a symbolic link"),
        (_neighbour, "is a symbolic link"),
        (lambda path: path.symlink_to("nowhere"), "is a symbolic link"),
        (lambda path: path.symlink_to(path.name), "is a symbolic link"),
        (_sparse, "is larger than 2147483647 bytes"),
        (lambda path: path.write_bytes(CONTENT + b"!"), "is not the file that"),
        (lambda path: path.write_bytes(b""), "is not the file that"),
    ],
    ids=[
        "nothing",
        "a directory",
        "a pipe",
        "a socket",
        "a link that leads out",
        "a link to a neighbour",
        "a link to nothing",
        "a link to itself",
        "a terabyte",
        "another content",
        "no content",
    ],
)
def test_what_is_no_file_of_the_manifest_is_refused(tmp_path: Path, make: Make, fault: str) -> None:
    directory = tmp_path / "layer"
    directory.mkdir()
    make(directory / "file")

    with pytest.raises(BrokenModel, match=f"^file:? {fault}"):
        read_files(directory, MANIFEST)


def test_device_is_not_read() -> None:
    with pytest.raises(BrokenModel, match=r"^zero is not a file"):
        read_files(Path("/dev"), replace(MANIFEST, files={"zero": DIGEST}))


def test_file_may_have_a_second_hard_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(CONTENT)
    os.link(tmp_path / "elsewhere", tmp_path / "file")

    assert read_files(tmp_path, MANIFEST) == {"file": CONTENT}


def test_small_file_takes_little_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)

    tracemalloc.start()
    try:
        read_files(tmp_path, MANIFEST)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 1 << 20


WITH_LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from attention_server.models.files import BrokenModel, read_files
from attention_service.manifest import Manifest
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
try:
    read_files(Path(sys.argv[1]), Manifest.from_json(sys.argv[2]))
except BrokenModel as refused:
    print(refused)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not bound memory so")
def test_file_that_does_not_fit_into_memory_is_refused(tmp_path: Path) -> None:
    (tmp_path / MODEL_FILE).touch()
    os.truncate(tmp_path / MODEL_FILE, 1 << 30)
    manifest = replace(MANIFEST, files=dict.fromkeys((MODEL_FILE, *STAGE_FILES), DIGEST))

    said = subprocess.run(
        [sys.executable, "-c", WITH_LITTLE_MEMORY, str(tmp_path), manifest.to_json()],
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.stdout == "model.onnx is larger than the memory that is left\n", said.stderr
