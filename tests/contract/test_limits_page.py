"""The page about limits says what the code does."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest

from attention_client import AttentionClient
from attention_server import EmbeddedServer
from attention_server.settings import Settings
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb
from attention_service.v1 import attention_pb2_grpc

PAGE = (Path(__file__).parents[2] / "docs" / "limits.md").read_text(encoding="utf-8")

_UNITS = {"": 1, "s": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class Row(NamedTuple):
    """One limit, as the page tells it."""

    limit: str
    default: str
    setting: str
    field: str
    reason: Reason
    why: str


def _rows() -> Iterator[Row]:
    header, _, *lines = (line for line in PAGE.splitlines() if line.startswith("|"))
    assert [cell.strip() for cell in header.strip("|").split("|")][:3] == [
        "limit",
        "default",
        "setting",
    ]
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != len(Row._fields):
            return  # the next table
        limit, default, setting, field, reason, why = cells
        name = setting.strip("`").removeprefix("--").replace("-", "_")
        yield Row(limit, default, name, field.strip("`"), Reason[reason.split("`")[1]], why)


ROWS = list(_rows())


def number(text: str) -> int:
    """Returns what "64 MiB", "2^36", "65,536", "30 s" or a difference of such stands for."""
    first, *others = (part.strip() for part in text.split("−"))
    total = _one(first)
    return total - sum(map(_one, others))


def _one(text: str) -> int:
    amount, _, unit = text.replace(",", "").partition(" ")
    base, _, power = amount.partition("^")
    value: int = int(base) ** int(power or 1) * _UNITS[unit]
    return value


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.limit)
def test_default_is_that_of_the_setting(row: Row) -> None:
    default = Settings.model_fields[row.setting].default

    around_tensors = 4096 if row.reason is Reason.ANSWER_LIMIT else 0
    assert number(row.default) == default - around_tensors


def test_every_limit_of_the_settings_and_its_reason_is_on_the_page() -> None:
    limiting = {name for name in Settings.model_fields if name.startswith("max_")}
    assert {row.setting for row in ROWS} == limiting | {"drain_seconds"}
    assert all(row.why for row in ROWS)

    refusing = {reason for reason in Reason if reason.name.endswith("_LIMIT")}
    assert {row.reason for row in ROWS} == refusing | {Reason.QUEUE_FULL, Reason.SHUTTING_DOWN}


def test_server_tells_every_limit_of_the_page() -> None:
    assert {row.field for row in ROWS} == {field.name for field in pb.Limits.DESCRIPTOR.fields}
    values: dict[str, Any] = {row.setting: 1 << 17 for row in ROWS} | {"drain_seconds": 7}
    with EmbeddedServer(demo=False, **values) as server, AttentionClient(server.address) as client:
        told = vars(client.server_info().limits)

    for row in ROWS:
        assert told["drain_seconds" if row.field == "drain" else row.field] == values[row.setting]


def test_service_config_of_the_page_retries_what_is_unavailable() -> None:
    (config,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    attempts: list[int] = []

    def busy(_: Any, context: grpc.ServicerContext) -> pb.GetServerInfoResponse:
        attempts.append(1)
        if len(attempts) < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "too much is waiting")
        return pb.GetServerInfoResponse(version="1.2.3")

    servicer: Any = type("Servicer", (attention_pb2_grpc.AttentionServiceServicer,), {})()
    servicer.GetServerInfo = busy
    server = grpc.server(ThreadPoolExecutor(1))
    attention_pb2_grpc.add_AttentionServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    options = [("grpc.service_config", json.dumps(json.loads(config)))]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        stub = attention_pb2_grpc.AttentionServiceStub(channel)
        answer = stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=60)
    server.stop(None).wait()

    assert answer.version == "1.2.3"
    assert len(attempts) == 3
