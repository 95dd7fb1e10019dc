"""What the page is told: models, a picture's data, arrays."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from attention_client._models import Model
from attention_client._results import AttendResult
from attention_client.explore.errors import ExploreError
from attention_client.explore.question import Question
from attention_client.viz.view import view

__all__ = ["archive", "described", "shown"]


def described(model: Model) -> dict[str, Any]:
    """Returns what the page says of a model."""
    defaults = model.defaults
    return {
        "name": model.name,
        "version": model.version,
        "width": model.query_dim,
        "key_width": model.key_dim,
        "heads": defaults.num_heads,
        "causal": defaults.causal,
        "window": defaults.window,
        "layer": model.source.get("layer", ""),
        "family": model.source.get("family", ""),
    }


def shown(asked: Question, result: AttendResult) -> dict[str, Any]:
    """Returns the picture's data, and what stands beside it.

    Raises:
        ExploreError: Nothing that could be drawn.
    """
    try:
        drawn = view(
            result,
            tokens=asked.tokens,
            key_tokens=asked.key_tokens,
            batch=asked.sequence,
            steps_for=asked.steps_for,
        )
    except ValueError as error:  # a sequence that is padding alone
        raise ExploreError(str(error)) from error
    execution = result.execution
    return {
        "view": drawn,
        "tokens": drawn["queries"]["labels"],
        "query": asked.query,
        "steps_for": asked.steps_for,
        "heads": asked.heads,
        "num_heads": asked.num_heads,
        "fully_masked_rows": result.fully_masked_rows,
        "compute_ms": execution.compute_us / 1e3,
        "provider": execution.provider,
    }


def archive(asked: Question, result: AttendResult) -> bytes:
    """Returns an .npz file: what was sent, what came back, and the tokens; nothing is pickled."""
    arrays = {
        **asked.arrays,
        **result.arrays(),
        "tokens": np.array(asked.tokens),
        "key_tokens": np.array(asked.key_tokens),
    }
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # allow_pickle is none of them
    return file.getvalue()
