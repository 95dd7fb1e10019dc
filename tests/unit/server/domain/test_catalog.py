"""Models by name and version."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attention_server.domain.catalog import Catalog
from attention_server.domain.errors import RequestError
from attention_server.domain.model import SDPA, ModelKey
from attention_service.reasons import Reason


def _catalog(*keys: str) -> Catalog:
    return Catalog(replace(SDPA, key=ModelKey(*key.split("/"))) for key in keys)


def test_models_come_by_name_and_the_newest_version_first() -> None:
    catalog = _catalog("b/1", "a/2", "a/10", "a/1")

    assert ["/".join(model.key) for model in catalog] == ["a/10", "a/2", "a/1", "b/1"]


@pytest.mark.parametrize(
    ("version", "found"), [("", "10"), ("2", "2"), ("10", "10")], ids=["newest", "old", "new"]
)
def test_a_model_is_found_by_its_version_or_is_the_newest(version: str, found: str) -> None:
    assert _catalog("a/2", "a/10").find("a", version).key == ModelKey("a", found)


@pytest.mark.parametrize(
    ("name", "version", "reason"),
    [
        ("b", "", Reason.MODEL_NOT_FOUND),
        ("b", "1", Reason.MODEL_NOT_FOUND),
        ("a", "3", Reason.VERSION_NOT_FOUND),
        ("", "", Reason.INVALID_NAME),
        ("../a", "", Reason.INVALID_NAME),
        ("a" * 65, "", Reason.INVALID_NAME),
        ("a", "0", Reason.INVALID_NAME),
        ("a", "01", Reason.INVALID_NAME),
        ("a", "newest", Reason.INVALID_NAME),
    ],
)
def test_what_is_not_there_is_said_by_its_reason(name: str, version: str, reason: Reason) -> None:
    with pytest.raises(RequestError) as refused:
        _catalog("a/2", "a/10").find(name, version)

    assert refused.value.reason is reason


def test_an_unknown_version_is_told_the_newest() -> None:
    with pytest.raises(RequestError, match="the newest is 10"):
        _catalog("a/2", "a/10").find("a", "3")
