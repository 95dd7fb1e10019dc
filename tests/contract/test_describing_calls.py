"""What the server says of itself and its models, over the wire."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from attention_server import EmbeddedServer
from attention_service.manifest import FILE_NAME, Manifest
from attention_service.v1 import attention_pb2 as pb
from tests.made_models import WIDTH, write_models
from tests.messages import floats, layer
from tests.wire import Wire

MODELS = [("layer", "10"), ("layer", "2"), ("sdpa", "1")]
"""By name, the newest version first: 10 is newer than 2."""


@pytest.fixture(scope="module")
def wire(address: str) -> Iterator[Wire]:
    with Wire(address) as wire:
        yield wire


def page(wire: Wire, **fields: int | str) -> pb.ListModelsResponse:
    request = pb.ListModelsRequest(**fields)  # type: ignore[arg-type]
    return pb.ListModelsResponse.FromString(wire.answer("ListModels", request))


def model(wire: Wire, name: str, version: str = "") -> pb.Model:
    request = pb.GetModelRequest(model=name, model_version=version)
    return pb.GetModelResponse.FromString(wire.answer("GetModel", request)).model


def keys(response: pb.ListModelsResponse) -> list[tuple[str, str]]:
    return [(model.name, model.version) for model in response.models]


def test_models_are_listed_by_name_and_newest_version_first(wire: Wire) -> None:
    assert keys(page(wire)) == MODELS


@pytest.mark.parametrize("page_size", [1, 2, 3, 2**31 - 1])
def test_pages_together_hold_every_model_once(wire: Wire, page_size: int) -> None:
    found, token = [], ""
    while True:
        response = page(wire, page_size=page_size, page_token=token)
        assert len(response.models) <= page_size
        found += keys(response)
        token = response.next_page_token
        if not token:
            break

    assert found == MODELS


def test_last_page_has_no_token(wire: Wire) -> None:
    assert page(wire, page_size=3).next_page_token == ""


def test_newest_version_is_the_one_without_a_version(wire: Wire) -> None:
    assert model(wire, "layer").version == "10"


@pytest.mark.parametrize("version", ["2", "10"])
def test_version_asked_for_is_described(wire: Wire, version: str) -> None:
    assert model(wire, "layer", version).version == version


@pytest.mark.parametrize(("version", "answered"), [("", "10"), ("2", "2"), ("10", "10")])
def test_version_asked_for_answers(wire: Wire, version: str, answered: str) -> None:
    answer = wire.answer("Attend", layer(model_version=version))

    assert pb.AttendResponse.FromString(answer).model_version == answered


def test_description_is_what_the_manifest_says(wire: Wire, models: Path) -> None:
    manifest = Manifest.from_json((models / "layer" / "10" / FILE_NAME).read_bytes())

    described = model(wire, "layer", "10")

    sizes = ("query_dim", "key_dim", "value_dim", "output_dim", "head_dim", "value_head_dim")
    assert {s: getattr(described, s) for s in sizes} == {s: getattr(manifest, s) for s in sizes}
    assert dict(described.source) == manifest.source
    assert described.defaults == pb.AttentionSettings(
        num_heads=manifest.defaults.num_heads,
        num_kv_heads=manifest.defaults.num_kv_heads,
        scale=manifest.defaults.scale,
        causal=pb.CAUSAL_MODE_LOWER_RIGHT,
    )
    assert described.positions == pb.POSITION_USE_UNSPECIFIED
    assert list(described.outputs) == [
        pb.OUTPUT_OUTPUT,
        pb.OUTPUT_WEIGHTS,
        pb.OUTPUT_SCORES,
        pb.OUTPUT_PROJECTIONS,
        pb.OUTPUT_HEAD_OUTPUTS,
        pb.OUTPUT_LOG_SUM_EXP,
    ]


@pytest.fixture(scope="module")
def made_wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    """A connection to a server of models that use positions or come whole."""
    models = tmp_path_factory.mktemp("made")
    write_models(models)
    with EmbeddedServer(models, demo=False) as server, Wire(server.address) as wire:
        yield wire


@pytest.mark.parametrize(
    ("name", "positions", "head_dim", "defaults", "outputs"),
    [
        (
            "rotary",
            pb.POSITION_USE_ROTARY,
            5,
            pb.AttentionSettings(
                num_heads=4,
                num_kv_heads=2,
                scale=0.25,
                softcap=2.0,
                causal=pb.CAUSAL_MODE_LOWER_RIGHT,
                window=pb.SlidingWindow(left=3),
            ),
            range(pb.OUTPUT_OUTPUT, pb.OUTPUT_LOG_SUM_EXP + 1),
        ),
        (
            "biased",
            pb.POSITION_USE_RELATIVE_BIAS,
            5,
            pb.AttentionSettings(
                num_heads=4, num_kv_heads=4, scale=1.0, causal=pb.CAUSAL_MODE_NONE
            ),
            range(pb.OUTPUT_OUTPUT, pb.OUTPUT_LOG_SUM_EXP + 1),
        ),
        (
            "whole",
            pb.POSITION_USE_UNSPECIFIED,
            0,
            pb.AttentionSettings(num_heads=4, num_kv_heads=4, causal=pb.CAUSAL_MODE_NONE),
            (pb.OUTPUT_OUTPUT, pb.OUTPUT_WEIGHTS),
        ),
        (
            "output-only",
            pb.POSITION_USE_UNSPECIFIED,
            0,
            pb.AttentionSettings(num_heads=4, num_kv_heads=4, causal=pb.CAUSAL_MODE_NONE),
            (pb.OUTPUT_OUTPUT,),
        ),
    ],
)
def test_what_a_model_is_like_is_told_and_applied(
    made_wire: Wire,
    name: str,
    positions: int,
    head_dim: int,
    defaults: pb.AttentionSettings,
    outputs: Sequence[int],
) -> None:
    described = model(made_wire, name)
    answer = made_wire.answer("Attend", pb.AttendRequest(model=name, query=floats(1, 3, WIDTH)))

    assert (described.positions, described.head_dim) == (positions, head_dim)
    assert (described.defaults, list(described.outputs)) == (defaults, list(outputs))
    assert pb.AttendResponse.FromString(answer).applied == defaults


@pytest.mark.parametrize(
    ("mask", "heads", "applied"),
    [
        ({"window": pb.SlidingWindow()}, {}, {"window": None}),
        ({"window": pb.SlidingWindow(right=1)}, {}, {"window": pb.SlidingWindow(right=1)}),
        ({"causal": pb.CAUSAL_MODE_NONE}, {}, {"causal": pb.CAUSAL_MODE_NONE}),
        ({}, {"softcap": 0.0}, {"softcap": 0.0}),
        ({}, {"softcap": 7.0, "scale": -1.0}, {"softcap": 7.0, "scale": -1.0}),
    ],
    ids=["no window", "another window", "no causality", "no softcap", "another softcap and scale"],
)
def test_what_a_request_says_is_applied_in_place_of_the_models_own(
    made_wire: Wire, mask: dict[str, Any], heads: dict[str, Any], applied: dict[str, Any]
) -> None:
    own = model(made_wire, "rotary").defaults
    request = pb.AttendRequest(
        model="rotary",
        query=floats(1, 3, WIDTH),
        mask=pb.Mask(**mask),
        heads=pb.HeadConfig(**heads),
    )

    answer = pb.AttendResponse.FromString(made_wire.answer("Attend", request))

    fields = ("num_heads", "num_kv_heads", "scale", "softcap", "causal", "window")
    told = {name: getattr(own, name) for name in fields}
    assert answer.applied == pb.AttentionSettings(**{**told, **applied})


def test_sizes_of_the_built_in_model_are_the_requests_to_say(wire: Wire) -> None:
    described = model(wire, "sdpa")

    assert described.query_dim == described.head_dim == described.defaults.num_heads == 0


def test_server_tells_its_version_providers_and_limits() -> None:
    settings: dict[str, Any] = {
        "max_message_bytes": 1 << 20,
        "max_batch": 2,
        "max_length": 3,
        "max_work": 2**40,
        "max_stream_bytes": 1 << 21,
        "max_waiting_requests": 7,
        "max_waiting_bytes": 1 << 22,
        "drain_seconds": 0.25,
    }
    with EmbeddedServer(demo=False, **settings) as server, Wire(server.address) as wire:
        answer = wire.answer("GetServerInfo", pb.GetServerInfoRequest())

    assert pb.GetServerInfoResponse.FromString(answer) == pb.GetServerInfoResponse(
        version=metadata.version("attention-service"),
        providers=["CPUExecutionProvider"],
        limits=pb.Limits(
            message_bytes=1 << 20,
            batch=2,
            length=3,
            work=2**40,
            stream_bytes=1 << 21,
            waiting_requests=7,
            waiting_bytes=1 << 22,
            drain=Duration(nanos=250_000_000),
        ),
    )


def test_field_of_a_newer_contract_is_passed_over(wire: Wire) -> None:
    newer = layer().SerializeToString() + b"\xf2\x07\x03new"  # field 126

    assert wire.answer("Attend", newer)
