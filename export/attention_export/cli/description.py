"""What an exported model is, line by line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from onnx import ModelProto, ValueInfoProto
from onnx.helper import tensor_dtype_to_np_dtype

from attention_export.cli.figures import IN_THE_GRAPH, heads, size
from attention_export.cli.printable import printable
from attention_export.exported_model import ExportedModel, parse_graph
from attention_export.graph_outline import outline
from attention_service.manifest import Manifest

__all__ = ["describe"]

_POSITIONS = {
    "none": "none",
    "rotary": "rotary: they turn the heads of queries and keys",
    "relative_bias": "relative: their distances bias the scores",
}


def describe(model: ExportedModel) -> Iterator[str]:
    """Returns the lines of a description: the layer, its files and their graphs.

    Raises:
        DamagedModelError: A file that is no ONNX model.
    """
    return map(printable, _lines(model))  # anyone may have written the names in a file


def _lines(model: ExportedModel) -> Iterator[str]:
    manifest = model.manifest
    yield f"{manifest.name}, version {manifest.version}"
    yield from _aligned(_layer(manifest))
    yield ""
    yield "files"
    yield from _aligned(
        (name, f"{size(len(model.graphs[name])):>8}", sha256)
        for name, sha256 in manifest.files.items()
    )
    for name in manifest.files:
        yield ""
        yield name
        yield from _graph(parse_graph(name, model.graphs[name]))


def _layer(manifest: Manifest) -> Iterator[tuple[str, str]]:
    defaults = manifest.defaults
    source = {**manifest.source}
    digest = source.pop("digest", "none")
    yield "source", ", ".join(f"{what} {value}" for what, value in source.items()) or "none"
    yield "digest", digest
    yield "widths", _widths(manifest)
    yield "heads", heads(manifest)
    yield "scale", f"{defaults.scale:.6g}" if manifest.staged else IN_THE_GRAPH
    yield "softcap", f"{defaults.softcap:.6g}" if defaults.softcap else _absent(manifest)
    yield "causality", defaults.causal
    yield "window", _window(defaults.window_left, defaults.window_right)
    yield "positions", _POSITIONS[manifest.positions]
    yield "masks", "any" if manifest.staged else "those of true and false, one for all heads"
    yield "outputs", ", ".join(manifest.outputs)
    yield "opset", str(manifest.opset)
    if manifest.parity:
        name, error = max(manifest.parity.items(), key=lambda item: item[1])
        yield "parity", f"at most {error:.1e} off float64 when it was exported ({name})"


def _widths(manifest: Manifest) -> str:
    return (
        f"query {manifest.query_dim}, key {manifest.key_dim}, value {manifest.value_dim} "
        f"→ output {manifest.output_dim}"
    )


def _absent(manifest: Manifest) -> str:
    return "none" if manifest.staged else IN_THE_GRAPH


def _window(left: int | None, right: int | None) -> str:
    sides = [f"{n} {side}" for n, side in ((left, "before"), (right, "after")) if n is not None]
    return ", ".join(sides) or "none"


def _graph(model: ModelProto) -> Iterator[str]:
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    takes = [(x.name, _type(x)) for x in graph.input if x.name not in weights]
    gives = [(f"→ {x.name}", _type(x)) for x in graph.output]
    yield from _aligned([*takes, *gives])
    yield from (f"  {line}" for line in outline(graph))


def _type(value: ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    element = tensor_dtype_to_np_dtype(tensor.elem_type).name
    sizes = [d.dim_param or str(d.dim_value) for d in tensor.shape.dim]
    return f"{element} [{', '.join(sizes)}]"


def _aligned(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"  {'  '.join(padded)}".rstrip()
