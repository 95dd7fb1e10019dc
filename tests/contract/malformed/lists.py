"""Lists of lengths, offsets and indices: out of range, of another count, of a million entries."""

from __future__ import annotations

from collections.abc import Iterable

from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb
from tests.contract.malformed.case import Malformed, refused
from tests.encoding import delimited, number
from tests.messages import BATCH, HEADS, KV_LEN, QUERY_LEN, masked, sdpa

_MILLION = 1_000_000
_SDPA = sdpa().SerializeToString()

_HIGHEST = {"kv_lengths": KV_LEN, "query_lengths": QUERY_LEN, "query_offsets": 2**31 - 1}
_SIZES = {
    "heads.ablated_heads": HEADS,
    "outputs.weights.heads": HEADS,
    "outputs.weights.query_indices": QUERY_LEN,
    "outputs.scores.heads": HEADS,
    "outputs.scores.query_indices": QUERY_LEN,
}
_NUMBERS = {
    # Where each list, and the shape of each tensor, stands: the fields' numbers, outermost first.
    "mask.kv_lengths": (7, 1),
    "mask.query_lengths": (7, 7),
    "mask.query_offsets": (7, 8),
    "heads.ablated_heads": (8, 5),
    "outputs.weights.heads": (9, 2, 1),
    "outputs.weights.query_indices": (9, 2, 2),
    "outputs.scores.heads": (9, 3, 1),
    "outputs.scores.query_indices": (9, 3, 2),
    "query.shape": (4, 2),
    "value.shape": (6, 2),
    "query_positions.shape": (10, 2),
    "mask.key_mask.shape": (7, 2, 2),
    "mask.attn_bias.shape": (7, 4, 2),
}


def _selected(field: str, indices: list[int]) -> pb.AttendRequest:
    """Returns a request with this list of heads or queries."""
    if field == "heads.ablated_heads":
        return sdpa(heads=pb.HeadConfig(num_heads=HEADS, ablated_heads=indices))
    _, part, name = field.split(".")
    outputs = pb.OutputSpec()
    getattr(getattr(outputs, part), name).extend(indices)
    return sdpa(outputs=outputs)


def _within(path: Iterable[int], data: bytes) -> bytes:
    """Returns a good request with these bytes inside the messages of this path."""
    for field in reversed(tuple(path)):
        data = delimited(field, data)
    return _SDPA + data


def _sequence_lists() -> list[Malformed]:
    rows = []
    for name, high in _HIGHEST.items():
        field = f"mask.{name}"
        counts = {1: "1 entry", BATCH + 1: "one entry too many", 300_000: "300,000 entries"}
        rows += refused(
            Reason.INVALID_COUNT,
            field,
            {f"{name} of {what}": masked(**{name: [0] * count}) for count, what in counts.items()},
        )
        for place in range(BATCH):
            wrong = {-1, high + 1, 2**31, 2**32, 2**63 - 1, -(2**31), -(2**63)}
            rows += refused(
                Reason.OUT_OF_RANGE,
                f"{field}[{place}]",
                {
                    f"{name} with {value} for sequence {place}": masked(
                        **{name: [value if i == place else 0 for i in range(BATCH)]}
                    )
                    for value in sorted(wrong)
                },
            )
    return rows


def _index_lists() -> list[Malformed]:
    rows = []
    for field, size in _SIZES.items():
        wrong = (size, size + 1, 2**31 - 1, 2**31, 2**32 - 1)
        rows += refused(
            Reason.OUT_OF_RANGE,
            f"{field}[1]",
            {f"{field} with {index}": _selected(field, [0, index, 0]) for index in wrong},
        )
        rows += refused(
            Reason.OUT_OF_RANGE,
            tuple(f"{field}[{i}]" for i in range(16)),
            {f"{field} with 65,536 that are not there": _selected(field, [size] * 65_536)},
        )
        rows += refused(
            Reason.LENGTH_LIMIT,
            field,
            {f"{field} of 65,537 entries": _selected(field, [0] * 65_537)},
        )
    return rows


def _endless_lists() -> list[Malformed]:
    rows = []
    for field, (*path, last) in _NUMBERS.items():
        packed = delimited(last, b"\x01" * _MILLION)
        unpacked = number(last, 1) * _MILLION
        rows += refused(
            Reason.LENGTH_LIMIT,
            field,
            {
                f"{field} of a million entries": _within(path, packed),
                f"{field} of a million entries, each a field": _within(path, unpacked),
            },
        )
    return rows


def _endless_fields() -> list[Malformed]:
    return [
        row
        for field, data in {
            "query": delimited(4, b""),
            "mask": delimited(7, b""),
            "outputs.weights": delimited(9, delimited(2, b"")),
            "model": delimited(2, b"sdpa"),
            "": number(99, 1),
        }.items()
        for row in refused(
            Reason.LENGTH_LIMIT,
            field.split(".")[0] or (),
            {f"{field or 'unknown field'} half a million times": _SDPA + data * (_MILLION // 2)},
        )
    ]


def _endless_descriptions() -> list[Malformed]:
    return [
        row
        for rpc, data in (
            ("ListModels", number(1, 1)),
            ("GetModel", delimited(1, b"sdpa")),
            ("GetServerInfo", number(99, 1)),
        )
        for row in refused(
            Reason.MESSAGE_LIMIT,
            (),
            {
                f"{rpc} of half a million fields": data * (_MILLION // 2),
                f"{rpc} of 65,537 bytes": delimited(99, bytes(65_532)),
                f"{rpc} of 65,537 bytes that are no message": b"\xff" * 65_537,
            },
            rpc=rpc,
        )
    ]


ROWS = [
    *_sequence_lists(),
    *_index_lists(),
    *_endless_lists(),
    *_endless_fields(),
    *_endless_descriptions(),
]
