from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np
import pytest

from attention_client.explore import uploads as uploads_module
from attention_client.explore.asking import UploadedArray
from attention_client.explore.errors import ExploreError
from attention_client.explore.uploads import LARGEST_UPLOAD, Uploads, arrays_in
from tests.unit.client.explore.called import post

RANK = "; embeddings are [length, width] or [batch, length, width]"
EMBEDDINGS = np.arange(12, dtype=np.float32).reshape(3, 4)


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=True)
    return file.getvalue()


def npz(*, compressed: bool = False, **arrays: Any) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def archive(**members: bytes) -> bytearray:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in members.items():
            written.writestr(name, content)
    return bytearray(file.getvalue())


def damaged(*, packed: int | None = None, method: int | None = None, flags: int = 0) -> bytes:
    """Returns an .npz file with other bytes in its content, or another entry in its headers."""
    content = archive(**{"q.npy": npy(EMBEDDINGS)})
    central = content.index(b"PK\x01\x02")
    if packed is not None:
        content[packed : packed + 10] = b"\xff" * 10
    if method is not None:
        content[8] = content[central + 10] = method
    content[6] |= flags
    content[central + 8] |= flags
    return bytes(content)


def test_arrays_come_back_by_name() -> None:
    assert np.array_equal(arrays_in("q.npy", npy(EMBEDDINGS))[""], EMBEDDINGS)
    both = arrays_in("a.npz", npz(query=EMBEDDINGS, key=EMBEDDINGS + 1))
    assert list(both) == ["query", "key"]
    assert np.array_equal(both["key"], EMBEDDINGS + 1)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "f.npy: no .npy or .npz file of numbers"),
        (b"no array", "f.npy: no .npy or .npz file of numbers"),
        (npy(EMBEDDINGS)[:-1], "f.npy: no .npy or .npz file of numbers"),
        (npy(np.array([{}], dtype=object)), "f.npy: no .npy or .npz file of numbers"),
        (npz(query=np.array([{}], dtype=object)), "f.npy: no .npy or .npz file of numbers"),
        (damaged(packed=45), "f.npy: no .npy or .npz file of numbers"),
        (damaged(method=99), "f.npy: no .npy or .npz file of numbers"),
        (damaged(flags=1), "f.npy: no .npy or .npz file of numbers"),  # encrypted
        (
            b"\x93NUMPY\x01\x00\xc8\x00" + b"{'descr':" * 40,
            "f.npy: no .npy or .npz file of numbers",
        ),
        (npz(), "f.npy: no array in it"),
        (bytes(archive(**{"read.me": b"hi"})), "f.npy: read.me is no array"),
        (npz(words=np.array(["a"])), "words: <U1 is no real number"),
        (npy(EMBEDDINGS.astype(np.complex64)), "f.npy: complex64 is no real number"),
    ],
)
def test_other_files_are_refused(content: bytes, why: str) -> None:
    with pytest.raises(ExploreError) as refused:
        arrays_in("f.npy", content)
    assert str(refused.value) == why


def test_a_file_is_bounded_packed_and_unpacked(page: str) -> None:
    packed = npz(compressed=True, query=np.zeros(LARGEST_UPLOAD + 1, np.uint8))
    assert len(packed) < LARGEST_UPLOAD // 100
    with pytest.raises(ExploreError, match=r"a\.npz is larger than 64 MiB"):
        arrays_in("a.npz", packed)

    answer = post(page, "/api/uploads?file=a.npy", bytes(LARGEST_UPLOAD + 1))
    assert (answer.status, answer.json) == (422, {"error": "larger than 64 MiB"})


def test_the_oldest_files_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads_module, "_KEPT", 2 * EMBEDDINGS.nbytes)
    kept = Uploads()
    names = [kept.add("q.npy", npy(EMBEDDINGS + i))[0] for i in range(3)]

    for name, i in zip(names[1:], (1, 2), strict=True):
        assert np.array_equal(kept.array(UploadedArray(name, ""))[0], EMBEDDINGS + i)
    with pytest.raises(ExploreError, match="upload it again"):
        kept.array(UploadedArray(names[0], ""))


def test_an_upload_is_attended_to(page: str) -> None:
    told = post(page, "/api/uploads?file=some/where/a.npz", npz(query=EMBEDDINGS)).json
    assert told["file"] == "a.npz"
    assert told["arrays"] == [{"name": "query", "shape": [3, 4], "dtype": "float32"}]

    query = {"upload": told["upload"], "name": "query"}
    ask = {"model": "sdpa", "num_heads": 2, "input": {"query": query}}
    assert post(page, "/api/attend", ask).json["tokens"] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.zeros(3), "q.npy is 3" + RANK),
        (np.zeros((0, 4)), "an array without a single embedding has nothing to attend to"),
        (
            np.array(np.nan),
            "q.npy is one number; embeddings are [length, width] or [batch, length, width]",
        ),
    ],
)
def test_arrays_of_other_shapes_are_refused(page: str, array: Any, why: str) -> None:
    told = post(page, "/api/uploads?file=q.npy", npy(array)).json
    ask = {"model": "sdpa", "num_heads": 1, "input": {"query": {"upload": told["upload"]}}}
    answer = post(page, "/api/attend", ask)

    assert (answer.status, answer.json) == (422, {"error": why})


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([3, 2], ["0", "1"]),
        ([3, 0], "batch: all queries of this sequence are padding"),
        ([3, 4], "mask.kv_lengths[1]"),
        ([3], "mask.kv_lengths"),
    ],
)
def test_lengths_of_uploaded_sequences_are_theirs(
    page: str, lengths: list[int], expected: object
) -> None:
    told = post(page, "/api/uploads?file=q.npy", npy(np.stack([EMBEDDINGS, EMBEDDINGS]))).json
    given = {"query": {"upload": told["upload"]}, "kv_lengths": lengths}
    ask = {"model": "sdpa", "num_heads": 1, "input": given, "sequence": 1, "query": 2}
    answer = post(page, "/api/attend", ask)

    if isinstance(expected, list):
        assert answer.json["tokens"] == expected
    else:
        assert answer.status == 422
        assert str(expected) in answer.json["error"]
