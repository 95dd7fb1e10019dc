"""However long a sequence, no matrix of all its pairs is made that the request did not bring."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from attention_server.domain.request import Outputs
from attention_server.engine.engine import Engine
from tests.unit.server.attend_requests import Dims, Masks, Options, attend_request
from tests.unit.server.engine.answers import result_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads memory from /proc")

_LENGTH = 8192
_DIMS = Dims(batch=1, query_len=_LENGTH, kv_len=_LENGTH, heads=2, kv_heads=2, head_dim=4)
# Of all pairs of one head a bool takes 64 MiB and a float 256; a block's floats take 8.
_IN_ONE_STEP, _STEP_BY_STEP = 60 << 20, 160 << 20

_FORMS: Mapping[str, Callable[[], Masks]] = {
    "no mask": Masks,
    "causal": lambda: Masks(causal="lower_right"),
    "window": lambda: Masks(window=(500, 500)),
    "lengths": lambda: Masks(kv_lengths=[7000], query_lengths=[7000]),
    "lengths, nearly all": lambda: Masks(kv_lengths=[_LENGTH - 1]),
    "key mask": lambda: Masks(key_mask=np.arange(_LENGTH)[None] % 3 > 0),
    "mask of pairs": lambda: Masks(
        attend_mask=np.tri(_LENGTH, dtype=np.bool_)[None, None], causal="upper_left"
    ),
    "mask of keys and heads": lambda: Masks(
        attend_mask=np.ones((1, 2, 1, _LENGTH), np.bool_), causal="upper_left"
    ),
    "bias": lambda: Masks(attn_bias=np.zeros((1, 1, _LENGTH, _LENGTH), np.float32)),
}


def _status(field: str) -> int:
    """Returns what this process holds, or has held at most, bytes."""
    found = re.search(
        rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE
    )
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.parametrize(
    ("outputs", "softcap", "bound"),
    [
        (Outputs(), 0.0, _IN_ONE_STEP),
        (Outputs(), 5.0, _STEP_BY_STEP),
        (Outputs(output=False, analysis={}), 0.0, _IN_ONE_STEP),
    ],
    ids=["in one step", "step by step", "analysis"],
)
@pytest.mark.parametrize("form", _FORMS)
def test_a_long_sequence_takes_no_memory_for_all_its_pairs(
    engine: Engine, form: str, outputs: Outputs, softcap: float, bound: int
) -> None:
    request = attend_request(_DIMS, _FORMS[form](), Options(outputs=outputs, softcap=softcap))
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")

    result_of(engine, request)

    taken = _status("VmHWM") - before
    assert taken < bound, f"{taken >> 20} MiB"
