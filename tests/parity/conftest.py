"""A real server with exported layers, the SDK, and the same layers as the oracle knows them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from attention_client import AttentionClient
from attention_export import ExportReport, MultiHeadAttention, export, fresh_layer
from attention_server import EmbeddedServer
from attention_service.manifest import FILE_NAME
from attention_service.reference import Projections
from tests.parity.cases import LAYERS, LayerDims


@pytest.fixture(scope="session")
def modules() -> Mapping[str, MultiHeadAttention]:
    """The layers as PyTorch modules, by the name of their model."""

    def module(dims: LayerDims) -> MultiHeadAttention:
        return fresh_layer(
            dims.query_dim,
            dims.heads,
            seed=0,
            num_kv_heads=dims.kv_heads,
            key_dim=dims.key_dim,
            value_dim=dims.value_dim,
            output_dim=dims.output_dim,
            head_dim=dims.head_dim,
            value_head_dim=dims.value_head_dim,
            bias=dims.bias,
        ).module

    return {name: module(dims) for name, dims in LAYERS.items()}


@pytest.fixture(scope="session")
def projections(modules: Mapping[str, MultiHeadAttention]) -> Mapping[str, Projections]:
    """The layers as the oracle takes them."""

    def matrices(module: MultiHeadAttention) -> Projections:
        weights = {
            name: tensor.detach().double().numpy() for name, tensor in module.named_parameters()
        }
        return Projections(
            *(weights[f"w_{part}.weight"].T for part in "qkvo"),
            *(weights.get(f"w_{part}.bias", 0.0) for part in "qkvo"),
        )

    return {name: matrices(module) for name, module in modules.items()}


@pytest.fixture(scope="session")
def server(
    modules: Mapping[str, MultiHeadAttention], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EmbeddedServer]:
    """Serves the exported layers."""
    directory: Path = tmp_path_factory.mktemp("parity")
    exported = {
        name: export(modules[name], models=directory, name=name, causal=LAYERS[name].causal)
        for name in ("grouped", "decoder")
    }
    _write_windowed(directory / "windowed" / "1", exported["decoder"])
    with EmbeddedServer(directory, demo=False) as running:
        yield running


def _write_windowed(directory: Path, decoder: ExportReport) -> None:
    """Writes the decoder once more, with the defaults that no exporter writes yet."""
    shutil.copytree(decoder.directory, directory)
    dims = LAYERS["windowed"]
    left, right = dims.window
    defaults = replace(
        decoder.manifest.defaults, window_left=left, window_right=right, softcap=dims.softcap
    )
    manifest = replace(decoder.manifest, name="windowed", defaults=defaults)
    (directory / FILE_NAME).write_text(manifest.to_json(), encoding="utf-8")


@pytest.fixture(scope="session")
def client(server: EmbeddedServer) -> Iterator[AttentionClient]:
    """Asks the server."""
    with AttentionClient(server.address) as asking:
        yield asking
