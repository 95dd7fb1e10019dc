"""Runs attention-export and says in one line what went wrong."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from attention_export.cli.arguments import parse
from attention_export.errors import ExportError

__all__ = ["main"]

_NEEDED = ("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "safetensors", "rich")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    0 for success, 1 for an error, which standard error names in one line, 130 for an interrupt.

    Raises:
        SystemExit: With 2 for a command line that makes no sense, with 0 after --help.
    """
    arguments = parse(argv)
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        return _fail(f"{names} not installed; run: pip install 'attention-service[export]'")
    try:
        (_write_graphs if arguments.command == "graphs" else _export)(arguments)
    except ExportError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        print("attention-export: interrupted", file=sys.stderr)
        return 130
    return 0


def _export(arguments: argparse.Namespace) -> None:
    from attention_export.cli.jobs import jobs
    from attention_export.cli.progress import progress
    from attention_export.cli.summary import print_summary
    from attention_export.layer_export import STEPS, export_layer

    work = jobs(arguments)
    reports = []
    try:
        with progress(len(work), STEPS + 1) as reporter:
            for job in work:
                reporter.layer(job.name)
                reporter.step("reading")
                layer = job.read()
                reports.append(
                    export_layer(
                        layer.module,
                        models=arguments.out,
                        name=job.name,
                        version=arguments.model_version,
                        causal=arguments.causal or layer.causal,
                        source=layer.source,
                        overwrite=arguments.overwrite,
                        on_step=reporter.step,
                    )
                )
    finally:
        if reports:  # those before one that failed are written, too
            print_summary(reports)


def _write_graphs(arguments: argparse.Namespace) -> None:
    from attention_export.attention_graphs import FILE_NAMES, attention_graph
    from attention_export.cli.progress import progress
    from attention_export.cli.summary import print_files

    arguments.out.mkdir(parents=True, exist_ok=True)
    sizes = {}
    with progress(len(FILE_NAMES), 1) as reporter:
        for name in FILE_NAMES:
            reporter.layer(name)
            reporter.step("exporting")
            graph = attention_graph(name)
            (arguments.out / name).write_bytes(graph)
            sizes[name] = len(graph)
    print_files(sizes)


def _fail(message: str) -> int:
    print(f"attention-export: error: {message}", file=sys.stderr)
    return 1
