"""What all tests share: how hypothesis draws, a server with a model, both clients alike."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from attention_client import AsyncAttentionClient, AttentionClient
from attention_service.manifest import FILE_NAME
from tests import seed

# They need a Docker engine: `make test-docker` names them.
collect_ignore = ["docker"]

# A first example may load models, so its time says nothing about the others.
settings.register_profile("developer", deadline=None, print_blob=True)
# In CI the same examples each time: a new draw may find what another change broke.
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "developer")


def pytest_addoption(parser: pytest.Parser) -> None:
    seed.add_options(parser)


def pytest_report_header(config: pytest.Config) -> str:
    return seed.headline(config)


@pytest.fixture(scope="session")
def fuzz_seed(pytestconfig: pytest.Config) -> int:
    """Seed of what is drawn by the thousand; pytest's header tells it."""
    return seed.seed_of(pytestconfig)


@pytest.fixture(scope="session")
def fuzz_times(pytestconfig: pytest.Config) -> int:
    """How many times the usual number to draw."""
    times: int = pytestconfig.getoption("--fuzz-times")
    return times


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one model, "layer", whose widths all differ, in versions 2 and 10.

    query 12, key 8, value 6, output 10 wide; 4 heads of 4, values of 3, 2 key and value heads.
    Version 2 is not causal, version 10 is causal from the lower right; their weights are the same.
    """
    from attention_export import export, fresh_layer

    directory = tmp_path_factory.mktemp("models")
    layer = fresh_layer(
        12,
        4,
        seed=1,
        num_kv_heads=2,
        key_dim=8,
        value_dim=6,
        output_dim=10,
        head_dim=4,
        value_head_dim=3,
    )
    exported = export(
        layer.module, models=directory, name="layer", version="2", source=layer.source
    )
    newer = directory / "layer" / "10"
    shutil.copytree(exported.directory, newer)
    manifest = replace(
        exported.manifest,
        version="10",
        defaults=replace(exported.manifest.defaults, causal="lower_right"),
    )
    (newer / FILE_NAME).write_text(manifest.to_json(), encoding="utf-8")
    return directory


@pytest.fixture(scope="session")
def address(models: Path) -> Iterator[str]:
    """Where a server listens that holds ``models`` and has settings of its own for nothing."""
    from attention_server import EmbeddedServer

    with EmbeddedServer(models, demo=False) as server:
        yield server.address


@pytest.fixture(params=["blocking", "awaiting"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Asks with either client: ``ask(address, lambda client: client.list_models())``."""

    def blocking(address: str, question: Callable[[Any], Any], **settings: Any) -> Any:
        with AttentionClient(address, **settings) as client:
            return question(client)

    def awaiting(address: str, question: Callable[[Any], Any], **settings: Any) -> Any:
        async def wait() -> Any:
            async with AsyncAttentionClient(address, **settings) as client:
                return await question(client)

        return asyncio.run(wait())

    return blocking if request.param == "blocking" else awaiting
