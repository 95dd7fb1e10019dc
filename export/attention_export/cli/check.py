"""Exported models verified again, and the table of what was found."""

from __future__ import annotations

from pathlib import Path

from attention_export.cli.every_model import faults_of
from attention_export.cli.progress import progress
from attention_export.cli.table import print_table
from attention_export.exported_model import ExportedModel, find_models, read_model
from attention_export.graph_reference import GraphReference
from attention_export.verification import TOLERANCE, verify

__all__ = ["check_models"]

_COLUMNS = ("model", "tensor", "max error", "at export")


def check_models(directory: Path) -> list[str]:
    """Verifies all models in a directory, prints what was found, and returns what is wrong.

    Raises:
        DamagedModelError: There is no model.
    """
    places = find_models(directory)
    rows: list[tuple[str, ...]] = []

    def check(place: Path) -> None:
        reporter.layer(str(place))
        reporter.step("comparing digests")
        model = read_model(place)
        reporter.step("verifying")
        rows.extend(_errors(model))

    with progress(len(places), 2) as reporter:
        faults = faults_of(places, check)
    verdict = f"{len(places) - len(faults)} of {len(places)} verified"
    if rows:
        print_table(_COLUMNS, rows, texts={"model", "tensor"}, wrapped="model")
        verdict += (
            ": the files are those exported, and errors against float64 are at most "
            f"{TOLERANCE:.0e} of a tensor's largest magnitude"
        )
    print(verdict)
    return faults


def _errors(model: ExportedModel) -> list[tuple[str, ...]]:
    manifest = model.manifest
    found = verify(manifest, model.graphs, GraphReference(manifest, model.graphs))
    name = f"{manifest.name}/{manifest.version}"
    recorded = {tensor: f"{error:.1e}" for tensor, error in manifest.parity.items()}
    return [
        (name, tensor, f"{error:.1e}", recorded.get(tensor, "-")) for tensor, error in found.items()
    ]
