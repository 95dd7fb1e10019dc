"""What a server says of itself and of its models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from attention_client._names import OUTPUT_NAMES, POSITION_USE_NAMES
from attention_client._results import AttentionSettings
from attention_service.v1 import attention_pb2 as pb

__all__ = ["Limits", "Model", "ServerInfo"]


@dataclass(frozen=True)
class Model:
    """One attention layer that a server holds."""

    name: str
    """Name, as ``attend`` takes it."""
    version: str
    """Version, a positive integer in decimal."""
    query_dim: int
    """Last dimension of query; 0 where the request says, as all sizes below."""
    key_dim: int
    """Last dimension of key."""
    value_dim: int
    """Last dimension of value."""
    output_dim: int
    """Last dimension of output."""
    head_dim: int
    """Size of a query and key head; 0 too where a model that comes whole keeps it to itself."""
    value_head_dim: int
    """Size of a value head; 0 as ``head_dim``."""
    defaults: AttentionSettings
    """What is computed where a request says nothing."""
    positions: str
    """How positions are used: "none", "rotary" or "relative_bias"."""
    outputs: tuple[str, ...]
    """What the model can give: "output", "weights", "scores", "projections", "head_outputs",
    "log_sum_exp"."""
    source: Mapping[str, str] = field(hash=False)
    """Where the weights come from: family, layer and digest, as the exporter wrote them."""

    @property
    def whole(self) -> bool:
        """Whether it comes whole: what is inside, scale and softcap too, it keeps to itself.

        It takes boolean masks alone, the same for all heads.
        """
        return self.query_dim > 0 and self.head_dim == 0

    @classmethod
    def from_message(cls, message: pb.Model) -> Model:
        """Returns what the contract's message says."""
        return cls(
            name=message.name,
            version=message.version,
            query_dim=message.query_dim,
            key_dim=message.key_dim,
            value_dim=message.value_dim,
            output_dim=message.output_dim,
            head_dim=message.head_dim,
            value_head_dim=message.value_head_dim,
            defaults=AttentionSettings.from_message(message.defaults),
            positions=POSITION_USE_NAMES.get(message.positions, f"unknown ({message.positions})"),
            outputs=tuple(
                OUTPUT_NAMES[output]
                for output in message.outputs
                if output in OUTPUT_NAMES  # a newer server may give what this SDK cannot ask for
            ),
            source=dict(message.source),
        )


@dataclass(frozen=True)
class Limits:
    """What a request may ask for, and what a server keeps; 0 where it does not say."""

    message_bytes: int
    """Largest message, bytes, either way."""
    batch: int
    """Largest batch."""
    length: int
    """Longest query and key, and longest list of heads or queries."""
    work: int
    """Most rows times keys of one request: batch * heads * query_len * kv_len."""
    stream_bytes: int
    """Largest request or answer on a stream, all chunks together, and largest tensor over all
    heads of any request, in float32, bytes."""
    waiting_requests: int
    """Most requests that are read or wait at a time; one more is ``ServerBusyError``."""
    waiting_bytes: int
    """Most bytes of requests and answers in memory, each until its call is over; one that does not
    fit is ``ServerBusyError`` too."""
    drain_seconds: float
    """Time that what is in flight has to finish once the server is told to stop."""


@dataclass(frozen=True)
class ServerInfo:
    """What a server says of itself."""

    version: str
    """Version of the server."""
    providers: tuple[str, ...]
    """ONNX Runtime execution providers in use, in order of preference."""
    limits: Limits
    """What a request may ask for, and what the server keeps."""

    @classmethod
    def from_message(cls, message: pb.GetServerInfoResponse) -> ServerInfo:
        """Returns what the contract's message says."""
        limits = message.limits
        return cls(
            version=message.version,
            providers=tuple(message.providers),
            limits=Limits(
                message_bytes=limits.message_bytes,
                batch=limits.batch,
                length=limits.length,
                work=limits.work,
                stream_bytes=limits.stream_bytes,
                waiting_requests=limits.waiting_requests,
                waiting_bytes=limits.waiting_bytes,
                drain_seconds=limits.drain.ToTimedelta().total_seconds(),
            ),
        )
