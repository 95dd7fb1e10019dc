"""manifest.json: what a model directory says of itself; the exporter writes, the server reads.

A model lives in ``<models>/<name>/<version>/``: the manifest, ``model.onnx`` and, where the layer
can be taken apart, the stages. Their inputs and outputs, by name:

    model.onnx              query, key, value, attend_mask [, query_positions, key_positions]
                            -> output [, weights]
    project_query.onnx      query [, query_positions] -> query_heads
    project_key_value.onnx  key, value [, key_positions] -> key_heads, value_heads
    position_bias.onnx      query_positions, key_positions, heads -> position_bias
    combine.onnx            head_outputs -> output

A layer that rotates takes positions in both projections; one that biases its scores by the distance
has ``position_bias.onnx``, which gives the heads that ``heads`` (int64) names. A layer that comes
whole, as ``model.onnx`` alone, uses no positions. Causality and window come through
``attend_mask``, bool [batch or 1, heads or 1, query_len, kv_len], [batch, 1, query_len, kv_len] for
a layer that comes whole.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

__all__ = [
    "FILE_NAME",
    "FORMAT",
    "MODEL_FILE",
    "NAME_PATTERN",
    "OUTPUTS",
    "POSITION_BIAS_FILE",
    "STAGE_FILES",
    "VERSION_PATTERN",
    "WHOLE_OUTPUTS",
    "Causal",
    "Defaults",
    "Manifest",
    "ManifestError",
    "Positions",
]

FILE_NAME = "manifest.json"
FORMAT = 1
"""Version of this format; a reader refuses any other."""
MODEL_FILE = "model.onnx"
"""The whole layer."""
STAGE_FILES = ("project_query.onnx", "project_key_value.onnx", "combine.onnx")
"""The layer in stages; attention itself stands between the second and the third."""
POSITION_BIAS_FILE = "position_bias.onnx"
"""One more stage, of layers that bias their scores by the distance."""

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Spelling of a model's name, to be matched in full."""
VERSION_PATTERN = re.compile(r"[1-9][0-9]{0,17}")
"""Spelling of a version, to be matched in full."""

Causal = Literal["none", "upper_left", "lower_right"]
Positions = Literal["none", "rotary", "relative_bias"]
"""How positions are used: not at all, to rotate queries and keys, or to bias the scores."""
OUTPUTS = ("output", "weights", "scores", "projections", "head_outputs", "log_sum_exp")
"""Parts of an answer, as ``Output`` in the contract names them."""
WHOLE_OUTPUTS = ("output", "weights")
"""The parts that a layer can give that comes as ``model.onnx`` alone."""


class ManifestError(ValueError):
    """Text that is no manifest; the message names the field and what would be right."""


@dataclass(frozen=True)
class Defaults:
    """What is computed where a request says nothing."""

    num_heads: int
    num_kv_heads: int
    scale: float
    """Factor on the dot products; 0 for a layer that comes whole, which keeps it to itself."""
    softcap: float = 0.0
    """Bound of the scores; 0 for none."""
    causal: Causal = "none"
    window_left: int | None = None
    """Keys before the place; None for no limit."""
    window_right: int | None = None
    """Keys after the place; None for no limit."""


@dataclass(frozen=True)
class Manifest:
    """One version of one model."""

    name: str
    version: str
    query_dim: int
    key_dim: int
    value_dim: int
    output_dim: int
    head_dim: int
    """Size of a query and key head; 0 for a layer that comes whole."""
    value_head_dim: int
    """Size of a value head; 0 for a layer that comes whole."""
    defaults: Defaults
    opset: int
    files: Mapping[str, str]
    """SHA-256 of each file, hexadecimal."""
    positions: Positions = "none"
    outputs: tuple[str, ...] = OUTPUTS
    source: Mapping[str, str] = field(default_factory=dict)
    """Where the weights come from: family, layer and digest, 4096 bytes at most in all."""
    parity: Mapping[str, float] = field(default_factory=dict)
    """Largest errors against float64 at export, relative to the largest magnitude."""
    spread: float = 1.0
    """Standard deviation of the inputs that these errors were found with, at most 1."""

    def to_json(self) -> str:
        """Returns the text of manifest.json, the same for equal manifests."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Reads manifest.json and checks every field.

        Raises:
            ManifestError: Text that is no manifest of this format.
        """
        try:
            # json takes UTF-16 and repeated names too, which other readers take otherwise.
            document = json.loads(
                text.decode() if isinstance(text, bytes) else text, object_pairs_hook=_object
            )
        except ManifestError:
            raise
        except (ValueError, RecursionError):
            raise ManifestError("it is not JSON") from None
        if not isinstance(document, dict):
            raise ManifestError("it must hold one object")
        number = document.pop("format", None)
        if type(number) is not int or number != FORMAT:
            raise ManifestError(f"format must be {FORMAT}")
        fields = _read(document, _MANIFEST_FIELDS, "")
        fields["defaults"] = Defaults(**_read(fields["defaults"], _DEFAULTS_FIELDS, "defaults."))
        fields["outputs"] = tuple(fields["outputs"])
        manifest = cls(**fields)
        manifest._check_consistency()
        return manifest

    @property
    def staged(self) -> bool:
        """Whether the layer comes in stages."""
        return any(name in self.files for name in STAGE_FILES)

    def _check_consistency(self) -> None:
        if self.defaults.num_heads % self.defaults.num_kv_heads:
            raise ManifestError("defaults.num_kv_heads must be a divisor of defaults.num_heads")
        needed = {MODEL_FILE}
        if self.staged:
            needed |= set(STAGE_FILES)
        if self.positions == "relative_bias":
            needed |= {*STAGE_FILES, POSITION_BIAS_FILE}
        if set(self.files) != needed:
            raise ManifestError("files must be " + ", ".join(sorted(needed)))
        if self.staged:
            if not (self.head_dim and self.value_head_dim):
                raise ManifestError("head_dim and value_head_dim must be at least 1")
            for name, dim in (("head_dim", self.head_dim), ("value_head_dim", self.value_head_dim)):
                if self.defaults.num_heads * dim > _LARGEST_WIDTH:
                    raise ManifestError(
                        f"defaults.num_heads * {name} must be at most {_LARGEST_WIDTH}"
                    )
            return
        whole, defaults = "for a layer that comes whole", self.defaults
        if self.positions != "none":
            raise ManifestError(f'positions must be "none" {whole}')
        if not {"output"} <= set(self.outputs) <= set(WHOLE_OUTPUTS):
            raise ManifestError(f"outputs must be output and perhaps weights {whole}")
        if self.head_dim or self.value_head_dim:
            raise ManifestError(f"head_dim and value_head_dim must be 0 {whole}")
        if defaults.scale or defaults.softcap:
            raise ManifestError(f"defaults.scale and defaults.softcap must be 0 {whole}")
        if defaults.num_heads > _MOST_WHOLE_HEADS:
            raise ManifestError(f"defaults.num_heads must be at most {_MOST_WHOLE_HEADS} {whole}")
        if defaults.num_kv_heads != defaults.num_heads:
            raise ManifestError(f"defaults.num_kv_heads must be defaults.num_heads {whole}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, value in pairs:
        if name in document:
            raise ManifestError(f"{name[:64]!r} stands there twice")
        document[name] = value
    return document


def _read(
    document: dict[str, Any], checks: Mapping[str, tuple[Callable[[Any], bool], str]], prefix: str
) -> dict[str, Any]:
    unknown = sorted(set(document) - set(checks))
    if unknown:
        raise ManifestError(f"unknown field {prefix}{unknown[0][:64]!r}")
    for name, (check, right) in checks.items():
        if name not in document:
            raise ManifestError(f"{prefix}{name} is missing; it must be {right}")
        if not check(document[name]):
            raise ManifestError(f"{prefix}{name} must be {right}")
    return dict(document)


def _whole_number(low: int, high: int = 2**31 - 1) -> Callable[[Any], bool]:
    return lambda x: type(x) is int and low <= x <= high


_MOST_SOURCE_BYTES = 4096  # it travels with every list of models; the exporter writes some 200
_LARGEST_WIDTH = 2**20
_MOST_WHOLE_HEADS = 4096  # no width bounds them
_LEAST_SPREAD = 1e-6  # float16 still tells such inputs from 0
_LARGEST_FLOAT32 = (2 - 2**-23) * 2.0**127  # numbers travel and compute as float32


def _text_map(value_pattern: str) -> Callable[[Any], bool]:
    pattern = re.compile(value_pattern, re.DOTALL)
    return lambda x: (
        isinstance(x, dict)
        and all(isinstance(v, str) and pattern.fullmatch(v) is not None for v in x.values())
        and all(map(_travels, itertools.chain(x, x.values())))
    )


def _source(x: Any) -> bool:
    return _text_map(".*")(x) and (
        sum(len(text.encode()) for text in itertools.chain(x, x.values())) <= _MOST_SOURCE_BYTES
    )


def _travels(text: str) -> bool:
    """Returns whether UTF-8 holds the text; JSON can spell half a character."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _finite(x: Any) -> bool:
    return type(x) in (int, float) and abs(x) <= _LARGEST_FLOAT32


def _known_files(x: Any) -> bool:
    return _text_map("[0-9a-f]{64}")(x) and set(x) <= set(_FILES)


_FILES = (MODEL_FILE, *STAGE_FILES, POSITION_BIAS_FILE)
_POSITIVE = (_whole_number(1), "a whole number, at least 1")
_WIDTH = (_whole_number(1, _LARGEST_WIDTH), f"a whole number of 1 to {_LARGEST_WIDTH}")
_HEAD_WIDTH = (_whole_number(0, _LARGEST_WIDTH), f"a whole number of 0 to {_LARGEST_WIDTH}")
_WINDOW = (lambda x: x is None or _whole_number(0)(x), "null or a whole number, at least 0")

_DEFAULTS_FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "num_heads": _POSITIVE,
    "num_kv_heads": _POSITIVE,
    "scale": (_finite, "a finite number"),
    "softcap": (lambda x: _finite(x) and x >= 0, "a finite number, at least 0"),
    "causal": (lambda x: x in get_args(Causal), "one of " + ", ".join(get_args(Causal))),
    "window_left": _WINDOW,
    "window_right": _WINDOW,
}
_MANIFEST_FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "name": (
        lambda x: isinstance(x, str) and NAME_PATTERN.fullmatch(x) is not None,
        "a letter or digit, then letters, digits, '.', '_' and '-', at most 64",
    ),
    "version": (
        lambda x: isinstance(x, str) and VERSION_PATTERN.fullmatch(x) is not None,
        "a positive integer in decimal without leading zeros, as a string",
    ),
    **dict.fromkeys(("query_dim", "key_dim", "value_dim", "output_dim"), _WIDTH),
    **dict.fromkeys(("head_dim", "value_head_dim"), _HEAD_WIDTH),
    "opset": _POSITIVE,
    "defaults": (lambda x: isinstance(x, dict), "an object"),
    "files": (_known_files, "SHA-256 digests of " + ", ".join(_FILES)),
    "positions": (lambda x: x in get_args(Positions), "one of " + ", ".join(get_args(Positions))),
    "outputs": (
        lambda x: (
            isinstance(x, list) and bool(x) and all(o in OUTPUTS and x.count(o) == 1 for o in x)
        ),
        "a list of " + ", ".join(OUTPUTS) + ", each once",
    ),
    "source": (_source, f"an object of strings, {_MOST_SOURCE_BYTES} bytes at most in all"),
    "parity": (
        lambda x: isinstance(x, dict) and all(map(_finite, x.values())),
        "an object of numbers",
    ),
    "spread": (
        lambda x: _finite(x) and _LEAST_SPREAD <= x <= 1,
        f"a number of {_LEAST_SPREAD:f} to 1",
    ),
}
