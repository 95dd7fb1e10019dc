"""All that a server of usual limits refuses."""

from __future__ import annotations

from tests.contract.malformed import (
    analysis,
    embeddings,
    encodings,
    heads_and_outputs,
    lists,
    mask_shapes,
    masks,
    names,
    tensors,
)

ROWS = [
    *embeddings.ROWS,
    *tensors.ROWS,
    *masks.ROWS,
    *mask_shapes.ROWS,
    *lists.ROWS,
    *heads_and_outputs.ROWS,
    *names.ROWS,
    *encodings.ROWS,
    *analysis.ROWS,
]
