"""The strongest pattern of a head, told from its figures."""

from __future__ import annotations

from typing import get_args

import pytest

from attention_service.head_patterns import BROAD, MOSTLY, HeadPattern, Pattern, strongest_pattern
from attention_service.v1 import attention_pb2 as pb

NOTHING: dict[str, float | None] = dict.fromkeys(
    (
        "normalized_entropy",
        "self_share",
        "previous_share",
        "next_share",
        "first_share",
        "local_share",
    )
)


def test_patterns_have_the_names_that_the_contract_gives_them() -> None:
    names = {
        name.removeprefix("HEAD_PATTERN_").lower()
        for name in pb.HeadPattern.DESCRIPTOR.values_by_name
    }

    assert {"unspecified" if name == "none" else name for name in get_args(HeadPattern)} == names


@pytest.mark.parametrize(
    ("figures", "relations", "expected"),
    [
        ({}, {}, Pattern("none")),
        ({"self_share": 0.49, "local_share": 0.49}, {"nsubj": 0.49}, Pattern("none")),
        *(
            ({f"{name}_share": MOSTLY, "local_share": 0.9}, {}, Pattern(name))
            for name in ("self", "previous", "next", "first")
        ),
        ({"local_share": MOSTLY, "previous_share": 0.4}, {}, Pattern("local")),
        ({"first_share": 0.6, "self_share": 0.7}, {}, Pattern("self")),
        ({"first_share": 0.7, "self_share": 0.6}, {}, Pattern("first")),
        ({"self_share": 0.6, "first_share": 0.6}, {}, Pattern("self")),
        ({}, {"nsubj": MOSTLY, "obj": 0.7}, Pattern("relation", "obj")),
        ({}, {"nsubj": 0.7, "obj": 0.7}, Pattern("relation", "nsubj")),
        ({"local_share": 0.9}, {"nsubj": MOSTLY}, Pattern("relation", "nsubj")),
        ({"previous_share": 0.6}, {"amod": 0.61}, Pattern("relation", "amod")),
        ({"previous_share": 0.6}, {"amod": 0.6}, Pattern("previous")),
        ({"normalized_entropy": BROAD, "local_share": 1.0}, {"amod": 0.6}, Pattern("global")),
        ({"normalized_entropy": 0.89, "local_share": 0.5}, {}, Pattern("local")),
        ({"normalized_entropy": 0.89}, {}, Pattern("none")),
    ],
)
def test_strongest_pattern(
    figures: dict[str, float | None], relations: dict[str, float], expected: Pattern
) -> None:
    assert strongest_pattern(NOTHING | figures, relations) == expected
