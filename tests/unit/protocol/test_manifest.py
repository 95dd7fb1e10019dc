"""manifest.json: what the exporter writes the server reads, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from attention_service.manifest import (
    MODEL_FILE,
    NAME_PATTERN,
    POSITION_BIAS_FILE,
    STAGE_FILES,
    VERSION_PATTERN,
    Defaults,
    Manifest,
    ManifestError,
)

_DIGEST = "0123456789abcdef" * 4
_MANIFEST = Manifest(
    name="minilm-l6.0",
    version="3",
    query_dim=8,
    key_dim=9,
    value_dim=10,
    output_dim=11,
    head_dim=4,
    value_head_dim=5,
    defaults=Defaults(
        num_heads=4,
        num_kv_heads=2,
        scale=0.3,
        softcap=50.0,
        causal="lower_right",
        window_left=7,
        window_right=0,
    ),
    opset=23,
    files=dict.fromkeys((MODEL_FILE, *STAGE_FILES), _DIGEST),
    outputs=("output", "weights"),
    source={"family": "bert", "title": "注意力"},
    parity={"output": 1.5e-7},
)
_WHOLE = replace(
    _MANIFEST,
    head_dim=0,
    value_head_dim=0,
    defaults=Defaults(num_heads=4, num_kv_heads=4, scale=0.0, causal="upper_left", window_right=1),
    files={MODEL_FILE: _DIGEST},
)
_BIASED = replace(
    _MANIFEST,
    positions="relative_bias",
    files={**_MANIFEST.files, POSITION_BIAS_FILE: _DIGEST},
)


def _document(manifest: Manifest = _MANIFEST) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(manifest.to_json())
    return document


@pytest.mark.parametrize(
    "manifest",
    [
        _MANIFEST,
        replace(_MANIFEST, defaults=Defaults(num_heads=1, num_kv_heads=1, scale=-1.0)),
        replace(_MANIFEST, positions="rotary", source={}, parity={}),
        _BIASED,
        _WHOLE,
        replace(_WHOLE, outputs=("output",)),
        replace(_MANIFEST, source={"note": "n" * 4092}),
        replace(_MANIFEST, head_dim=2**18, value_head_dim=2**18),
        replace(_WHOLE, defaults=Defaults(num_heads=4096, num_kv_heads=4096, scale=0.0)),
        replace(_MANIFEST, spread=1e-6),
    ],
    ids=[
        "everything given",
        "plain defaults",
        "rotary",
        "biased by the distance",
        "the whole layer alone",
        "its output alone",
        "the longest source",
        "the widest heads",
        "the most heads of a whole layer",
        "the smallest inputs",
    ],
)
def test_what_is_written_is_read(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert Manifest.from_json(manifest.to_json().encode()) == manifest


def test_equal_manifests_have_the_same_text() -> None:
    again = Manifest.from_json(_MANIFEST.to_json())

    assert again.to_json() == _MANIFEST.to_json()


@pytest.mark.parametrize(
    ("manifest", "staged"), [(_MANIFEST, True), (_BIASED, True), (_WHOLE, False)]
)
def test_a_layer_is_staged_unless_it_comes_whole(manifest: Manifest, staged: bool) -> None:
    assert manifest.staged is staged


def _without(name: str) -> Callable[[dict[str, Any]], None]:
    def remove(document: dict[str, Any]) -> None:
        *parents, last = name.split(".")
        for parent in parents:
            document = document[parent]
        del document[last]

    return remove


def _with(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def put(document: dict[str, Any]) -> None:
        *parents, last = name.split(".")
        for parent in parents:
            document = document[parent]
        document[last] = value

    return put


_HUGE = 10**400  # JSON holds it, a float does not
_WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "another format": (_with("format", 2), "format must be 1"),
    "a format that is true": (_with("format", True), "format must be 1"),
    "a format in floating point": (_with("format", 1.0), "format must be 1"),
    "no format": (_without("format"), "format must be 1"),
    "an unknown field": (_with("colour", "red"), "unknown field 'colour'"),
    "an unknown default": (_with("defaults.colour", 1), "unknown field defaults.'colour'"),
    "no name": (_without("name"), "name is missing"),
    "an empty name": (_with("name", ""), "name must be"),
    "a name with a slash": (_with("name", "a/b"), "name must be"),
    "a name that climbs": (_with("name", ".."), "name must be"),
    "a name with a line break": (_with("name", "a\n"), "name must be"),
    "a name of 65 characters": (_with("name", "a" * 65), "name must be"),
    "a name that is no text": (_with("name", 1), "name must be"),
    "version 0": (_with("version", "0"), "version must be"),
    "a version with a leading zero": (_with("version", "01"), "version must be"),
    "a version in Arabic digits": (
        _with("version", "\N{ARABIC-INDIC DIGIT ONE}"),
        "version must be",
    ),
    "a version that is a number": (_with("version", 1), "version must be"),
    "a width of 0": (_with("query_dim", 0), "query_dim must be"),
    "a width of 2^20 + 1": (_with("output_dim", 2**20 + 1), "output_dim must be"),
    "a width beyond every number": (_with("query_dim", _HUGE), "query_dim must be"),
    "heads of 2^31": (_with("defaults.num_heads", 2**31), "defaults.num_heads must be"),
    "a width that is true": (_with("key_dim", True), "key_dim must be"),
    "a width in floating point": (_with("value_dim", 8.0), "value_dim must be"),
    "no head_dim": (_without("head_dim"), "head_dim is missing"),
    "a negative value_head_dim": (_with("value_head_dim", -1), "value_head_dim must be"),
    "no opset": (_without("opset"), "opset is missing"),
    "no defaults": (_without("defaults"), "defaults is missing"),
    "defaults in a list": (_with("defaults", []), "defaults must be"),
    "heads wider than 2^20 together": (
        _with("head_dim", 2**18 + 1),
        "defaults.num_heads * head_dim must be at most 1048576",
    ),
    "value heads wider than 2^20 together": (
        _with("value_head_dim", 2**18 + 1),
        "defaults.num_heads * value_head_dim must be at most 1048576",
    ),
    "no heads": (_with("defaults.num_heads", 0), "defaults.num_heads must be"),
    "no num_kv_heads": (_without("defaults.num_kv_heads"), "defaults.num_kv_heads is missing"),
    "kv heads that do not divide heads": (
        _with("defaults.num_kv_heads", 3),
        "defaults.num_kv_heads must be a divisor",
    ),
    "a scale that is not a number": (_with("defaults.scale", "0.5"), "defaults.scale must be"),
    "a scale of NaN": (_with("defaults.scale", float("nan")), "defaults.scale must be"),
    "an infinite scale": (_with("defaults.scale", float("inf")), "defaults.scale must be"),
    "a scale beyond floats": (_with("defaults.scale", _HUGE), "defaults.scale must be"),
    "a scale beyond float32": (_with("defaults.scale", 3.5e38), "defaults.scale must be"),
    "a negative softcap": (_with("defaults.softcap", -1.0), "defaults.softcap must be"),
    "an unknown causality": (_with("defaults.causal", "left"), "defaults.causal must be"),
    "a causality in a list": (_with("defaults.causal", ["none"]), "defaults.causal must be"),
    "a negative window": (_with("defaults.window_left", -1), "defaults.window_left must be"),
    "no files": (_with("files", {}), "files must be model.onnx"),
    "a stage too few": (
        _with("files", dict.fromkeys((MODEL_FILE, *STAGE_FILES[:2]), _DIGEST)),
        "files must be combine.onnx, model.onnx, project",
    ),
    "a bias by position that is not used": (
        _with("files", dict(_BIASED.files)),
        "files must be combine.onnx, model.onnx, project",
    ),
    "a bias by position without its file": (
        _with("positions", "relative_bias"),
        "files must be combine.onnx, model.onnx, position_bias.onnx, project",
    ),
    "an unknown use of positions": (_with("positions", "sinusoids"), "positions must be one of"),
    "stages without heads": (_with("head_dim", 0), "head_dim and value_head_dim must be at least"),
    "a file from the root": (_with("files", {"/etc/passwd": _DIGEST}), "files must be"),
    "a file with a NUL": (_with("files", {f"{MODEL_FILE}\0": _DIGEST}), "files must be"),
    "an unknown file": (_with("files", {"../x": _DIGEST}), "files must be"),
    "a digest too short": (_with("files", {MODEL_FILE: "0" * 63}), "files must be"),
    "a digest in capitals": (_with("files", {MODEL_FILE: "A" * 64}), "files must be"),
    "a digest with a line break": (_with("files", {MODEL_FILE: _DIGEST + "\n"}), "files must be"),
    "no outputs": (_with("outputs", []), "outputs must be"),
    "an unknown output": (_with("outputs", ["output", "logits"]), "outputs must be"),
    "an output twice": (_with("outputs", ["output", "output"]), "outputs must be"),
    "outputs in a map": (_with("outputs", {"output": 1}), "outputs must be"),
    "an output in a list": (_with("outputs", [["output"]]), "outputs must be"),
    "a source that is no text": (_with("source", {"layer": 1}), "source must be"),
    "a source of 4,097 bytes": (_with("source", {"note": "n" * 4093}), "source must be"),
    "a source of 4,102 bytes in 1,370 characters": (
        _with("source", {"note": "注" * 1366}),
        "source must be",
    ),
    "a source of long names": (_with("source", {"n" * 4097: ""}), "source must be"),
    "half a character in a source": (_with("source", {"layer": "\ud800"}), "source must be"),
    "half a character in a source's name": (_with("source", {"\ud800": "0"}), "source must be"),
    "a parity that is no number": (_with("parity", {"output": "0"}), "parity must be"),
    "a parity of NaN": (_with("parity", {"output": float("nan")}), "parity must be"),
    "a parity beyond floats": (_with("parity", {"output": _HUGE}), "parity must be"),
    "no spread": (_without("spread"), "spread is missing; it must be a number of 0.000001 to 1"),
    "a spread of 0": (_with("spread", 0), "spread must be a number of 0.000001 to 1"),
    "a spread that no input shows": (_with("spread", 9e-7), "spread must be"),
    "a spread above 1": (_with("spread", 1.001), "spread must be"),
    "a spread of NaN": (_with("spread", float("nan")), "spread must be"),
    "a spread that is true": (_with("spread", True), "spread must be"),
}


@pytest.mark.parametrize(("spoil", "message"), list(_WRONG.values()), ids=list(_WRONG))
def test_a_wrong_field_is_named(spoil: Callable[[dict[str, Any]], None], message: str) -> None:
    _check_refused(_document(), spoil, message)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("positions", "rotary", 'positions must be "none" for a layer that comes whole'),
        ("outputs", ["weights"], "outputs must be output and perhaps weights for a layer that"),
        ("outputs", ["output", "scores"], "outputs must be output and perhaps weights"),
        ("head_dim", 4, "head_dim and value_head_dim must be 0 for a layer that comes whole"),
        ("value_head_dim", 4, "head_dim and value_head_dim must be 0"),
        ("defaults.scale", 0.5, "defaults.scale and defaults.softcap must be 0 for a layer that"),
        ("defaults.softcap", 1.0, "defaults.scale and defaults.softcap must be 0"),
        ("defaults.num_heads", 4100, "defaults.num_heads must be at most 4096 for a layer that"),
        ("defaults.num_kv_heads", 2, "defaults.num_kv_heads must be defaults.num_heads for a"),
    ],
)
def test_what_a_layer_that_comes_whole_cannot_say_is_named(
    field: str, value: Any, message: str
) -> None:
    _check_refused(_document(_WHOLE), _with(field, value), message)


def _check_refused(
    document: dict[str, Any], spoil: Callable[[dict[str, Any]], None], message: str
) -> None:
    spoil(document)

    with pytest.raises(ManifestError) as refused:
        Manifest.from_json(json.dumps(document))

    assert message in str(refused.value)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        b"\xff\xfe\x00",
        _MANIFEST.to_json().encode("utf-8-sig"),
        _MANIFEST.to_json().encode("utf-16"),
        _MANIFEST.to_json().encode("utf-32-le"),
        "9" * 5000,
    ],
    ids=[
        "empty",
        "cut off",
        "nested too deep",
        "no text",
        "with a mark before it",
        "UTF-16",
        "UTF-32",
        "a number too long",
    ],
)
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ManifestError, match="is not JSON"):
        Manifest.from_json(text)


@pytest.mark.parametrize(
    ("name", "value"), [("query_dim", "8"), ("num_heads", "4"), ("model.onnx", f'"{_DIGEST}"')]
)
def test_what_stands_there_twice_is_refused(name: str, value: str) -> None:
    # Readers differ in which of the two they take.
    text = _MANIFEST.to_json().replace(f'"{name}":', f'"{name}": {value}, "{name}":')

    with pytest.raises(ManifestError, match=f"'{name}' stands there twice"):
        Manifest.from_json(text)


@pytest.mark.parametrize("text", ["[]", "null", '"manifest"', "1"])
def test_json_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ManifestError, match="must hold one object"):
        Manifest.from_json(text)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("a", True),
        ("0", True),
        ("minilm-l6.0", True),
        ("A_b-c.d", True),
        ("a" * 64, True),
        ("", False),
        (".hidden", False),
        ("-flag", False),
        ("_a", False),
        ("a b", False),
        ("a/b", False),
        ("é", False),
        ("a" * 65, False),
    ],
)
def test_spelling_of_names(name: str, good: bool) -> None:
    assert (NAME_PATTERN.fullmatch(name) is not None) is good


@pytest.mark.parametrize(
    ("version", "good"),
    [
        ("1", True),
        ("10", True),
        ("9" * 18, True),
        ("", False),
        ("0", False),
        ("01", False),
        ("-1", False),
        ("1.0", False),
        (" 1", False),
        ("²", False),
        ("9" * 19, False),
    ],
)
def test_spelling_of_versions(version: str, good: bool) -> None:
    assert (VERSION_PATTERN.fullmatch(version) is not None) is good
