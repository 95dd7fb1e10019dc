"""All models under some directories: those that can be served, and why the others cannot."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attention_server.domain.model import SDPA, AttentionSettings, Model, ModelKey, Window
from attention_server.models.files import IS_LINK, BrokenModel, read_files, read_manifest
from attention_service.manifest import NAME_PATTERN, VERSION_PATTERN, Manifest

__all__ = [
    "BUILT_IN",
    "FoundModel",
    "RefusedModel",
    "find_model_directories",
    "find_models",
    "model_of",
]

BUILT_IN = Path(__file__).parent / "built_in"
"""Models that come with the server."""

_LONGEST_NAME = 100  # no good one is as long
_TAKEN = (
    "a model of this name and version is served already (--no-demo leaves out the one that comes "
    "with the server)"
)


@dataclass(frozen=True)
class FoundModel:
    """A model whose manifest is right and whose files are those of its manifest."""

    directory: Path
    manifest: Manifest
    files: Mapping[str, bytes]
    """Content by file name."""

    @property
    def model(self) -> Model:
        """What the model says of itself."""
        return model_of(self.manifest)

    @property
    def is_built_in(self) -> bool:
        """Whether it comes with the server."""
        return BUILT_IN in self.directory.parents


@dataclass(frozen=True)
class RefusedModel:
    """A directory that holds no model that can be served."""

    name: str
    """``<name>/<version>``, or ``<name>``, in printable characters."""
    reason: str


def find_models(roots: Sequence[Path]) -> Iterator[FoundModel | RefusedModel]:
    """Yields every model under ``<root>/<name>/<version>``, by name and version.

    A root that is not there is empty. Files and hidden directories beside models are passed over;
    symbolic links are refused.
    """
    seen: set[ModelKey] = set()
    for root in roots:
        for directory, fault in _places(root):
            try:
                if fault:
                    raise BrokenModel(fault)
                found = _read(directory)
                if found.model.key in seen:
                    raise BrokenModel(_TAKEN)
            except BrokenModel as error:
                yield RefusedModel(_shown(directory.relative_to(root)), str(error))
            else:
                seen.add(found.model.key)
                yield found


def find_model_directories(root: Path) -> Iterator[Path]:
    """Yields what should be a model: every ``<root>/<name>/<version>``.

    A ``<root>/<name>`` that is a link or cannot be read stands for all its versions.
    """
    return (directory for directory, _ in _places(root))


def _places(root: Path) -> Iterator[tuple[Path, str]]:
    """Yields every place of a model, and what is wrong with it; "" for nothing."""
    try:
        models = _directories(root)
    except OSError:  # not there, or no longer
        return
    for model in models:
        if model.is_symlink():
            yield model, IS_LINK
            continue
        try:
            versions = _directories(model)
        except OSError as error:
            yield model, error.strerror or "cannot be read"
            continue
        for version in versions:
            yield version, IS_LINK if version.is_symlink() else ""


def _directories(parent: Path) -> list[Path]:
    """Returns the directories in one, links to whatever among them."""
    with os.scandir(parent) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith(".") and (entry.is_symlink() or entry.is_dir())
        )
    return [parent / name for name in names]


def _read(directory: Path) -> FoundModel:
    _check_name(directory.parent.name, directory.name)
    manifest = read_manifest(directory)
    return FoundModel(directory, manifest, read_files(directory, manifest))


def _shown(place: Path) -> str:
    """Returns ``<name>/<version>`` in one line of printable characters, not too long."""
    shown = place.as_posix().encode("unicode_escape").decode()
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[:_LONGEST_NAME]}..."


def _check_name(name: str, version: str) -> None:
    if name == SDPA.key.name:
        raise BrokenModel("the name sdpa is taken")
    if not NAME_PATTERN.fullmatch(name):
        raise BrokenModel("a name is a letter or digit, then letters, digits, '.', '_' and '-'")
    if not VERSION_PATTERN.fullmatch(version):
        raise BrokenModel("a version is a positive integer without leading zeros")


def model_of(manifest: Manifest) -> Model:
    """Returns what a manifest says of its model."""
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
        positions=manifest.positions,
        outputs=manifest.outputs,
        source=manifest.source,
    )
