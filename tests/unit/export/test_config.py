"""Fields of config.json, right and wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from attention_export import SourceError
from attention_export.sources.config import Config

Read = Callable[[Config], Any]

READ: dict[str, tuple[Read, Any, Any]] = {
    "text": (lambda config: config.text("x"), "a", "a"),
    "texts": (lambda config: config.texts("x"), ["a", "b"], ("a", "b")),
    "texts, null": (lambda config: config.texts("x"), None, None),
    "size": (lambda config: config.size("x"), 3, 3),
    "size, 0": (lambda config: config.size("x", least=0), 0, 0),
    "optional size": (lambda config: config.optional_size("x", 5), 3, 3),
    "optional size, null": (lambda config: config.optional_size("x", 5), None, None),
    "number": (lambda config: config.number("x"), 2, 2.0),
    "optional number, null": (lambda config: config.optional_number("x", 5.0), None, None),
    "numbers": (lambda config: config.numbers("x", 2), [1, 2.5], [1.0, 2.5]),
    "flag": (lambda config: config.flag("x", True), False, False),
    "flag, null": (lambda config: config.flag("x", True), None, True),
    "section": (lambda config: config.section("x").size("y"), {"y": 3}, 3),
    "section, null": (lambda config: bool(config.section("x")), None, False),
}
ABSENT: dict[str, tuple[Read, Any]] = {
    "text": (lambda config: config.text("x", "a"), "a"),
    "texts": (lambda config: config.texts("x"), None),
    "size": (lambda config: config.size("x", 3), 3),
    "optional size": (lambda config: config.optional_size("x", 5), 5),
    "optional size without a default": (lambda config: config.optional_size("x"), None),
    "number": (lambda config: config.number("x", 2.5), 2.5),
    "flag": (lambda config: config.flag("x", True), True),
    "section": (lambda config: bool(config.section("x")), False),
}
WRONG: dict[str, tuple[Read, list[Any], str]] = {
    "text": (lambda config: config.text("x"), [None, 1], "x must be a string"),
    "texts": (lambda config: config.texts("x"), ["a", [1]], "x must be a list of strings"),
    "size": (
        lambda config: config.size("x"),
        [None, 0, -1, 1.0, True, "3"],
        "x must be a whole number, at least 1",
    ),
    "optional size": (lambda config: config.optional_size("x"), [0, "3"], "x must be a whole"),
    "size, too large": (lambda config: config.size("x"), [2**20 + 1], "x must be at most 1048576"),
    "length": (lambda config: config.length("x"), [2**31], "x must be at most 2147483647"),
    "layer count": (lambda config: config.layer_count("x"), [10_001], "x must be at most 10000"),
    "not known": (lambda config: config.check_known(["y"]), [0, False], "x is not known"),
    "shared": (
        lambda config: config.shared("x", "y", (None, 3)),
        [4],
        r"x \(4\) must be a multiple of y \(3\)",
    ),
    "number": (
        lambda config: config.number("x"),
        [None, 0, -1.0, True, "3", float("inf"), float("nan"), 10**400],
        "x must be a number above 0",
    ),
    "numbers": (
        lambda config: config.numbers("x", 2),
        [None, 1.0, [1.0], [1.0, 2.0, 3.0], [1.0, 0], [1.0, "2"]],
        "x must be a list of 2 numbers above 0",
    ),
    "flag": (lambda config: config.flag("x", True), [0, 1, "true"], "x must be true or false"),
    "section": (lambda config: config.section("x"), [1, [], "a"], "x must be an object"),
    "field of a section": (
        lambda config: config.section("x").section("y").size("z"),
        [{"y": {"z": 0}}],
        r"x\.y\.z must be a whole number",
    ),
}


@pytest.mark.parametrize(("read", "value", "right"), READ.values(), ids=READ.keys())
def test_field_is_read(read: Read, value: Any, right: Any) -> None:
    assert read(Config({"x": value})) == right


@pytest.mark.parametrize(("read", "right"), ABSENT.values(), ids=ABSENT.keys())
def test_default_stands_for_a_field_that_is_absent(read: Read, right: Any) -> None:
    assert read(Config({})) == right


@pytest.mark.parametrize(
    ("read", "value", "message"),
    [
        pytest.param(read, value, message, id=f"{kind}: {str(value)[:20]}")
        for kind, (read, values, message) in WRONG.items()
        for value in values
    ],
)
def test_wrong_field_is_refused_by_name(read: Read, value: Any, message: str) -> None:
    with pytest.raises(SourceError, match=rf"^config\.json: {message}"):
        read(Config({"x": value}))
