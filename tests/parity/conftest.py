"""A real server with exported layers, the SDK, and the same layers as the oracle knows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from attention_client import AttentionClient
from attention_export import MultiHeadAttention, export_layer, fresh_layer
from attention_server import EmbeddedServer
from attention_service.reference import Projections
from tests.parity.cases import LAYERS


@pytest.fixture(scope="session")
def modules() -> Mapping[str, MultiHeadAttention]:
    """The layers as PyTorch modules, by the name of their model."""
    modules = {}
    for seed, (name, dims) in enumerate(LAYERS.items()):
        sizes = asdict(dims)
        modules[name] = fresh_layer(
            sizes["query_dim"],
            sizes["heads"],
            seed=seed,
            num_kv_heads=sizes["kv_heads"],
            **{
                size: sizes[size]
                for size in ("key_dim", "value_dim", "output_dim", "head_dim", "value_head_dim")
            },
            bias=sizes["bias"],
        ).module
    return modules


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
    for name, module in modules.items():
        export_layer(module, models=directory, name=name, causal=LAYERS[name].causal)
    with EmbeddedServer(directory, demo=False) as running:
        yield running


@pytest.fixture(scope="session")
def client(server: EmbeddedServer) -> Iterator[AttentionClient]:
    """Asks the server."""
    with AttentionClient(server.address) as asking:
        yield asking
