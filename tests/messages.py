"""Messages of the contract, right ones, to be sent as they are or with something wrong in them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from attention_service import tensor
from attention_service.v1 import attention_pb2 as pb

BATCH, QUERY_LEN, KV_LEN, HEADS = 2, 3, 4, 2
"""Sizes of ``sdpa`` and ``layer`` requests; the heads are those of ``sdpa``."""


def floats(*shape: int, fill: float | None = None, dtype: Any = np.float32) -> pb.Tensor:
    """Returns a tensor of one number or, where there is none, of numbers around 0."""
    count = int(np.prod(shape))
    values = np.sin(np.arange(1, count + 1)) if fill is None else np.full(count, fill)
    with np.errstate(over="ignore"):
        return tensor.encode(values.astype(dtype).reshape(shape))


def array(values: ArrayLike, dtype: Any = np.float32) -> pb.Tensor:
    """Returns these numbers as a tensor."""
    return tensor.encode(np.asarray(values, dtype))


def booleans(*shape: int) -> pb.Tensor:
    """Returns a mask that allows everything."""
    return tensor.encode(np.ones(shape, np.bool_))


def raw(data_type: int, shape: tuple[int, ...], data: bytes) -> pb.Tensor:
    """Returns a tensor of these parts, whether they fit each other or not."""
    return pb.Tensor(data_type=data_type, shape=shape, data=data)  # type: ignore[arg-type]


def sdpa(**fields: Any) -> pb.AttendRequest:
    """Returns a good request to the built-in model, with other fields than usual; None: absent."""
    return _request(
        {
            "model": "sdpa",
            "query": floats(BATCH, QUERY_LEN, 8),
            "key": floats(BATCH, KV_LEN, 8),
            "value": floats(BATCH, KV_LEN, 6),
            "heads": pb.HeadConfig(num_heads=HEADS),
        },
        fields,
    )


def layer(**fields: Any) -> pb.AttendRequest:
    """Returns a good request to the fixture's model "layer", with other fields than usual."""
    return _request(
        {
            "model": "layer",
            "query": floats(BATCH, QUERY_LEN, 12),
            "key": floats(BATCH, KV_LEN, 8),
            "value": floats(BATCH, KV_LEN, 6),
        },
        fields,
    )


def masked(**fields: Any) -> pb.AttendRequest:
    """Returns a request to the built-in model with this mask."""
    return sdpa(mask=pb.Mask(**fields))


def _request(usual: dict[str, Any], fields: dict[str, Any]) -> pb.AttendRequest:
    given = {name: value for name, value in {**usual, **fields}.items() if value is not None}
    return pb.AttendRequest(**given)
