"""What the command says of models and of the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from attention_client.cli import main
from attention_service.v1 import attention_pb2 as pb

Serve = Callable[..., str]

MODELS = pb.ListModelsResponse(
    models=[
        pb.Model(
            name="minilm-l6.0",
            version="1",
            query_dim=384,
            key_dim=384,
            value_dim=384,
            output_dim=384,
            head_dim=32,
            value_head_dim=32,
            defaults=pb.AttentionSettings(
                num_heads=12, num_kv_heads=12, scale=0.17677669, causal=pb.CAUSAL_MODE_NONE
            ),
            outputs=[pb.OUTPUT_OUTPUT, pb.OUTPUT_WEIGHTS],
            source={"family": "bert", "layer": "0"},
        ),
        pb.Model(
            name="decoder.0",
            version="1",
            query_dim=2304,
            key_dim=2304,
            value_dim=2304,
            output_dim=2304,
            head_dim=256,
            value_head_dim=256,
            defaults=pb.AttentionSettings(
                num_heads=8,
                num_kv_heads=4,
                scale=0.0625,
                softcap=50,
                causal=pb.CAUSAL_MODE_LOWER_RIGHT,
                window=pb.SlidingWindow(left=4095),
            ),
            positions=pb.POSITION_USE_ROTARY,
            outputs=[pb.OUTPUT_OUTPUT, pb.OUTPUT_WEIGHTS],
        ),
        pb.Model(
            name="foreign",
            version="3",
            query_dim=8,
            key_dim=8,
            value_dim=8,
            output_dim=8,
            defaults=pb.AttentionSettings(
                num_heads=2, num_kv_heads=2, causal=pb.CAUSAL_MODE_UPPER_LEFT
            ),
            outputs=[pb.OUTPUT_OUTPUT],
        ),
        pb.Model(
            name="sdpa", version="1", defaults=pb.AttentionSettings(causal=pb.CAUSAL_MODE_NONE)
        ),
    ]
)
_, DECODER, FOREIGN, _ = MODELS.models


def test_models_are_listed_in_a_table(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--server", serve(ListModels=lambda *_: MODELS)]) == 0

    header, *rows = capsys.readouterr().out.splitlines()
    assert header == (
        "MODEL        VERSION  QUERY   KEY  VALUE  OUTPUT  HEADS  KV_HEADS  HEAD_DIM"
        "  SCALE     SOFTCAP  CAUSAL       WINDOW     POSITIONS"
    )
    assert rows == [
        (
            "minilm-l6.0  1          384   384    384     384     12        12        32"
            "  0.176777  none     none         none       none"
        ),
        (
            "decoder.0    1         2304  2304   2304    2304      8         4       256"
            "  0.0625    50       lower_right  4095,none  rotary"
        ),
        (
            "foreign      3            8     8      8       8      2         2         -"
            "  -         -        upper_left   none       none"
        ),
        (
            "sdpa         1          any   any    any     any    any       any       any"
            "  any       none     none         none       none"
        ),
    ]


def test_a_model_is_described(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[pb.GetModelRequest] = []

    def handler(request: pb.GetModelRequest, _: Any) -> pb.GetModelResponse:
        asked.append(request)
        return pb.GetModelResponse(model=MODELS.models[0])

    server = serve(GetModel=handler)
    assert main(["info", "minilm-l6.0", "--model-version", "1", "--server", server]) == 0

    assert asked == [pb.GetModelRequest(model="minilm-l6.0", model_version="1")]
    assert capsys.readouterr().out.splitlines() == [
        "model           minilm-l6.0",
        "version         1",
        "query_dim       384",
        "key_dim         384",
        "value_dim       384",
        "output_dim      384",
        "num_heads       12",
        "num_kv_heads    12",
        "head_dim        32",
        "value_head_dim  32",
        "scale           0.176777",
        "softcap         none",
        "causal          none",
        "window          no limit",
        "positions       none",
        "outputs         output, weights",
        "source.family   bert",
        "source.layer    0",
    ]


@pytest.mark.parametrize(
    ("model", "lines"),
    [
        (
            DECODER,
            {
                "scale           0.0625",
                "softcap         50",
                "causal          lower_right",
                "window          4095 before, no limit after",
                "positions       rotary",
            },
        ),
        (
            FOREIGN,
            {
                "head_dim        -",
                "value_head_dim  -",
                "scale           -",
                "softcap         -",
                "outputs         output",
            },
        ),
    ],
    ids=["of a decoder", "that it keeps to itself"],
)
def test_what_is_a_models_own_is_described(
    serve: Serve, capsys: pytest.CaptureFixture[str], model: pb.Model, lines: set[str]
) -> None:
    server = serve(GetModel=lambda *_: pb.GetModelResponse(model=model))

    assert main(["info", model.name, "--server", server]) == 0

    assert lines <= set(capsys.readouterr().out.splitlines())


def test_without_a_name_the_server_is_described(
    serve: Serve, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    response = pb.GetServerInfoResponse(
        version="1.2.3",
        providers=["CPUExecutionProvider"],
        limits=pb.Limits(
            message_bytes=2**26,
            batch=256,
            length=65536,
            work=2**36,
            stream_bytes=2**30,
            waiting_requests=1024,
            waiting_bytes=2**30,
            drain=Duration(seconds=30),
        ),
    )
    server = serve(GetServerInfo=lambda *_: response)
    monkeypatch.setenv("ATTENTION_SERVER", server)

    assert main(["info"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        f"server                 {server}",
        "version                1.2.3",
        "providers              CPUExecutionProvider",
        "largest message        67,108,864 bytes",
        "largest on a stream    1,073,741,824 bytes",
        "largest batch          256",
        "longest query and key  65,536",
        "most work              68,719,476,736 (batch * heads * query_len * kv_len)",
        "most waiting           1,024 requests",
        "most kept in memory    1,073,741,824 bytes",
        "time to drain          30 s",
    ]
