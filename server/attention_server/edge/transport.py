"""What gRPC is told about connections: how messages flow, and how much a peer may do.

HTTP/2 lets a peer ask for a lot without paying for it. gRPC itself ends connections that flood it
with empty frames and refuses headers over 16 KiB; the rest is here. The names are those of gRPC's
channel_arg_names.h and of its server.h.
"""

from __future__ import annotations

__all__ = ["channel_options"]

# Frames larger than HTTP/2's 16 KiB and a look-ahead for whole messages: a quarter off a call of
# 400 kB.
MAX_FRAME_BYTES = (1 << 24) - 1
LOOKAHEAD_BYTES = 1 << 24

# Without a limit, gRPC's default, one connection can open calls by the ten thousand, and reset them
# again, faster than they can be taken: others then wait for seconds or are turned away. A client
# that has more calls at once keeps the rest back until some are done.
MAX_CALLS_OF_A_CONNECTION = 100
# Below the 1,024 files that a process may usually have open, models and log included. One
# connection more is closed at once: to its client no server is there, and it tries again.
# Default: no limit.
MAX_CONNECTIONS = 900
# Calls that gRPC has and Python has not taken yet, 10 KiB each. Beyond the first number gRPC ends
# some at random, beyond the second all, as CANCELLED, which no client retries: so not before 100
# connections, or 200, are full of calls. Defaults: 1,000 and 3,000.
CALLS_TO_BE_TAKEN, CALLS_TO_BE_TAKEN_AT_MOST = 10_000, 20_000

# Who connects has this long to speak HTTP/2. Default: two minutes.
HANDSHAKE_MS = 10_000
# A peer that has sent nothing for a while is asked for a sign of life, calls or no calls. Without
# one it goes, and what it holds with it: it vanished, or nobody reads its socket. Defaults: two
# hours, a minute. (keepalive_timeout_ms, the name in the documentation, did nothing here.)
KEEPALIVE_MS, PING_TIMEOUT_MS = 60_000, 20_000
# A connection without calls is closed; its client opens another with its next call, unseen. Only a
# call that begins in that very moment is told UNAVAILABLE, which the SDK retries. Default: never.
IDLE_MS = 600_000
# Every connection is replaced in time: its client is told to begin new calls on another, unseen,
# and the calls that it has may finish. What is left at the end of the grace is cut off. That is for
# who gives all signs of life and reads no answers: Python can end no such call, and its answer
# counts as held until then. gRPC varies the age by a tenth. Defaults: never, and without end.
AGE_MS, AGE_GRACE_MS = 3_600_000, 600_000
# Clients may ask for a sign of life this often; the SDK does every 30 s, while a call waits. Who
# asks too soon more than twice is sent away. Default: five minutes.
MIN_PING_INTERVAL_MS = 10_000


def channel_options(max_message_bytes: int) -> tuple[tuple[str, int], ...]:
    """Returns the options of the server's channels, for requests of at most this many bytes."""
    return (
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", -1),  # answers are bounded at admission
        ("grpc.http2.max_frame_size", MAX_FRAME_BYTES),
        ("grpc.http2.lookahead_bytes", LOOKAHEAD_BYTES),
        ("grpc.max_concurrent_streams", MAX_CALLS_OF_A_CONNECTION),
        ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
        ("grpc.server.max_pending_requests", CALLS_TO_BE_TAKEN),
        ("grpc.server.max_pending_requests_hard_limit", CALLS_TO_BE_TAKEN_AT_MOST),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.http2.ping_timeout_ms", PING_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
        ("grpc.max_connection_idle_ms", IDLE_MS),
        ("grpc.max_connection_age_ms", AGE_MS),
        ("grpc.max_connection_age_grace_ms", AGE_GRACE_MS),
        ("grpc.so_reuseport", 0),  # a second server on the port is an error, not a twin
    )
