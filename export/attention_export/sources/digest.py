"""A fingerprint of weights, by which a served model is known."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["digest"]


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Returns the SHA-256 of names, types, shapes and bits of the tensors, hexadecimal."""
    sha256 = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        header = f"{name}\n{str(tensor.dtype).removeprefix('torch.')}\n{list(tensor.shape)}\n"
        sha256.update(header.encode())
        sha256.update(_bits(tensor))
    return sha256.hexdigest()


def _bits(tensor: Tensor) -> bytes:
    flat = (
        tensor.detach().cpu().contiguous().reshape(-1)
    )  # a single number has no dimension to view
    return flat.view(torch.uint8).numpy().tobytes()
