"""How the SDK's channels are set up."""

from __future__ import annotations

import ipaddress

ATTEND_STREAM = "/attention_service.v1.AttentionService/AttendStream"
"""The call whose messages the SDK reads and writes itself, as they come and go."""

_MIB = 2**20

_OPTIONS: tuple[tuple[str, int], ...] = (
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
_ON_THIS_MACHINE = (
    # A proxy's localhost is another machine. For all other addresses gRPC follows the environment.
    ("grpc.enable_http_proxy", 0),
    # To try costs nothing here: a call's retries, 0.75 s at least, meet a server that is back.
    ("grpc.max_reconnect_backoff_ms", 400),
)


def channel_options(address: str) -> tuple[tuple[str, int], ...]:
    """Returns the options of a channel to that address."""
    if not _is_on_this_machine(address):
        return _OPTIONS
    return tuple((dict(_OPTIONS) | dict(_ON_THIS_MACHINE)).items())


def checked_address(address: str) -> str:
    """Returns the address as gRPC takes it.

    Raises:
        ValueError: Neither "host:port" nor "unix:path".
    """
    is_url = "://" in address and not address.startswith(("dns:", "unix:"))
    if is_url or ":" not in address:
        raise ValueError(f"address must be 'host:port' or 'unix:path', not {address!r}")
    return address


def _is_on_this_machine(address: str) -> bool:
    """Returns whether it is a loopback address or a unix socket."""
    scheme, _, target = address.partition(":")
    if scheme in ("unix", "unix-abstract"):
        return True
    if scheme not in ("dns", "ipv4", "ipv6"):
        target = address
    target = target.rpartition("/")[2]  # "dns:///host:port" and "dns://resolver/host:port" too
    host = target[1:].partition("]")[0] if target.startswith("[") else target.partition(":")[0]
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False
