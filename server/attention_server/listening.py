"""Whether an address can be listened on, and by which address clients here reach it."""

from __future__ import annotations

import errno
import socket

from attention_server.settings import SettingsError

__all__ = ["check_listenable", "reachable"]

_ALL = ("0.0.0.0", "[::]")  # noqa: S104 - compared with


def reachable(address: str) -> str:
    """Returns the address as clients on this machine call it."""
    host, _, port = address.rpartition(":")
    # gRPC listens on IPv4 and IPv6 for either of them, and IPv6 may be switched off.
    return f"127.0.0.1:{port}" if host in _ALL else address


def check_listenable(listen: str) -> None:
    """Refuses what gRPC would listen on nowhere, or only in part, and says why.

    gRPC itself tells no reasons, and of a name with several addresses it takes those it can have:
    on localhost it would serve beside another server, each on one of its two addresses.

    Args:
        listen: ADDRESS:PORT, of which the port may be 0.

    Raises:
        SettingsError: Unknown, not of this machine, taken, or for privileged users.
    """
    host, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SettingsError(
            f"listen: no address is known for {host}; give one of this machine, 127.0.0.1 say"
        ) from None
    obstacles = {_obstacle(family, address) for family, _, _, _, address in found}
    if errno.EADDRINUSE in obstacles:
        raise SettingsError(
            f"listen: port {port} of {host} is taken; stop what listens there or choose another "
            "port, 0 for any that is free"
        )
    if errno.EACCES in obstacles:
        raise SettingsError(
            f"listen: port {port} is for privileged users; choose one from 1024 to 65535"
        )
    # A name may have an address of a family that is switched off here.
    if None not in obstacles:
        raise SettingsError(
            f"listen: {host} is no address of this machine; 127.0.0.1 is one, and 0.0.0.0 is all"
        )


def _obstacle(family: int, address: object) -> int | None:
    """Returns the error number of binding a socket, or None where nothing is in the way."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As gRPC does: connections that were closed a moment ago do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)  # type: ignore[arg-type]  # of this family
    except OSError as error:
        return error.errno
    return None
