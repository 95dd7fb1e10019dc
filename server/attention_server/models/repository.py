"""All models under some directories: those that can be served, and why the others cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attention_server.domain.model import SDPA, AttentionSettings, Model, ModelKey, Window
from attention_server.models.files import BrokenModel, read_files, read_manifest
from attention_service.manifest import NAME_PATTERN, VERSION_PATTERN, Manifest

__all__ = [
    "BUILT_IN",
    "FoundModel",
    "RefusedModel",
    "find_model_directories",
    "find_models",
]

BUILT_IN = Path(__file__).parent / "built_in"
"""Models that come with the server."""

_TAKEN = (
    "a model of this name and version is served already (--no-demo leaves out the one that comes "
    "with the server)"
)


@dataclass(frozen=True)
class FoundModel:
    """A model that was read and checked."""

    model: Model
    files: Mapping[str, bytes]
    """Content by file name."""


@dataclass(frozen=True)
class RefusedModel:
    """A directory that holds no model that can be served."""

    name: str
    """``<name>/<version>``."""
    reason: str


def find_models(roots: Sequence[Path]) -> Iterator[FoundModel | RefusedModel]:
    """Yields every model under ``<root>/<name>/<version>``, by name and version.

    A root that is not there is empty. Files and hidden directories beside models are passed over.
    """
    seen: set[ModelKey] = set()
    for root in roots:
        for directory in find_model_directories(root):
            found = _read(directory)
            if isinstance(found, FoundModel):
                if found.model.key in seen:
                    name = f"{directory.parent.name}/{directory.name}"
                    found = RefusedModel(name, _TAKEN)
                else:
                    seen.add(found.model.key)
            yield found


def find_model_directories(root: Path) -> Iterator[Path]:
    """Yields what should be a model: every ``<root>/<name>/<version>``."""
    for model in _directories(root):
        yield from _directories(model)


def _directories(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(d for d in parent.iterdir() if d.is_dir() and not d.name.startswith("."))


def _read(directory: Path) -> FoundModel | RefusedModel:
    name, version = directory.parent.name, directory.name
    try:
        _check_name(name, version)
        manifest = read_manifest(directory)
        return FoundModel(_model(manifest), read_files(directory, manifest))
    except BrokenModel as error:
        return RefusedModel(f"{name}/{version}".encode("unicode_escape").decode(), str(error))


def _check_name(name: str, version: str) -> None:
    if name == SDPA.key.name:
        raise BrokenModel("the name sdpa is taken")
    if not NAME_PATTERN.fullmatch(name):
        raise BrokenModel("a name is a letter or digit, then letters, digits, '.', '_' and '-'")
    if not VERSION_PATTERN.fullmatch(version):
        raise BrokenModel("a version is a positive integer without leading zeros")


def _model(manifest: Manifest) -> Model:
    defaults = manifest.defaults
    return Model(
        key=ModelKey(manifest.name, manifest.version),
        query_dim=manifest.query_dim,
        key_dim=manifest.key_dim,
        value_dim=manifest.value_dim,
        output_dim=manifest.output_dim,
        head_dim=manifest.head_dim,
        value_head_dim=manifest.value_head_dim,
        defaults=AttentionSettings(
            num_heads=defaults.num_heads,
            num_kv_heads=defaults.num_kv_heads,
            scale=defaults.scale,
            softcap=defaults.softcap,
            causal=defaults.causal,
            window=Window(defaults.window_left, defaults.window_right),
        ),
        outputs=manifest.outputs,
        source=manifest.source,
    )
