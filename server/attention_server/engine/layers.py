"""What stands around attention: the projections of a model, and how its heads are joined."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from attention_server.domain.request import AttendRequest, Float32Array
from attention_server.engine.providers import Runtime
from attention_server.engine.session import DeviceTensor, Session
from attention_service.manifest import STAGE_FILES

__all__ = ["Heads", "Layer", "ProjectingLayer", "SdpaLayer"]

_PROJECT_QUERY, _PROJECT_KEY_VALUE, _COMBINE = STAGE_FILES


class Heads(NamedTuple):
    """Query, key and value of every head, on the device."""

    query: DeviceTensor  # [batch, heads, query_len, head_dim]
    key: DeviceTensor  # [batch, kv_heads, kv_len, head_dim]
    value: DeviceTensor  # [batch, kv_heads, kv_len, value_head_dim]


class Layer(Protocol):
    """One attention layer but for attention itself."""

    def project(self, request: AttendRequest) -> Heads:
        """Returns the heads of the request's query, key and value."""

    def combine(self, head_outputs: DeviceTensor) -> Float32Array:
        """Returns heads [batch, heads, query_len, value_head_dim] joined and projected."""


class ProjectingLayer:
    """A layer with learned matrices W_Q, W_K, W_V and W_O, as exported in stages."""

    def __init__(self, runtime: Runtime, files: Mapping[str, bytes]) -> None:
        self._runtime = runtime
        self._project_query = Session(runtime, files[_PROJECT_QUERY])
        self._project_key_value = Session(runtime, files[_PROJECT_KEY_VALUE])
        self._combine = Session(runtime, files[_COMBINE])

    def project(self, request: AttendRequest) -> Heads:
        """Returns the heads of the request's query, key and value."""
        query = self._to_device(request.query)
        key = query if request.key is request.query else self._to_device(request.key)
        value = key if request.value is request.key else self._to_device(request.value)
        (query_heads,) = self._project_query.run(["query_heads"], {"query": query})
        key_heads, value_heads = self._project_key_value.run(
            ["key_heads", "value_heads"], {"key": key, "value": value}
        )
        return Heads(query_heads, key_heads, value_heads)

    def combine(self, head_outputs: DeviceTensor) -> Float32Array:
        """Returns the output [batch, query_len, output_dim]."""
        (output,) = self._combine.run(["output"], {"head_outputs": head_outputs})
        return output.to_host()

    def _to_device(self, array: Float32Array) -> DeviceTensor:
        return DeviceTensor.from_host(self._runtime, array)


class SdpaLayer:
    """Scaled dot-product attention alone: heads are cut from the tensors and joined again."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def project(self, request: AttendRequest) -> Heads:
        """Returns the heads of the request's query, key and value."""
        settings = request.settings
        query = self._split(request.query, settings.num_heads)
        key, value = query, query
        if request.key is not request.query or settings.num_kv_heads != settings.num_heads:
            key = value = self._split(request.key, settings.num_kv_heads)
        if request.value is not request.key:
            value = self._split(request.value, settings.num_kv_heads)
        return Heads(query, key, value)

    def combine(self, head_outputs: DeviceTensor) -> Float32Array:
        """Returns the joined heads [batch, query_len, heads * value_head_dim]."""
        heads = head_outputs.to_host()
        batch, _, length, _ = heads.shape
        joined: Float32Array = heads.transpose(0, 2, 1, 3).reshape(batch, length, -1)
        return joined

    def _split(self, joined: Float32Array, heads: int) -> DeviceTensor:
        batch, length, width = joined.shape
        split = joined.reshape(batch, length, heads, width // heads).transpose(0, 2, 1, 3)
        return DeviceTensor.from_host(self._runtime, split)
