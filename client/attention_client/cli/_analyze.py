"""``attention analyze``: what each head attends to, a line a head."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from attention_client._blocking import AttentionClient
from attention_client.cli._attention import attention
from attention_client.cli._pairs import load_pairs
from attention_client.cli._table import UNTOLD, table
from attention_service.head_analysis import HeadAnalysis

_COLUMNS = {
    "ROWS": "rows",
    "ENTROPY": "entropy",
    "NORMALIZED": "normalized_entropy",
    "MAX": "max_weight",
    "DISTANCE": "mean_distance",
    "SELF": "self_share",
    "PREVIOUS": "previous_share",
    "NEXT": "next_share",
    "FIRST": "first_share",
    "LOCAL": "local_share",
}
"""Figures of a head by the column that they stand in."""


def analyze(client: AttentionClient, args: Namespace) -> Iterator[str]:
    """Yields a table of what each head attends to, or all that is known of it as JSON."""
    relations = {name: load_pairs(path) for name, path in args.relation.items()}
    result = client.analyze_heads(**attention(args), relations=relations)
    if args.json:
        yield json.dumps(asdict(result), indent=2, ensure_ascii=False)
        return
    names = list(relations)
    rows = [_row(head, names) for head in result.heads]
    yield from table(("HEAD", "PATTERN", *_COLUMNS, *names), rows)


def _row(head: HeadAnalysis, relations: Sequence[str]) -> tuple[object, ...]:
    figures = [getattr(head, name) for name in _COLUMNS.values()]
    figures += [head.relation_shares.get(name) for name in relations]
    return (
        head.head,
        f"{head.pattern} {head.relation}".rstrip(),
        *(UNTOLD if figure is None else figure for figure in figures),
    )
