"""How a person's own attention module is called, and what it may return."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attention_export.errors import SourceError
from attention_export.sources.torch_module import ARGUMENTS

__all__ = ["Inputs", "Results", "call", "check_forward", "results_of"]

Inputs = Mapping[str, NDArray[Any]]
"""query, key, value and attend_mask, by these names."""
Results = tuple[NDArray[np.float64], ...]
"""Output, and weights where there are any."""


def check_forward(module: nn.Module) -> None:
    """Checks that forward takes query, key, value and attend_mask, and needs nothing else.

    Raises:
        SourceError: It does not.
    """
    signature = inspect.signature(module.forward)
    try:
        signature.bind(**dict.fromkeys(ARGUMENTS))
    except TypeError:
        raise SourceError(
            f"the module's forward must take {', '.join(ARGUMENTS)} by these names, and need "
            f"nothing else; it takes {', '.join(signature.parameters)}"
        ) from None


def call(module: nn.Module, inputs: Inputs, dtype: torch.dtype) -> Results:
    """Returns what the module gives, computed in ``dtype``.

    Raises:
        SourceError: It raised an error, or returned something else.
    """
    tensors = {
        # Copies: the module may write into them.
        name: torch.tensor(array, dtype=torch.bool if array.dtype == np.bool_ else dtype)
        for name, array in inputs.items()
    }
    try:
        with torch.no_grad():
            returned = module(**tensors)
    except Exception as error:  # whatever a person's code raises
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
        first_line = str(error).strip().partition("\n")[0]
        raise SourceError(
            f"the module's forward fails with {shapes}: {type(error).__name__}: {first_line}"
        ) from error
    return tuple(tensor.double().numpy() for tensor in results_of(returned))


def results_of(returned: object) -> tuple[Tensor, ...]:
    """Returns output, and weights where there are any, of what forward returned.

    Raises:
        SourceError: It returned something else.
    """
    results = returned if isinstance(returned, tuple | list) else (returned,)
    if len(results) == 2 and results[1] is None:  # torch.nn.MultiheadAttention's need_weights=False
        results = results[:1]
    tensors = tuple(x for x in results if isinstance(x, Tensor) and x.is_floating_point())
    if not 1 <= len(tensors) == len(results) <= 2:
        raise SourceError(
            "the module's forward must return output or (output, weights), tensors of "
            f"floating-point numbers; it returned {_kind(returned)}"
        )
    return tensors


def _kind(returned: object) -> str:
    if isinstance(returned, tuple | list):
        return f"({', '.join(map(_kind, returned))})"
    if isinstance(returned, Tensor):
        return f"a tensor of {str(returned.dtype).removeprefix('torch.')}"
    return type(returned).__name__
