"""A module as it is exported: float32, on the CPU, in evaluation mode."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from attention_export.errors import ExportError, SourceError

__all__ = ["float32_copy"]

Module = TypeVar("Module", bound=nn.Module)


def float32_copy(module: Module) -> Module:
    """Returns a float32 copy on the CPU, in evaluation mode.

    Raises:
        SourceError: A module that cannot be copied.
        ExportError: Weights that are not finite.
    """
    try:
        copied = copy.deepcopy(module)
    except RuntimeError as error:
        raise SourceError(
            "the module cannot be copied, since it holds a tensor that is the result of a "
            "computation, weights kept from a call perhaps: detach it or set it to None"
        ) from error
    ready = copied.to("cpu", torch.float32).eval()
    for name, parameter in ready.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise ExportError(f"{name} is not finite in float32")
    return ready
