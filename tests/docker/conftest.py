"""The container, built and started once, taken down whatever happens."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from attention_client import AttentionClient
from tests.docker.composition import Composition


@pytest.fixture(scope="session")
def brought_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composition]:
    models = tmp_path_factory.mktemp("models")
    models.chmod(0o755)  # the server is another user
    composition = Composition(models)
    try:
        composition.up()
        yield composition
    finally:
        composition.down()


@pytest.fixture
def composition(brought_up: Composition) -> Composition:
    """A composition whose server is healthy, though a test before may have stopped it."""
    brought_up.ensure_up()
    return brought_up


@pytest.fixture
def client(composition: Composition) -> Iterator[AttentionClient]:
    with AttentionClient(composition.address) as client:
        yield client
