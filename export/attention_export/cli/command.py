"""Runs attention-export and says in one line what went wrong."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from attention_export.cli.arguments import parse
from attention_export.cli.printable import printable
from attention_export.errors import ExportError

__all__ = ["main"]

_TO_EXPORT = ("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "safetensors", "rich")
_TO_LOOK = ("onnx", "onnxruntime", "rich")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    0 for success, 1 for an error, which standard error names in one line, 130 for an interrupt.

    Raises:
        SystemExit: With 2 for a command line that makes no sense, with 0 after --help.
    """
    arguments = parse(argv)
    run = _COMMANDS[arguments.command]
    # A machine that serves has no torch, and needs none to look at what it serves.
    looks = arguments.command in {"verify", "show"}
    missing = [name for name in (_TO_LOOK if looks else _TO_EXPORT) if find_spec(name) is None]
    if missing:
        wanted = " ".join(missing) if looks else "'attention-service[export]'"
        return _fail(f"{', '.join(missing)} not installed; run: pip install {wanted}")
    try:
        faults = run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, head say, has seen enough
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ExportError as error:
        faults = [str(error)]
    except OSError as error:
        faults = [f"{error.filename}: {error.strerror}" if error.filename else str(error)]
    except KeyboardInterrupt:
        print("attention-export: interrupted", file=sys.stderr)
        return 130
    for fault in faults:
        _fail(fault)
    return 1 if faults else 0


def _export(arguments: argparse.Namespace) -> Sequence[str]:
    from attention_export.cli.jobs import jobs
    from attention_export.cli.progress import progress
    from attention_export.cli.summary import print_summary
    from attention_export.layer_export import STEPS, export

    work = jobs(arguments)
    reports = []
    try:
        with progress(len(work), STEPS + 1) as reporter:
            for job in work:
                reporter.layer(job.name)
                reporter.step("reading")
                layer = job.read()
                reports.append(
                    export(
                        layer.module,
                        models=arguments.out,
                        name=job.name,
                        version=arguments.model_version,
                        causal=arguments.causal or layer.causal,
                        window=layer.window,
                        source=layer.source,
                        overwrite=arguments.overwrite,
                        on_step=reporter.step,
                    )
                )
    finally:
        if reports:  # those before one that failed are written, too
            print_summary(reports)
    return ()


def _write_graphs(arguments: argparse.Namespace) -> Sequence[str]:
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
    return ()


def _verify(arguments: argparse.Namespace) -> Sequence[str]:
    from attention_export.cli.check import check_models

    return check_models(arguments.directory)


def _show(arguments: argparse.Namespace) -> Sequence[str]:
    from attention_export.cli.description import describe
    from attention_export.cli.every_model import faults_of
    from attention_export.exported_model import find_models, read_model

    shown: list[Path] = []

    def show(place: Path) -> None:
        text = "\n".join(describe(read_model(place)))
        print(f"\n{text}" if shown else text)
        shown.append(place)

    return faults_of(find_models(arguments.directory), show)


def _families(arguments: argparse.Namespace) -> Sequence[str]:
    from attention_export.cli.table import print_table
    from attention_export.sources.families import FAMILIES

    rows = [(", ".join(family.model_types), family.brings) for family in FAMILIES]
    columns = ("model_type", "what its attention brings")
    print_table(columns, rows, texts=columns, wrapped=columns[1])
    return ()


_COMMANDS: dict[str, Callable[[argparse.Namespace], Sequence[str]]] = {
    "huggingface": _export,
    "torch": _export,
    "fresh": _export,
    "graphs": _write_graphs,
    "families": _families,
    "verify": _verify,
    "show": _show,
}


def _fail(message: str) -> int:
    line = printable(" ".join(message.split()))  # names in a file are anyone's
    print(f"attention-export: error: {line}", file=sys.stderr)
    return 1
