"""Good requests of every kind, small, to be damaged."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from google.protobuf.message import Message

from attention_service.v1 import attention_pb2 as pb
from tests.made_models import WIDTH
from tests.messages import array, booleans, floats, layer, sdpa
from tests.stream import cancel, in_chunks, request

BATCH, QUERY_LEN, KV_LEN, HEADS = 2, 2, 3, 2
DEMO_DIM = 256


class Good(NamedTuple):
    """A request that the server answers."""

    rpc: str
    message: Message

    @property
    def data(self) -> bytes:
        """The message as it travels."""
        return self.message.SerializeToString(deterministic=True)


_DTYPES = (np.float32, np.float16, ml_dtypes.bfloat16)
_PAIRS = (QUERY_LEN, KV_LEN)
_MASKS: dict[str, Any] = {
    "none": {},
    "lengths": {"kv_lengths": [KV_LEN, 1], "query_lengths": [1, QUERY_LEN]},
    "offsets": {"query_offsets": [0, 2**31 - 1], "causal": pb.CAUSAL_MODE_UPPER_LEFT},
    "key_mask": {"key_mask": booleans(BATCH, KV_LEN)},
    "attend_mask of pairs": {"attend_mask": booleans(*_PAIRS)},
    "attend_mask of sequences": {"attend_mask": booleans(BATCH, *_PAIRS)},
    "attend_mask of heads": {"attend_mask": booleans(1, HEADS, 1, KV_LEN)},
    "bias of pairs": {"attn_bias": floats(*_PAIRS)},
    "bias of heads": {"attn_bias": floats(BATCH, HEADS, *_PAIRS, dtype=np.float16)},
    "window": {"window": pb.SlidingWindow(left=1, right=0)},
    "no window": {"window": pb.SlidingWindow(), "causal": pb.CAUSAL_MODE_NONE},
    "all": {
        "kv_lengths": [KV_LEN, 0],
        "query_lengths": [QUERY_LEN, 1],
        "query_offsets": [1, 0],
        "key_mask": booleans(BATCH, KV_LEN),
        "attend_mask": booleans(BATCH, *_PAIRS),
        "attn_bias": floats(1, 1, *_PAIRS, fill=-np.inf),
        "causal": pb.CAUSAL_MODE_LOWER_RIGHT,
        "window": pb.SlidingWindow(left=2**32 - 1),
    },
}
_OUTPUTS = (
    None,
    pb.OutputSpec(weights=pb.WeightsSpec()),
    pb.OutputSpec(
        weights=pb.WeightsSpec(heads=[1, 0, 1], query_indices=[1], top_k=2), log_sum_exp=True
    ),
    pb.OutputSpec(weights=pb.WeightsSpec(average_heads=True, top_k=1), omit_output=True),
    pb.OutputSpec(scores=pb.ScoresSpec(heads=[1], query_indices=[0, 0])),
    pb.OutputSpec(projections=True, head_outputs=True, data_type=pb.DATA_TYPE_FLOAT16),
    pb.OutputSpec(log_sum_exp=True, data_type=pb.DATA_TYPE_BFLOAT16),
    pb.OutputSpec(
        weights=pb.WeightsSpec(), scores=pb.ScoresSpec(), projections=True, head_outputs=True
    ),
)


def _attend() -> Iterator[pb.AttendRequest]:
    dtypes, outputs = cycle(_DTYPES), cycle(_OUTPUTS)
    for mask in _MASKS.values():
        for _ in _OUTPUTS[::3]:
            dtype = next(dtypes)
            yield sdpa(
                request_id="é",
                query=floats(BATCH, QUERY_LEN, 2 * HEADS, dtype=dtype),
                key=floats(BATCH, KV_LEN, HEADS, dtype=dtype),
                value=floats(BATCH, KV_LEN, 1, dtype=dtype),
                mask=pb.Mask(**mask),
                heads=pb.HeadConfig(num_heads=HEADS, num_kv_heads=1, scale=0.5, softcap=3.0),
                outputs=next(outputs),
            )
            yield sdpa(
                query=floats(BATCH, KV_LEN, HEADS, dtype=dtype),
                key=None,
                value=None,
                mask=pb.Mask(kv_lengths=[1, KV_LEN]),
                heads=pb.HeadConfig(num_heads=HEADS, ablated_heads=[1]),
                outputs=next(outputs),
            )
    for version in ("", "2", "10"):
        for spec in _OUTPUTS:
            yield layer(
                model_version=version,
                query=floats(1, QUERY_LEN, 12, dtype=next(dtypes)),
                key=floats(1, KV_LEN, 8),
                value=floats(1, KV_LEN, 6),
                mask=pb.Mask(kv_lengths=[2]),
                outputs=spec,
            )
    yield pb.AttendRequest(model="demo", query=array(np.ones((1, 1, DEMO_DIM)), np.float16))
    yield from _of_made_models()


def _of_made_models() -> Iterator[pb.AttendRequest]:
    query, key = floats(BATCH, QUERY_LEN, WIDTH), floats(BATCH, KV_LEN, WIDTH)
    for name, spec in zip(("rotary", "biased"), _OUTPUTS[1:3], strict=True):
        yield pb.AttendRequest(
            model=name,
            query=query,
            key=key,
            mask=pb.Mask(causal=pb.CAUSAL_MODE_NONE),
            query_positions=array([[5, 0]] * BATCH, np.int32),
            key_positions=array([[2**31 - 1, 7, 0]] * BATCH, np.int32),
            outputs=spec,
        )
        yield pb.AttendRequest(model=name, query=query, mask=pb.Mask(query_offsets=[4, 0]))
    mask = pb.Mask(kv_lengths=[KV_LEN, 0], causal=pb.CAUSAL_MODE_UPPER_LEFT)
    yield pb.AttendRequest(model="whole", query=query, key=key, mask=mask, outputs=_OUTPUTS[1])
    yield pb.AttendRequest(model="output-only", query=query)


def _requests() -> Iterator[Good]:
    for message in _attend():
        yield Good("Attend", message)
    for size, token in ((0, ""), (1, ""), (2**31 - 1, "layer/2")):
        yield Good("ListModels", pb.ListModelsRequest(page_size=size, page_token=token))
    for name, version in (("sdpa", ""), ("layer", "10")):
        yield Good("GetModel", pb.GetModelRequest(model=name, model_version=version))
    yield Good("GetServerInfo", pb.GetServerInfoRequest())
    pairs = [pb.Pair(sequence=1, query=2, key=3), pb.Pair()]
    relations = [pb.Relation(name="nsubj", pairs=pairs), pb.Relation(name="none")]
    for message in (sdpa(), layer(mask=pb.Mask(kv_lengths=[2, 0], query_lengths=[0, 3]))):
        yield Good("AnalyzeHeads", pb.AnalyzeHeadsRequest(attend=message, relations=relations))


GOOD = tuple(_requests())


def _streamed() -> Iterator[Good]:
    for i, attend in enumerate(_attend()):
        whole = request(f"{i % 3}", attend)
        whole.request.request_id = ""
        yield Good("AttendStream", whole)
        first, *chunks = in_chunks(f"{i % 3}", whole.request, 40)
        yield from (Good("AttendStream", message) for message in (first, *chunks[:2]))
    yield Good("AttendStream", cancel("1"))


STREAMED = tuple(_streamed())
"""Messages of a stream: whole requests, first messages of others, chunks, a cancel."""
