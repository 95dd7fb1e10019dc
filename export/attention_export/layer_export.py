"""From a layer to a verified model directory."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from attention_export.errors import ExportError, SourceError
from attention_export.float32_copy import float32_copy
from attention_export.float64_layer import Float64Layer
from attention_export.model_directory import check_destination, write_model_directory
from attention_export.module import MultiHeadAttention
from attention_export.own_module import OwnModule
from attention_export.sources.torch_module import comes_apart, find_attention
from attention_export.stages import file_names, layer_graph
from attention_export.to_onnx import OPSET
from attention_export.verification import Reference, input_spread, verify
from attention_export.whole_graph import whole_graph
from attention_service.manifest import (
    FILE_NAME,
    MODEL_FILE,
    OUTPUTS,
    Causal,
    Defaults,
    Manifest,
    ManifestError,
)

__all__ = ["STEPS", "ExportReport", "export", "manifest_of"]

STEPS = 7
"""Times that ``export`` calls ``on_step``, at most."""


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


def export(
    module: nn.Module,
    *,
    models: Path | str,
    name: str,
    version: str = "1",
    layer: str | None = None,
    query_dim: int | None = None,
    key_dim: int | None = None,
    value_dim: int | None = None,
    causal: Causal = "none",
    window: tuple[int | None, int | None] = (None, None),
    source: Mapping[str, str] | None = None,
    overwrite: bool = False,
    on_step: Callable[[str], None] | None = None,
) -> ExportReport:
    """Exports an attention layer, verifies its graphs and writes ``<models>/<name>/<version>/``.

    What is an attention layer:

    - ``MultiHeadAttention`` of this package.
    - ``torch.nn.MultiheadAttention``, batch_first or not, of any widths, with biases or without;
      not one made with ``add_bias_kv`` or ``add_zero_attn``. What is served is batch first.
    - A module of your own with ``forward(query, key, value, attend_mask)``, by these names, that
      returns output or (output, weights):

          query        [batch, query_len, query_dim]
          key, value   [batch, kv_len, key_dim], [batch, kv_len, value_dim]
          attend_mask  bool [batch, 1, query_len, kv_len], true where a query may attend to a key
          output       [batch, query_len, output_dim]
          weights      [batch, heads, query_len, kv_len], 0 where the mask is false, rows sum to 1

      In rows that may attend to nothing it may give anything, NaN too: they are answered with 0.
      It must take any batch and any lengths, and leave causality to the mask.

    The first two are served in stages, with every intermediate in sight; a module of your own as it
    is, with the output and the weights that it returns. A module that holds attention layers, such
    as torch.nn.TransformerDecoderLayer or a model of your own, is told which by ``layer``.

    Args:
        module: The layer or what holds it, of any floating-point type and on any device; it is left
            as it is. What is served is its evaluation mode, without dropout.
        models: Directory of models, made where it is missing.
        name: Name under which the layer is served.
        version: Version, a positive integer in decimal.
        layer: Name of the layer in the module, "decoder.layers.3.self_attn" say; needless where
            there is one only.
        query_dim: Last dimension of the query, of a module of your own only.
        key_dim: That of the key; as ``query_dim`` if absent.
        value_dim: That of the value; as ``key_dim`` if absent.
        causal: Causality where a request says nothing.
        window: Keys before and after its place that a query sees where a request says nothing;
            None for no limit.
        source: Where the weights come from, shown to clients; found from the module if absent. A
            digest of the layer's weights is added where none is given.
        overwrite: Whether a version that exists is replaced.
        on_step: Called with a few words before each of ``STEPS`` steps at most.

    Raises:
        InvalidNameError: A name or version that no server would serve.
        ModelExistsError: The version is there and ``overwrite`` is false.
        SourceError: No attention layer, several and none was named, or a module of your own that
            does not compute attention as is said above.
        VerificationError: The graphs do not compute what they should; nothing was written.
        ExportError: A layer too large for one file, weights that are not finite, a module that
            torch does not export or whose graph no server takes, a source of more than some
            kilobytes, or a file system that refused.
    """
    begin = time.perf_counter()
    announce = on_step or (lambda step: None)
    directory = check_destination(Path(models), name, version, overwrite=overwrite)
    found = find_attention(module, layer)
    ready = float32_copy(found.module)
    dims = {"query_dim": query_dim, "key_dim": key_dim, "value_dim": value_dim}
    work = _apart(ready, dims, announce) if comes_apart(ready) else _whole(ready, dims, announce)
    provenance = dict(found.source if source is None else source)
    provenance.setdefault("digest", found.source["digest"])
    manifest = manifest_of(
        work.layer,
        work.graphs,
        name=name,
        version=version,
        causal=causal,
        window=window,
        source=provenance,
    )
    announce("verifying")
    manifest = replace(manifest, spread=work.spread or input_spread(manifest, work.reference))
    manifest = replace(manifest, parity=verify(manifest, work.graphs, work.reference))
    announce("writing")
    files = {**work.graphs, FILE_NAME: _readable(manifest)}
    write_model_directory(directory, files)
    return ExportReport(
        directory=directory,
        manifest=manifest,
        files={name: len(data) for name, data in files.items()},
        seconds=time.perf_counter() - begin,
    )


def manifest_of(
    layer: MultiHeadAttention | OwnModule,
    graphs: Mapping[str, bytes],
    *,
    name: str,
    version: str = "1",
    causal: Causal = "none",
    window: tuple[int | None, int | None] = (None, None),
    source: Mapping[str, str] | None = None,
) -> Manifest:
    """Returns what a layer's directory says of it, without the parity that is still to be found."""
    return Manifest(
        name=name,
        version=version,
        query_dim=layer.query_dim,
        key_dim=layer.key_dim,
        value_dim=layer.value_dim,
        output_dim=layer.output_dim,
        head_dim=layer.head_dim,
        value_head_dim=layer.value_head_dim,
        defaults=Defaults(
            layer.num_heads,
            layer.num_kv_heads,
            layer.scale,
            softcap=layer.softcap,
            causal=causal,
            window_left=window[0],
            window_right=window[1],
        ),
        opset=OPSET,
        files={name: hashlib.sha256(graph).hexdigest() for name, graph in graphs.items()},
        positions=layer.positions,
        outputs=layer.outputs if isinstance(layer, OwnModule) else OUTPUTS,
        source=source or {},
    )


@dataclass(frozen=True)
class _Work:
    """A layer, its graphs by file name, and what is right of them."""

    layer: MultiHeadAttention | OwnModule
    graphs: Mapping[str, bytes]
    reference: Reference
    spread: float | None = None
    """Standard deviation of the inputs to verify with; None for one that keeps scores in bounds."""


def _apart(
    layer: MultiHeadAttention, dims: Mapping[str, int | None], announce: Callable[[str], None]
) -> _Work:
    for name, dim in dims.items():
        if dim not in (None, getattr(layer, name)):
            raise SourceError(f"{name} of the layer is {getattr(layer, name)}, not {dim}")
    graphs = {}
    for file_name in file_names(layer):
        announce(f"exporting {file_name}")
        graphs[file_name] = layer_graph(layer, file_name)
    return _Work(layer, graphs, Float64Layer(layer))


def _whole(
    module: nn.Module, dims: Mapping[str, int | None], announce: Callable[[str], None]
) -> _Work:
    announce("running the module")
    own = OwnModule.tried(module, **dims)
    announce(f"exporting {MODEL_FILE}")
    return _Work(own, {MODEL_FILE: whole_graph(own)}, own, own.spread)


def _readable(manifest: Manifest) -> bytes:
    """Returns the manifest's text, which servers read."""
    text = manifest.to_json().encode()
    try:
        Manifest.from_json(text)
    except ManifestError as error:
        raise ExportError(f"no server would take its manifest: {error}") from None
    return text
