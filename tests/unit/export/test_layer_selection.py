from __future__ import annotations

import argparse

import pytest

from attention_export import SourceError
from attention_export.cli.layer_selection import LayerSelection

ONE_STACK = ["0", "1", "2", "3", "4", "5"]
TWO_STACKS = [
    *("encoder.0", "encoder.1", "encoder.2"),
    *("decoder.0.self", "decoder.0.cross", "decoder.1.self", "decoder.1.cross"),
]


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("all", ["0", "1", "2", "3", "4", "5"]),
        ("3", ["3"]),
        ("0,2,5", ["0", "2", "5"]),
        ("5,0-2,1", ["0", "1", "2", "5"]),
    ],
)
def test_layers_of_one_stack_are_selected_by_number(text: str, layers: list[str]) -> None:
    assert LayerSelection(text).of(ONE_STACK) == layers


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("all", TWO_STACKS),
        ("encoder", ["encoder.0", "encoder.1", "encoder.2"]),
        ("encoder.0-1", ["encoder.0", "encoder.1"]),
        ("decoder.1", ["decoder.1.self", "decoder.1.cross"]),
        ("decoder.0.self", ["decoder.0.self"]),
        ("decoder.0-1.cross", ["decoder.0.cross", "decoder.1.cross"]),
        ("decoder.all.self", ["decoder.0.self", "decoder.1.self"]),
        ("decoder.0.cross,encoder.2", ["encoder.2", "decoder.0.cross"]),
        (" encoder.0, decoder.0.self ", ["encoder.0", "decoder.0.self"]),
        ("all.1", ["encoder.1", "decoder.1.self", "decoder.1.cross"]),
    ],
)
def test_layers_of_several_stacks_are_selected_by_name(text: str, layers: list[str]) -> None:
    assert LayerSelection(text).of(TWO_STACKS) == layers


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        ("encoder.1-9", "encoder.3"),
        ("0", "0"),
        ("encoder,decoder.0.other", "decoder.0.other"),
        ("encoder.0.self", "encoder.0.self"),
        ("enc", "enc"),
    ],
)
def test_layer_that_there_is_not_is_refused_with_those_that_there_are(
    text: str, absent: str
) -> None:
    with pytest.raises(SourceError) as refused:
        LayerSelection(text).of(TWO_STACKS)
    assert str(refused.value) == (
        f"there is no layer {absent}; the model has layers encoder.0-2, decoder.0-1.self, "
        "decoder.0-1.cross"
    )


@pytest.mark.parametrize("text", ["", "3-1", "0,,1", "encoder.", ".0", "a b", "-1", "0.5-", "Ä"])
def test_text_that_is_no_selection_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no selection of layers"):
        LayerSelection(text)
