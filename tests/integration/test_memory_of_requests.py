"""What a request takes of the server's memory: what docs/limits.md says, and no more for longer."""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import ml_dtypes
import numpy as np
import pytest

from attention_service import tensor
from attention_service.v1 import attention_pb2 as pb
from tests.integration.programs import PATIENCE_SECONDS, ServerProcess
from tests.integration.relay import Relay
from tests.made_models import HEADS, MODELS, WIDTH, write_models
from tests.wire import Refusal, Wire

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")

MIB = 1 << 20
BLOCKS, GAPS = 192 * MIB, 160 * MIB
LEFT_OVER = 48 * MIB
LARGEST_MESSAGE = 64 * MIB  # by default
IDLE = 100 * MIB
HEADS_OF_A_MODEL = {
    # Bytes of a query's heads and head outputs, and of a key's heads.
    "demo": (4 * (128 + 128), 4 * (128 + 128)),
    "rotary": (4 * HEADS * (5 + 3), 4 * 2 * (5 + 3)),
    "biased": (4 * HEADS * (5 + 3), 4 * HEADS * (5 + 3)),
    "whole": (0, 0),
}
UNCHANGEABLE = ("whole",)


class Memory:
    """What a process holds, bytes."""

    def __init__(self, server: ServerProcess) -> None:
        self._directory = Path(f"/proc/{server.process.pid}")
        self.idle = self.now

    @property
    def now(self) -> int:
        return self._status("VmRSS")

    @property
    def peak(self) -> int:
        """The most that it held since ``forget_peak``, above what it held at first."""
        return self._status("VmHWM") - self.idle

    def forget_peak(self) -> None:
        (self._directory / "clear_refs").write_text("5")

    def wait_until_idle(self) -> None:
        """Returns once the process holds hardly more than at first."""
        patience = time.monotonic() + PATIENCE_SECONDS
        while self.now > self.idle + LEFT_OVER:
            assert time.monotonic() < patience, f"{(self.now - self.idle) // MIB} MiB are left"
            time.sleep(0.1)

    def _status(self, field: str) -> int:
        status = (self._directory / "status").read_text()
        found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None
        return int(found[1]) * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    models = tmp_path_factory.mktemp("made")
    write_models(models)
    flags = ("--engine-threads", "1", "--max-waiting-bytes", str(64 * MIB))
    with ServerProcess(*flags, "--models", str(models)) as server:
        yield server


@pytest.fixture(scope="module")
def memory(server: ServerProcess) -> Memory:
    with Wire(server.address) as wire:  # what is allocated once is not the next request's
        wire.answer("Attend", ask(array(1, 4, 8), 2, weights=pb.WeightsSpec(), log_sum_exp=True))
    return Memory(server)


def array(*shape: int, dtype: Any = np.float32) -> pb.Tensor:
    return tensor.encode(np.full(shape, 0.1, dtype))


def ask(
    query: pb.Tensor,
    heads: int,
    *,
    kv_heads: int = 0,
    key: pb.Tensor | None = None,
    value: pb.Tensor | None = None,
    mask: pb.Mask | None = None,
    softcap: float = 0.0,
    scale: float = 1.0,
    ablated: tuple[int, ...] = (),
    model: str = "sdpa",
    positions: pb.Tensor | None = None,
    **outputs: Any,
) -> pb.AttendRequest:
    config = pb.HeadConfig(num_heads=heads, num_kv_heads=kv_heads, ablated_heads=ablated)
    if model not in UNCHANGEABLE:
        config.softcap, config.scale = softcap, scale
    return pb.AttendRequest(
        model=model,
        query=query,
        key=key,
        value=value,
        mask=mask,
        heads=config,
        outputs=pb.OutputSpec(**outputs),
        query_positions=positions,
    )


def tell(capsys: pytest.CaptureFixture[str], peak: int, allowed: int) -> None:
    with capsys.disabled():
        print(f"[{peak // MIB} of {allowed // MIB} MiB]", end=" ")  # noqa: T201 - figures


def rows(embeddings: pb.Tensor) -> int:
    return math.prod(embeddings.shape[:2])


def in_float32(*tensors: pb.Tensor) -> int:
    return sum(4 * math.prod(tensor.shape) for tensor in tensors if tensor.shape)


def bound(request: pb.AttendRequest, answer: pb.AttendResponse) -> int:
    """Returns the formula of docs/limits.md, bytes."""
    message, given = request.ByteSize(), (request.query, request.key, request.value)
    masks = (request.mask.key_mask, request.mask.attend_mask)
    tensors = in_float32(*given, request.mask.attn_bias) + in_float32(*masks) // 2
    answered = in_float32(
        answer.output,
        answer.weights,
        answer.weight_key_indices,
        answer.scores,
        answer.query_heads,
        answer.key_heads,
        answer.value_heads,
        answer.head_outputs,
        answer.log_sum_exp,
    )
    joined = answer.output if answer.HasField("output") else answer.head_outputs
    heads = in_float32(*given, joined)
    key = request.key if request.HasField("key") else request.query
    if request.model != "sdpa":
        of_query, of_key = HEADS_OF_A_MODEL[request.model]
        heads = 2 * (rows(request.query) * of_query + rows(key) * of_key)
    if request.model in MODELS:
        tensors += 4 * (rows(request.query) + rows(key))  # positions
    if request.model in UNCHANGEABLE:
        heads += 5 * in_float32(answer.weights)  # of one sequence
    return (
        message
        + max(2 * message + tensors, tensors + heads + answered, 4 * answered)
        + BLOCKS
        + GAPS
    )


WEIGHTS = pb.WeightsSpec()
CAUSAL = pb.CAUSAL_MODE_LOWER_RIGHT
HALF = np.float16

# The answers are as large as the requests or larger, nearly the most that a message may be.
REQUESTS: dict[str, Callable[[], pb.AttendRequest]] = {
    "one long sequence": lambda: ask(array(1, 65_536, 252), 4, key=array(1, 16, 252)),
    "many sequences": lambda: ask(array(256, 256, 252), 4),
    "wide embeddings": lambda: ask(array(1, 64, 262_080), 8),
    "grouped heads": lambda: ask(
        array(1, 8000, 2048), 64, kv_heads=4, key=array(1, 64, 128), value=array(1, 64, 128)
    ),
    "bias": lambda: ask(array(1, 4000, 4), 1, mask=pb.Mask(attn_bias=array(4000, 4000))),
    "bias of each head, causal": lambda: ask(
        array(1, 2000, 8), 4, mask=pb.Mask(attn_bias=array(1, 4, 2000, 2000), causal=CAUSAL)
    ),
    "weights": lambda: ask(array(1, 2040, 8), 4, weights=WEIGHTS, omit_output=True),
    "every step": lambda: ask(
        array(1, 1400, 8), 4, weights=WEIGHTS, scores=pb.ScoresSpec(), log_sum_exp=True
    ),
    "softcap": lambda: ask(array(1, 2040, 8), 4, softcap=20.0, weights=WEIGHTS, omit_output=True),
    "scores that might overflow": lambda: ask(
        array(1, 2040, 8), 4, scale=1e38, weights=WEIGHTS, mask=pb.Mask(causal=CAUSAL)
    ),
    "half precision": lambda: ask(
        array(1, 65_536, 504, dtype=HALF),
        8,
        key=array(1, 16, 504, dtype=HALF),
        data_type=pb.DATA_TYPE_FLOAT16,
    ),
    "brain floats": lambda: ask(
        array(1, 65_536, 504, dtype=ml_dtypes.bfloat16),
        8,
        key=array(1, 16, 504, dtype=ml_dtypes.bfloat16),
        data_type=pb.DATA_TYPE_BFLOAT16,
    ),
    "mask of pairs": lambda: ask(
        array(1, 8000, 4), 1, mask=pb.Mask(attend_mask=tensor.encode(np.ones((8000, 8000), bool)))
    ),
    "causal with a window": lambda: ask(
        array(64, 512, 504), 4, mask=pb.Mask(causal=CAUSAL, window=pb.SlidingWindow(left=99))
    ),
    "narrow and long, causal": lambda: ask(
        array(256, 65_000, 2, dtype=HALF),
        1,
        key=array(256, 4, 2, dtype=HALF),
        mask=pb.Mask(causal=CAUSAL),
        data_type=pb.DATA_TYPE_FLOAT16,
    ),
    "projections and head outputs": lambda: ask(
        array(1, 32_768, 252),
        4,
        key=array(1, 16, 252),
        projections=True,
        head_outputs=True,
        omit_output=True,
    ),
    "a head again and again": lambda: ask(
        array(1, 64, 8), 4, weights=pb.WeightsSpec(heads=[1] * 4095), omit_output=True
    ),
    "largest weights": lambda: ask(
        array(1, 1400, 8), 4, weights=pb.WeightsSpec(top_k=1000), omit_output=True
    ),
    "mean of many heads": lambda: ask(
        array(1, 4000, 32), 8, weights=pb.WeightsSpec(average_heads=True), omit_output=True
    ),
    "ablated heads": lambda: ask(array(256, 256, 252), 4, ablated=(1, 2)),
    "values wider than what is asked for": lambda: ask(
        array(1, 65_536, 252),
        252,
        kv_heads=1,
        key=array(1, 4, 1),
        value=array(1, 4, 16),
        omit_output=True,
        log_sum_exp=True,
    ),
    "a model": lambda: ask(array(32, 2040, 256), 0, model="demo"),
    "a model that rotates": lambda: ask(
        array(160, 8192, WIDTH),
        0,
        key=array(160, 4, WIDTH),
        model="rotary",
        positions=array(160, 8192, dtype=np.int32),
    ),
    "a model that rotates, half precision": lambda: ask(
        array(255, 16_384, WIDTH, dtype=HALF),
        0,
        key=array(255, 4, WIDTH),
        model="rotary",
        data_type=pb.DATA_TYPE_FLOAT16,
    ),
    "a model that biases by the distance": lambda: ask(
        array(1, 2040, WIDTH), 0, model="biased", weights=WEIGHTS, omit_output=True
    ),
    "a model that biases by the distance, positions of each sequence": lambda: ask(
        array(3, 1150, WIDTH),
        0,
        model="biased",
        weights=WEIGHTS,
        omit_output=True,
        positions=tensor.encode(np.arange(3450, dtype=np.int32).reshape(3, 1150)),
    ),
    "a model that comes whole": lambda: ask(
        array(1, 2040, WIDTH), 0, model="whole", weights=WEIGHTS, mask=pb.Mask(causal=CAUSAL)
    ),
    "a model, half precision": lambda: ask(
        array(256, 508, 256, dtype=HALF), 0, model="demo", data_type=pb.DATA_TYPE_FLOAT16
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_takes_no_more_than_the_formula_says(
    server: ServerProcess, memory: Memory, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    request = REQUESTS[name]()
    with Wire(server.address) as wire:
        memory.wait_until_idle()
        memory.forget_peak()
        answer = pb.AttendResponse.FromString(wire.answer("Attend", request))

    allowed = bound(request, answer)
    tell(capsys, memory.peak, allowed)
    assert LARGEST_MESSAGE * 0.6 < max(request.ByteSize(), answer.ByteSize()) <= LARGEST_MESSAGE
    assert memory.peak <= allowed, f"{memory.peak / MIB:.0f} MiB, not {allowed / MIB:.0f}"
    memory.wait_until_idle()


def test_a_full_server_takes_no_more_than_the_sum_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    message, kept, threads = 16 * MIB, 192 * MIB, 2
    request = ask(array(64, 508, 256, dtype=HALF), 0, model="demo", data_type=pb.DATA_TYPE_FLOAT16)
    limits = {"engine-threads": threads, "max-message-bytes": message, "max-waiting-bytes": kept}
    flags = [str(part) for name, value in limits.items() for part in (f"--{name}", value)]
    with ServerProcess(*flags) as server, Wire(server.address) as wire:
        memory = Memory(server)
        answer = pb.AttendResponse.FromString(wire.answer("Attend", request))
        calls = kept // (request.ByteSize() + len(answer.output.data))  # all that are kept at once
        under_way = [wire.begin("Attend", request) for _ in range(calls)]
        assert all(call.result() for call in under_way)
        peak = memory.idle + memory.peak

    allowed = IDLE + threads * bound(request, answer) + 4 * message + 3 * kept
    tell(capsys, peak, allowed)
    assert calls == 6
    assert peak <= allowed, f"{peak / MIB:.0f} MiB, not {allowed / MIB:.0f}"


def test_answers_that_nobody_reads_take_no_more_than_may_wait(
    server: ServerProcess, memory: Memory
) -> None:
    request = ask(array(1, 1000, 8), 4, weights=WEIGHTS, omit_output=True)  # 16 MB of weights
    with Relay(server.address) as relay, Wire(relay.address) as idle, Wire(server.address) as wire:
        memory.wait_until_idle()
        memory.forget_peak()
        unread = [idle.begin("Attend", request) for _ in range(40)]
        assert relay.holds.wait(PATIENCE_SECONDS)
        refusal = _first_refusal(wire, request)

        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "QUEUE_FULL")
        assert refusal.retry_seconds
        assert memory.peak <= 3 * 64 * MIB + 4 * 16 * MIB + BLOCKS + GAPS

        relay.release()
        codes = [call.exception(PATIENCE_SECONDS) for call in unread]
        assert 0 < codes.count(None) < len(codes)
        assert wire.answer("Attend", request)
    memory.wait_until_idle()


def _first_refusal(wire: Wire, request: pb.AttendRequest) -> Refusal:
    for _ in range(50):
        try:
            wire.answer("Attend", request)
        except grpc.RpcError as error:
            return Refusal.of(error)
    raise AssertionError("the server took everything")
