"""How the SDK's channels are set up."""

from __future__ import annotations

_MIB = 2**20

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # The server's limit decides what is too large, and says so before it computes.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A dead connection is found while a call waits; a server permits a ping every 10 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    # Large tensors flow without waiting for window updates: a quarter off a 400 kB call.
    ("grpc.http2.lookahead_bytes", 16 * _MIB),
    ("grpc.http2.max_frame_size", 16 * _MIB - 1),
    # A retry must meet a new attempt to connect, not the memory of the last one.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


def checked_address(address: str) -> str:
    """Returns the address as gRPC takes it.

    Raises:
        ValueError: Neither "host:port" nor "unix:path".
    """
    is_url = "://" in address and not address.startswith(("dns:", "unix:"))
    if is_url or ":" not in address:
        raise ValueError(f"address must be 'host:port' or 'unix:path', not {address!r}")
    return address
