from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attention_server.domain.catalog import Catalog
from attention_server.domain.errors import InvalidRequest
from attention_server.domain.model import SDPA, AttentionSettings, Model, ModelKey, Window
from attention_server.edge.decode import Decoded, decode
from attention_service import tensor
from attention_service.limits import Limits
from attention_service.reasons import Reason
from attention_service.v1 import attention_pb2 as pb
from tests.messages import floats, layer, masked, sdpa

CAUSAL = Model(
    key=ModelKey("layer", "1"),
    query_dim=12,
    key_dim=8,
    value_dim=6,
    output_dim=10,
    head_dim=4,
    value_head_dim=3,
    defaults=AttentionSettings(
        num_heads=4,
        num_kv_heads=2,
        scale=0.5,
        softcap=30.0,
        causal="lower_right",
        window=Window(7, None),
    ),
    outputs=("output", "weights"),
)
LIMITS = Limits(message_bytes=1 << 26, batch=256, length=65_536, work=1 << 36, stream_bytes=1 << 30)


def decoded(message: pb.AttendRequest) -> Decoded:
    return decode(message, Catalog([SDPA, CAUSAL]), LIMITS)


def self_attention(**mask: Any) -> pb.AttendRequest:
    return sdpa(key=None, value=None, mask=pb.Mask(**mask))


def test_absent_key_is_the_query_itself() -> None:
    request = decoded(self_attention()).request

    assert request.key is request.query
    assert request.value is request.query


def test_absent_value_is_the_key_itself() -> None:
    request = decoded(sdpa(value=None)).request

    assert request.value is request.key
    assert request.key is not request.query


def test_absent_mask_leaves_everything_in_sight() -> None:
    mask = decoded(sdpa()).request.mask

    assert (mask.kv_lengths.tolist(), mask.query_lengths.tolist()) == ([4, 4], [3, 3])
    assert (mask.query_offsets, mask.key_mask, mask.attend_mask, mask.attn_bias) == (None,) * 4


@pytest.mark.parametrize(
    ("message", "query_lengths"),
    [
        (self_attention(kv_lengths=[3, 1]), [3, 1]),
        (self_attention(kv_lengths=[3, 1], query_lengths=[2, 2]), [2, 2]),
        (masked(kv_lengths=[3, 1]), [3, 3]),
        (masked(query_lengths=[0, 1]), [0, 1]),
    ],
    ids=["self-attention", "self-attention, given", "cross-attention", "cross-attention, given"],
)
def test_real_queries_are_the_real_keys_in_self_attention_alone(
    message: pb.AttendRequest, query_lengths: list[int]
) -> None:
    assert decoded(message).request.mask.query_lengths.tolist() == query_lengths


@pytest.mark.parametrize(
    ("shape", "taken_as"),
    [
        ((3, 4), (1, 1, 3, 4)),
        ((2, 3, 4), (2, 1, 3, 4)),
        ((1, 1, 1, 4), (1, 1, 1, 4)),
        ((2, 2, 3, 4), (2, 2, 3, 4)),
        ((2, 1, 1, 4), (2, 1, 1, 4)),
        ((1, 2, 3, 4), (1, 2, 3, 4)),
    ],
)
def test_mask_over_pairs_is_taken_in_each_of_its_shapes(
    shape: tuple[int, ...], taken_as: tuple[int, ...]
) -> None:
    mask = decoded(
        masked(attend_mask=tensor.encode(np.ones(shape, np.bool_)), attn_bias=floats(*shape))
    ).request.mask

    assert mask.attend_mask is not None
    assert mask.attn_bias is not None
    assert mask.attend_mask.shape == mask.attn_bias.shape == taken_as


def test_model_says_what_the_request_does_not() -> None:
    assert decoded(layer()).request.settings == CAUSAL.defaults


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (layer(heads=pb.HeadConfig(num_heads=4, num_kv_heads=2)), {}),
        (layer(heads=pb.HeadConfig(scale=0.0)), {"scale": 0.0}),
        (layer(heads=pb.HeadConfig(softcap=0.0)), {"softcap": 0.0}),
        (layer(mask=pb.Mask(causal=pb.CAUSAL_MODE_NONE)), {"causal": "none"}),
        (layer(mask=pb.Mask(causal=pb.CAUSAL_MODE_UPPER_LEFT)), {"causal": "upper_left"}),
        (layer(mask=pb.Mask(window=pb.SlidingWindow())), {"window": Window()}),
        (layer(mask=pb.Mask(window=pb.SlidingWindow(right=0))), {"window": Window(None, 0)}),
    ],
    ids=["heads", "scale", "softcap", "not causal", "causal", "no window", "window"],
)
def test_request_overrides_the_model(message: pb.AttendRequest, expected: dict[str, Any]) -> None:
    settings = vars(decoded(message).request.settings)

    assert settings == {**vars(CAUSAL.defaults), **expected}


@pytest.mark.parametrize(
    ("heads", "key_width", "expected"),
    [
        (pb.HeadConfig(num_heads=2), 8, AttentionSettings(2, 2, scale=0.5)),
        (pb.HeadConfig(num_heads=2, num_kv_heads=1), 4, AttentionSettings(2, 1, scale=0.5)),
        (pb.HeadConfig(num_heads=8, num_kv_heads=2), 2, AttentionSettings(8, 2, scale=1.0)),
        (pb.HeadConfig(num_heads=2, scale=3.0), 8, AttentionSettings(2, 2, scale=3.0)),
        (pb.HeadConfig(num_heads=2, softcap=5.0), 8, AttentionSettings(2, 2, 0.5, softcap=5.0)),
    ],
)
def test_heads_of_the_built_in_model_are_the_requests(
    heads: pb.HeadConfig, key_width: int, expected: AttentionSettings
) -> None:
    request = decoded(sdpa(key=floats(2, 4, key_width), heads=heads)).request

    assert request.settings == expected


def test_top_k_over_the_keys_there_are_is_all_of_them() -> None:
    outputs = pb.OutputSpec(weights=pb.WeightsSpec(top_k=2**32 - 1))

    weights = decoded(sdpa(outputs=outputs)).request.outputs.weights

    assert weights is not None
    assert weights.top_k == 4


@pytest.mark.parametrize(
    ("outputs", "field"),
    [
        (pb.OutputSpec(scores=pb.ScoresSpec()), "outputs.scores"),
        (pb.OutputSpec(projections=True), "outputs.projections"),
        (pb.OutputSpec(head_outputs=True), "outputs.head_outputs"),
        (pb.OutputSpec(log_sum_exp=True), "outputs.log_sum_exp"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_output_that_the_model_cannot_give_is_refused(outputs: pb.OutputSpec, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decoded(layer(outputs=outputs))

    assert caught.value.reason is Reason.OUTPUT_NOT_SUPPORTED
    assert caught.value.violations[0].field == field


@pytest.mark.parametrize("size", [0, 128])
def test_request_id_is_kept(size: int) -> None:
    assert decoded(sdpa(request_id="x" * size)).form.request_id == "x" * size


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        (pb.DATA_TYPE_UNSPECIFIED, pb.DATA_TYPE_FLOAT32),
        (pb.DATA_TYPE_FLOAT32, pb.DATA_TYPE_FLOAT32),
        (pb.DATA_TYPE_FLOAT16, pb.DATA_TYPE_FLOAT16),
        (pb.DATA_TYPE_BFLOAT16, pb.DATA_TYPE_BFLOAT16),
    ],
)
def test_answers_type_is_the_one_asked_for(
    asked: pb.DataType.ValueType, given: pb.DataType.ValueType
) -> None:
    assert decoded(sdpa(outputs=pb.OutputSpec(data_type=asked))).form.data_type == given


def test_sizes_are_checked_before_any_data_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor, "decode", lambda _: pytest.fail("data was read"))
    small = Limits(message_bytes=1 << 16, batch=1, length=1, work=1, stream_bytes=1 << 16)

    with pytest.raises(InvalidRequest):
        decode(sdpa(), Catalog([SDPA]), small)


def test_positions_that_are_not_used_are_refused_before_any_data_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tensor, "decode", lambda _: pytest.fail("data was read"))

    with pytest.raises(InvalidRequest) as refused:
        decoded(sdpa(query_positions=pb.Tensor()))

    assert refused.value.reason is Reason.POSITIONS_NOT_USED
