"""The families as transformers builds them, and a server that serves their layers as exported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from attention_client import AttentionClient
from attention_export import HuggingFaceModel, export
from attention_server import EmbeddedServer
from tests.parity.families.table import LAYERS, Asked
from tests.parity.families.theirs import build

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@pytest.fixture(scope="session")
def asked_layers(request: pytest.FixtureRequest) -> tuple[Asked, ...]:
    """The layers that the selected tests ask about: no others need an export, of some seconds.

    A test asks about one layer, or about all of a family.
    """
    here = Path(__file__).parent
    items = (item for item in request.session.items if item.path.parent == here)
    callspecs = (getattr(item, "callspec", None) for item in items)
    parameters = [callspec.params for callspec in callspecs if callspec is not None]
    layers = {given.get("asked") for given in parameters}
    families = {given.get("family") for given in parameters}
    return tuple(asked for asked in LAYERS if asked in layers or asked.family in families)


@pytest.fixture(scope="session")
def theirs(asked_layers: tuple[Asked, ...]) -> Mapping[str, PreTrainedModel]:
    """The models of transformers, by family."""
    return {asked.family.name: build(asked.family) for asked in asked_layers}


@pytest.fixture(scope="session")
def families_client(
    asked_layers: tuple[Asked, ...],
    theirs: Mapping[str, PreTrainedModel],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AttentionClient]:
    """Asks a server that serves every layer as it was exported from what transformers saved."""
    saved, models = tmp_path_factory.mktemp("saved"), tmp_path_factory.mktemp("families")
    for name, model in theirs.items():
        model.save_pretrained(saved / name)
    for asked in asked_layers:
        layer = HuggingFaceModel(saved / asked.family.name).layer(asked.layer_name)
        export(
            layer.module,
            models=models,
            name=asked.model,
            causal=layer.causal,
            window=layer.window,
            source=layer.source,
        )
    with EmbeddedServer(models, demo=False) as server, AttentionClient(server.address) as asking:
        yield asking
