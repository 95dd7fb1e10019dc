"""What takes hardly longer than having another thread do it, and what might hold the server up."""

from __future__ import annotations

import numpy as np
import pytest

from attention_server.domain.request import Outputs
from attention_server.engine.engine import Engine
from tests.unit.server.attend_requests import Dims, Options, attend_request

_MANY_PAIRS = Outputs(analysis={"parent": np.zeros((60_000, 3), np.int64)})


@pytest.mark.parametrize(
    ("dims", "outputs", "is_brief"),
    [
        (Dims(1, 16, 16, 12, 12, 32, 32), Outputs(), True),
        (Dims(1, 64, 64, 12, 12, 64, 64), Outputs(), True),
        (Dims(1, 512, 512, 12, 12, 64, 64), Outputs(), False),
        (Dims(1, 2048, 2048, 1, 1, 1, 1), Outputs(), False),
        (Dims(512, 32, 32, 1, 1, 1, 1), Outputs(), False),
        (Dims(1, 1, 1, 1, 1, 1 << 20, 1), Outputs(), False),
        (Dims(1, 4, 4, 12, 12, 4, 4), Outputs(analysis={}), True),
        (Dims(1, 4, 4, 12, 12, 4, 4), _MANY_PAIRS, False),
    ],
    ids=[
        "few tokens",
        "64 tokens",
        "many products",
        "many scores of narrow heads",
        "many sequences",
        "wide embeddings",
        "an analysis",
        "many related pairs",
    ],
)
def test_what_is_brief(engine: Engine, dims: Dims, outputs: Outputs, is_brief: bool) -> None:
    assert engine.is_brief(attend_request(dims, options=Options(outputs))) is is_brief
