"""What the container may do: nothing but serve."""

from __future__ import annotations

import json
import re
import socket

import pytest

from attention_server.settings import Settings
from tests.docker.composition import Composition

GIB = 1 << 30
MB = 1_000_000
# Both hierarchies of control groups, the newer one first.
CGROUP = """
from pathlib import Path
def read(*names):
    return next(f.read_text() for n in names if (f := Path("/sys/fs/cgroup", n)).exists())
"""


def test_server_is_a_numbered_user_without_capabilities_who_can_gain_none(
    composition: Composition,
) -> None:
    status = composition.execute("print(open('/proc/1/status').read())")
    told = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)

    assert (told["Uid"], told["Gid"]) == ("\t".join(["10001"] * 4),) * 2
    assert {told[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert told["NoNewPrivs"] == "1"


def test_no_directory_can_be_written_to_but_those_of_shared_memory(
    composition: Composition,
) -> None:
    program = """
import os, json
def walk():
    for place, directories, _ in os.walk("/"):
        if place == "/":
            directories[:] = set(directories) - {"proc", "sys"}
        yield place
print(json.dumps([place for place in walk() if os.access(place, os.W_OK)]))
"""
    assert set(json.loads(composition.execute(program))) <= {"/dev/shm", "/dev/mqueue"}  # noqa: S108


def test_memory_is_limited(composition: Composition) -> None:
    limit = composition.execute(
        f"{CGROUP}print(read('memory.max', 'memory/memory.limit_in_bytes'))"
    )

    assert int(limit) == 5 * GIB


def test_swap_and_processes_are_limited(composition: Composition) -> None:
    limits = composition.inspect()["HostConfig"]

    assert limits["MemorySwap"] == limits["Memory"]  # together with memory: none beside it
    assert limits["PidsLimit"] == 256


def test_processor_time_is_limited(composition: Composition) -> None:
    limit = composition.execute(
        f"{CGROUP}print(read('cpu.max', 'cpu/cpu.cfs_quota_us'))"
        "\nprint(read('cpu.max', 'cpu/cpu.cfs_period_us'))"
    ).split()

    assert int(limit[0]) / int(limit[-1]) == 2


def test_port_is_open_on_the_loopback_address_alone(composition: Composition) -> None:
    settings = composition.inspect()["NetworkSettings"]
    (published,) = settings["Ports"].values()
    (network,) = settings["Networks"].values()
    port = int(composition.address.rpartition(":")[2])

    assert published == [{"HostIp": "127.0.0.1", "HostPort": str(port)}]
    # The gateway is this machine by another address.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((network["Gateway"], port), timeout=10)


def test_it_has_longer_to_stop_than_what_is_in_flight_has_to_finish(
    composition: Composition,
) -> None:
    assert composition.inspect()["Config"]["StopTimeout"] > Settings().drain_seconds


def test_nothing_is_compiled_that_could_have_come_with_the_image(composition: Composition) -> None:
    told = composition.execute("import attention_server.app, attention_server.cli", "-v")

    assert re.search(r"^# code object from '/opt/bytecode/", told, re.MULTILINE)
    assert re.findall(r"^# code object from .*\.py'$", told, re.MULTILINE) == []


def test_image_adds_little_to_its_base(composition: Composition) -> None:
    size = composition.execute(
        "from pathlib import Path;"
        "print(sum(f.lstat().st_size for f in Path('/opt').rglob('*') if f.is_file()))"
    )

    assert int(size) < 200 * MB
