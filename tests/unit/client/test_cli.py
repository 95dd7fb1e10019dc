from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from attention_client.cli import main
from attention_service.tensor import decode, encode
from attention_service.v1 import attention_pb2 as pb

Serve = Callable[..., str]

QUERY = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
ANSWER = pb.AttendResponse(
    model="m",
    model_version="2",
    output=encode(QUERY),
    fully_masked_rows=3,
    execution=pb.Execution(
        provider="CPUExecutionProvider", path="fast", queue_us=12, compute_us=3456
    ),
    applied=pb.AttentionSettings(num_heads=8, num_kv_heads=2, scale=0.5, softcap=30),
)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("q.npy", QUERY)
    np.save("mask.npy", np.array([[True, False]]))
    np.save("positions.npy", np.array([[0, 1]]))
    np.save("pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez("arrays.npz", q=QUERY, other=QUERY + 1)
    np.savez("one.npz", q=QUERY)
    Path("text.npy").write_text("no array")
    return tmp_path


def request_sent(serve: Serve, *arguments: str) -> pb.AttendRequest:
    requests: list[pb.AttendRequest] = []

    def handler(request: pb.AttendRequest, _: Any) -> pb.AttendResponse:
        requests.append(request)
        return ANSWER

    server = serve(Attend=handler)
    assert main(["attend", "m", *arguments, "--server", server]) == 0
    (request,) = requests
    return request


def test_scale_and_softcap_that_a_model_keeps_to_itself_are_not_told_as_zero(
    serve: Serve, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = pb.AttendResponse(
        execution=pb.Execution(path="whole"), applied=pb.AttentionSettings(num_heads=2)
    )

    assert (
        main(["attend", "m", "--query", "q.npy", "--server", serve(Attend=lambda *_: answer)]) == 0
    )

    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (told["scale"], told["softcap"]) == ("-", "-")


def test_attend_says_what_came_back_and_saves_it(
    serve: Serve, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    request_sent(serve, "--query", "q.npy", "--out", "result.bin")

    assert capsys.readouterr().out.splitlines() == [
        "model              m, version 2",
        "heads              8, of keys and values 2",
        "scale              0.5",
        "softcap            30",
        "causal             none",
        "window             no limit",
        "fully masked rows  3",
        "computed by        CPUExecutionProvider, fast",
        "computed in        3.456 ms",
        "waited             0.012 ms",
        "",
        "ARRAY   SHAPE      TYPE",
        "output  1 x 2 x 3  float32",
        "saved to result.bin",
    ]
    with np.load(files / "result.bin") as saved:
        np.testing.assert_array_equal(saved["output"], QUERY)
        assert saved["fully_masked_rows"] == 3


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["--key", "q.npy", "--value", "one.npz"], {"key": QUERY, "value": QUERY}),
        (["--key", "arrays.npz:other"], {"key": QUERY + 1}),
        (["--query-positions", "positions.npy"], {"query_positions": [[0, 1]]}),
        (["--key-positions", "positions.npy"], {"key_positions": [[0, 1]]}),
        (["--kv-lengths", "3,2"], {"mask.kv_lengths": [3, 2]}),
        (["--query-lengths", "3"], {"mask.query_lengths": [3]}),
        (["--query-offsets", "7,0"], {"mask.query_offsets": [7, 0]}),
        (["--key-mask", "mask.npy"], {"mask.key_mask": [[True, False]]}),
        (["--attend-mask", "mask.npy"], {"mask.attend_mask": [[True, False]]}),
        (["--attn-bias", "q.npy"], {"mask.attn_bias": QUERY}),
        (["--causal", "lower_right"], {"mask.causal": pb.CAUSAL_MODE_LOWER_RIGHT}),
        (["--window", "4,none"], {"mask.window": pb.SlidingWindow(left=4)}),
        (["--window", "none,none"], {"mask.window": pb.SlidingWindow()}),
        (["--num-heads", "8", "--num-kv-heads", "2"], {"heads.num_kv_heads": 2}),
        (["--scale", "0.5", "--softcap", "30"], {"heads.scale": 0.5, "heads.softcap": 30.0}),
        (["--ablate", "0,3"], {"heads.ablated_heads": [0, 3]}),
        (["--no-output", "--weights"], {"outputs.omit_output": True}),
        (["--weights"], {"outputs.weights": pb.WeightsSpec()}),
        (["--weights-heads", "1,0"], {"outputs.weights": pb.WeightsSpec(heads=[1, 0])}),
        (["--weights-queries", "-1"], {"outputs.weights": pb.WeightsSpec(query_indices=[1])}),
        (
            ["--weights-queries=-1,0", "--top-k", "5", "--average-heads"],
            {"outputs.weights": pb.WeightsSpec(query_indices=[1, 0], top_k=5, average_heads=True)},
        ),
        (["--scores"], {"outputs.scores": pb.ScoresSpec()}),
        (
            ["--scores-heads", "1", "--scores-queries", "0"],
            {"outputs.scores": pb.ScoresSpec(heads=[1], query_indices=[0])},
        ),
        (["--projections"], {"outputs.projections": True}),
        (["--head-outputs"], {"outputs.head_outputs": True}),
        (["--log-sum-exp"], {"outputs.log_sum_exp": True}),
        (["--dtype", "bfloat16"], {"outputs.data_type": pb.DATA_TYPE_BFLOAT16}),
        (["--model-version", "3"], {"model_version": "3"}),
    ],
    ids=lambda case: " ".join(case) if isinstance(case, list) else "",
)
@pytest.mark.usefixtures("files")
def test_arguments_become_the_request(
    serve: Serve, arguments: list[str], expected: dict[str, Any]
) -> None:
    request = request_sent(serve, "--query", "q.npy", *arguments)

    assert request.model == "m"
    np.testing.assert_array_equal(decode(request.query), QUERY)
    for field, value in expected.items():
        found: Any = request
        for name in field.split("."):
            found = getattr(found, name)
        if isinstance(found, pb.Tensor):
            np.testing.assert_array_equal(decode(found), value)
        else:
            assert found == value


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--query", "none.npy"], "none.npy: No such file or directory"),
        (["--query", "pickled.npy"], "pickled.npy: no .npy or .npz file of numbers or booleans"),
        (["--query", "text.npy"], "text.npy: no .npy or .npz file of numbers or booleans"),
        (["--query", "arrays.npz"], "holds q, other: name one of them, arrays.npz:q"),
        (["--query", "arrays.npz:k"], "holds q, other: name one of them, arrays.npz:q"),
        (["--query", "q.npy", "--key-mask", "positions.npy"], "key_mask: must be boolean"),
        (["--query", "q.npy", "--out", "none/result.npz"], "none: no such directory"),
        (["--query", "q.npy", "--out", "."], ".: Is a directory"),
    ],
)
@pytest.mark.usefixtures("files")
def test_an_error_is_one_line_and_exit_code_1(
    serve: Serve, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    server = serve(Attend=lambda *_: ANSWER)

    assert main(["attend", "m", *arguments, "--server", server]) == 1

    error = capsys.readouterr().err
    assert error.startswith("attention: ")
    assert says in error
    assert error.count("\n") == 1


def test_what_the_server_refuses_is_one_line_too(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    def handler(_: Any, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.NOT_FOUND, "no model m; there is sdpa")

    assert main(["info", "m", "--server", serve(GetModel=handler)]) == 1

    assert capsys.readouterr().err == "attention: no model m; there is sdpa\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "COMMAND"),
        (["models", "--server", "localhost"], "address must be"),
        (["models", "--timeout", "0"], "timeout: must be more than 0"),
        (["attend", "m"], "--query"),
        (["attend", "m", "--query", "q.npy", "--kv-lengths", "3;2"], "whole numbers"),
        (["attend", "m", "--query", "q.npy", "--window", "3"], "two whole numbers"),
        (["attend", "m", "--query", "q.npy", "--causal", "yes"], "lower_right"),
    ],
)
def test_arguments_that_cannot_be_meant_are_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)

    assert caught.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["models"], ["info"], ["attend"], ["analyze"]], ids=str)
def test_help_fits_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")

    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])

    lines = capsys.readouterr().out.splitlines()
    assert caught.value.code == 0
    assert max(map(len, lines)) <= 100


def test_ctrl_c_is_exit_code_130(serve: Serve) -> None:
    arrived, done = threading.Event(), threading.Event()

    def handler(_: Any, context: grpc.ServicerContext) -> pb.ListModelsResponse:
        arrived.set()
        done.wait(20)
        return pb.ListModelsResponse()

    program = "import sys; from attention_client.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "models", "--server", serve(ListModels=handler)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert arrived.wait(20)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
        done.set()

    assert process.returncode == 130
    assert (output, errors) == (b"", b"")
