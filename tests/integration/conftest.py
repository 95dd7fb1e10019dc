"""A gate before the engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.gate import Gate


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Stops requests before the engine of any server that a test starts."""
    gate = Gate(monkeypatch)
    yield gate
    gate.open()  # a test that failed must not keep its server from ending
