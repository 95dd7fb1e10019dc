"""What stands around attention: a model's projections and position bias, how heads are joined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from attention_server.domain.masks import Block
from attention_server.domain.request import AttendRequest, Float32Array, Int32Array
from attention_server.engine.model_unusable import check_shape
from attention_server.engine.providers import CPU, Runtime
from attention_server.engine.session import DeviceTensor, Session
from attention_service.manifest import POSITION_BIAS_FILE, STAGE_FILES

__all__ = ["Heads", "Layer", "ProjectingLayer", "SdpaLayer"]

_PROJECT_QUERY, _PROJECT_KEY_VALUE, _COMBINE = STAGE_FILES


class Heads(NamedTuple):
    """Query, key and value of every head, on the device."""

    query: DeviceTensor  # [batch, heads, query_len, head_dim]
    key: DeviceTensor  # [batch, kv_heads, kv_len, head_dim]
    value: DeviceTensor  # [batch, kv_heads, kv_len, value_head_dim]


class Layer(Protocol):
    """One attention layer but for attention itself."""

    @property
    def biases_by_position(self) -> bool:
        """Whether positions add to the scores."""

    @property
    def joins_in_place(self) -> bool:
        """Whether heads that lie side by side, query by query, are the output as they lie."""

    def project(self, request: AttendRequest) -> Heads:
        """Returns the heads of the request's query, key and value."""

    def position_bias(self, request: AttendRequest, block: Block) -> Float32Array | None:
        """Returns what positions add to a block's scores [batch or 1, heads, queries, keys].

        None for nothing.

        Raises:
            ModelUnusable: A bias of other dimensions.
        """

    def combine(self, head_outputs: DeviceTensor) -> Float32Array:
        """Returns heads [batch, heads, query_len, value_head_dim] joined and projected."""


class ProjectingLayer:
    """A layer with learned matrices W_Q, W_K, W_V and W_O, as exported in stages.

    Args:
        runtime: ONNX Runtime.
        files: The content of each stage by its file name.
        rotates: Whether the projections take positions.
    """

    joins_in_place = False

    def __init__(self, runtime: Runtime, files: Mapping[str, bytes], *, rotates: bool) -> None:
        self._runtime = runtime
        self._rotates = rotates
        self._project_query = Session(runtime, files[_PROJECT_QUERY])
        self._project_key_value = Session(runtime, files[_PROJECT_KEY_VALUE])
        self._combine = Session(runtime, files[_COMBINE])
        bias = files.get(POSITION_BIAS_FILE)
        self._position_bias = None if bias is None else Session(runtime, bias)

    @property
    def biases_by_position(self) -> bool:
        """Whether positions add to the scores."""
        return self._position_bias is not None

    def project(self, request: AttendRequest) -> Heads:
        """Returns the heads of the request's query, key and value."""
        query = self._to_device(request.query)
        key = query if request.key is request.query else self._to_device(request.key)
        value = key if request.value is request.key else self._to_device(request.value)
        (query_heads,) = self._project_query.run(
            ["query_heads"],
            {"query": query, **self._rotation("query_positions", request.query_positions, query)},
        )
        key_heads, value_heads = self._project_key_value.run(
            ["key_heads", "value_heads"],
            {
                "key": key,
                "value": value,
                **self._rotation("key_positions", request.key_positions, key),
            },
        )
        return Heads(query_heads, key_heads, value_heads)

    def position_bias(self, request: AttendRequest, block: Block) -> Float32Array | None:
        """Returns what the distances of a block add to its scores; None for nothing."""
        if self._position_bias is None:
            return None
        queries, keys = request.query_positions, request.key_positions
        assert queries is not None, "a request to such a model has positions"
        assert keys is not None, "a request to such a model has positions"
        # Queries before the first key see nothing, so any bias will do for them; and of numbers
        # that are not negative no difference leaves 32 bits.
        queries = np.maximum(_of_batch(queries, block)[:, block.queries], 0)
        queries, keys = _as_few(queries, _of_batch(keys, block)[:, block.keys])
        positions = {
            "query_positions": queries,
            "key_positions": keys,
            "heads": np.arange(block.heads.start, block.heads.stop, dtype=np.int64),
        }
        inputs = {name: self._to_device(array) for name, array in positions.items()}
        (bias,) = self._position_bias.run(["position_bias"], inputs)
        # One of a single head, say, would be added to all of them without a word.
        expected = (len(queries), len(positions["heads"]), queries.shape[1], keys.shape[1])
        check_shape("position_bias", bias.shape, expected)
        return bias.to_host()

    def combine(self, head_outputs: DeviceTensor) -> Float32Array:
        """Returns the output [batch, query_len, output_dim]."""
        (output,) = self._combine.run(["output"], {"head_outputs": head_outputs})
        return output.to_host()

    def _rotation(
        self, name: str, positions: Int32Array | None, rotated: DeviceTensor
    ) -> dict[str, DeviceTensor]:
        """Returns the positions that a projection takes, of every sequence; none for none."""
        if not self._rotates:
            return {}
        assert positions is not None, "a request to such a model has positions"
        return {name: self._to_device(np.broadcast_to(positions, rotated.shape[:2]))}

    def _to_device(self, array: NDArray[Any]) -> DeviceTensor:
        return DeviceTensor.from_host(self._runtime, array)


class SdpaLayer:
    """Scaled dot-product attention alone: heads are cut from the tensors and joined again."""

    biases_by_position = False
    joins_in_place = True

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def project(self, request: AttendRequest) -> Heads:
        """Returns the heads of the request's query, key and value; on the CPU where they lie."""
        settings = request.settings
        query = self._split(request.query, settings.num_heads)
        key, value = query, query
        if request.key is not request.query or settings.num_kv_heads != settings.num_heads:
            key = value = self._split(request.key, settings.num_kv_heads)
        if request.value is not request.key:
            value = self._split(request.value, settings.num_kv_heads)
        return Heads(query, key, value)

    def position_bias(self, request: AttendRequest, block: Block) -> None:
        """Returns None: nothing is added."""

    def combine(self, head_outputs: DeviceTensor) -> Float32Array:
        """Returns the joined heads [batch, query_len, heads * value_head_dim]."""
        heads = head_outputs.to_host()
        batch, _, length, _ = heads.shape
        joined: Float32Array = heads.transpose(0, 2, 1, 3).reshape(batch, length, -1)
        return joined

    def _split(self, joined: Float32Array, heads: int) -> DeviceTensor:
        batch, length, width = joined.shape
        split = joined.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)
        if self._runtime.provider == CPU:
            return DeviceTensor(split)
        return DeviceTensor.from_host(self._runtime, split)


def _of_batch(positions: Int32Array, block: Block) -> Int32Array:
    """Returns the positions of a block's sequences; one row where it is that of all."""
    return positions[block.batch] if len(positions) > 1 else positions


def _as_few(queries: Int32Array, keys: Int32Array) -> tuple[Int32Array, Int32Array]:
    """Returns positions with as many rows each as the sequences differ in: one, or one each."""
    if (queries == queries[:1]).all() and (keys == keys[:1]).all():
        return queries[:1], keys[:1]
    batch = max(len(queries), len(keys))
    return (
        np.broadcast_to(queries, (batch, queries.shape[1])),
        np.broadcast_to(keys, (batch, keys.shape[1])),
    )
