"""From a layer to a verified model directory."""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from attention_export.errors import ExportError
from attention_export.graph_size import check_size
from attention_export.model_directory import check_destination, write_model_directory
from attention_export.module import MultiHeadAttention
from attention_export.sources.digest import digest
from attention_export.stages import FILE_NAMES, layer_graph
from attention_export.to_onnx import OPSET
from attention_export.verification import verify
from attention_service.manifest import FILE_NAME, Causal, Defaults, Manifest, ManifestError

__all__ = ["STEPS", "ExportReport", "export_layer"]

STEPS = len(FILE_NAMES) + 2
"""Times that ``export_layer`` calls ``on_step``."""


@dataclass(frozen=True)
class ExportReport:
    """What an export wrote."""

    directory: Path
    manifest: Manifest
    files: Mapping[str, int]
    """Size of each file, bytes."""
    seconds: float
    """Time taken, verification included."""

    @property
    def parity(self) -> Mapping[str, float]:
        """Largest error of each tensor against float64, relative to its largest magnitude."""
        return self.manifest.parity

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(self.files.values())


def export_layer(
    module: MultiHeadAttention,
    *,
    models: Path,
    name: str,
    version: str = "1",
    causal: Causal = "none",
    source: Mapping[str, str] | None = None,
    overwrite: bool = False,
    on_step: Callable[[str], None] | None = None,
) -> ExportReport:
    """Exports a layer, verifies the graphs and writes ``<models>/<name>/<version>/``.

    Args:
        module: The layer, of any floating-point type and on any device; it is left as it is.
        models: Directory of models, made where it is missing.
        name: Name under which the layer is served.
        version: Version, a positive integer in decimal.
        causal: Causality where a request says nothing.
        source: Where the weights come from, shown to clients. A digest of the layer's weights is
            added where none is given.
        overwrite: Whether a version that exists is replaced.
        on_step: Called with a few words before each of ``STEPS`` steps.

    Raises:
        InvalidNameError: A name or version that no server would serve.
        ModelExistsError: The version is there and ``overwrite`` is false.
        VerificationError: The graphs do not compute what they should; nothing was written.
        ExportError: No layer of this package, one too large for one file, weights that are not
            finite, a source of more than some kilobytes, or a file system that refused.
    """
    begin = time.perf_counter()
    announce = on_step or (lambda step: None)
    directory = check_destination(models, name, version, overwrite=overwrite)
    layer = _prepare(module)
    graphs = {}
    for file_name in FILE_NAMES:
        announce(f"exporting {file_name}")
        graphs[file_name] = layer_graph(layer, file_name)
    announce("verifying")
    parity = verify(layer, graphs)
    announce("writing")
    provenance = source or {}
    manifest = Manifest(
        name=name,
        version=version,
        query_dim=layer.query_dim,
        key_dim=layer.key_dim,
        value_dim=layer.value_dim,
        output_dim=layer.output_dim,
        head_dim=layer.head_dim,
        value_head_dim=layer.value_head_dim,
        defaults=Defaults(layer.num_heads, layer.num_kv_heads, layer.scale, causal=causal),
        opset=OPSET,
        files={name: hashlib.sha256(graph).hexdigest() for name, graph in graphs.items()},
        source={**provenance, "digest": provenance.get("digest", digest(layer.state_dict()))},
        parity=parity,
    )
    files = {**graphs, FILE_NAME: _readable(manifest)}
    write_model_directory(directory, files)
    return ExportReport(
        directory=directory,
        manifest=manifest,
        files={name: len(data) for name, data in files.items()},
        seconds=time.perf_counter() - begin,
    )


def _readable(manifest: Manifest) -> bytes:
    """Returns the manifest's text, which servers read."""
    text = manifest.to_json().encode()
    try:
        Manifest.from_json(text)
    except ManifestError as error:
        raise ExportError(f"no server would take its manifest: {error}") from None
    return text


def _prepare(module: MultiHeadAttention) -> MultiHeadAttention:
    """Returns a float32 copy on the CPU, in evaluation mode."""
    if not isinstance(module, MultiHeadAttention):
        raise ExportError(
            f"{type(module).__name__} is no attention_export.MultiHeadAttention; of a "
            "torch.nn.MultiheadAttention, save the state dict in safetensors and use "
            "attention_export.read_torch_layer"
        )
    check_size(module)
    layer = copy.deepcopy(module).to("cpu", torch.float32).eval()
    for name, parameter in layer.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise ExportError(f"{name} is not finite in float32")
    return layer
