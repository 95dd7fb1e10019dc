"""What a head mostly does, told from its figures: ``HeadPattern`` of the contract.

A head that spreads its weight is told by its entropy, any other by where half of its weight goes.
Half is where Clark et al. 2019 ("What Does BERT Look At?", section 3.1) draw the line for heads
that attend to the token before or after; Xiao et al. 2023 ("Efficient Streaming Language Models
with Attention Sinks") show the first token taking as much. Voita et al. 2019 ("Analyzing Multi-Head
Self-Attention", section 5) tell positional heads, of a fixed distance, from syntactic ones, which
follow a relation more than any fixed distance does: so does the order below.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

__all__ = ["BROAD", "MOSTLY", "HeadPattern", "Pattern", "strongest_pattern"]

HeadPattern: TypeAlias = Literal[
    "none", "self", "previous", "next", "first", "local", "global", "relation"
]
"""Names of the contract's ``HeadPattern``; "none" is its UNSPECIFIED."""

MOSTLY: Final = 0.5
"""Share of the weight that makes a pattern."""

BROAD: Final = 0.9
"""Normalized entropy from which a head looks at everything alike.

Own choice for what Clark et al. call very broad attention. A row of four keys or more that gives
one of them half of its weight stays below it.
"""

_AT_A_KEY: Final[tuple[HeadPattern, ...]] = ("self", "previous", "next", "first")


class Pattern(NamedTuple):
    """A head's strongest pattern."""

    name: HeadPattern
    relation: str = ""
    """Name of the relation, with "relation"."""


def strongest_pattern(
    figures: Mapping[str, float | None],
    relation_shares: Mapping[str, float],
) -> Pattern:
    """Returns the pattern of a head with these figures.

    The first that holds: "global", from ``BROAD`` on; of the places (self, previous, next, first)
    and the relations the one with the largest share, from ``MOSTLY`` on, of equals the place;
    "local", from ``MOSTLY`` on; "none".

    Args:
        figures: ``normalized_entropy``, ``self_share`` and the other shares, by name; None where
            the head has none.
        relation_shares: By the name of the relation.
    """
    normalized_entropy = figures["normalized_entropy"]
    if normalized_entropy is not None and normalized_entropy >= BROAD:
        return Pattern("global")
    strongest, largest = Pattern("none"), 0.0
    candidates = [(Pattern(name), figures[f"{name}_share"]) for name in _AT_A_KEY]
    candidates += [(Pattern("relation", name), relation_shares[name]) for name in relation_shares]
    for pattern, share in candidates:
        if share is not None and share >= MOSTLY and share > largest:
            strongest, largest = pattern, share
    if largest:
        return strongest
    local = figures["local_share"]
    return Pattern("local" if local is not None and local >= MOSTLY else "none")
