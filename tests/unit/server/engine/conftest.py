"""The engine on the CPU, with "sdpa" and one layer that projects."""

from __future__ import annotations

import numpy as np
import pytest

from attention_server.domain.request import Float32Array
from attention_server.engine.engine import Engine
from attention_server.engine.providers import Runtime, load_runtime
from attention_service.reference import Projections
from tests.unit.server.engine.stages import DIMS, MODEL, mergeable, stages


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    return load_runtime(intra_op_threads=1)


@pytest.fixture(scope="session")
def projections() -> Projections:
    random = np.random.default_rng(0)

    def matrix(rows: int, columns: int) -> Float32Array:
        matrix = random.standard_normal((rows, columns)) / np.sqrt(rows)
        return np.asarray(matrix, np.float32)

    heads, kv_heads = DIMS.heads, DIMS.kv_heads
    return Projections(
        w_q=matrix(MODEL.query_dim, heads * DIMS.head_dim),
        w_k=matrix(MODEL.key_dim, kv_heads * DIMS.head_dim),
        w_v=matrix(MODEL.value_dim, kv_heads * DIMS.value_head_dim),
        w_o=matrix(heads * DIMS.value_head_dim, MODEL.output_dim),
        b_o=random.standard_normal(MODEL.output_dim).astype(np.float32),
    )


@pytest.fixture(scope="session")
def engine(runtime: Runtime, projections: Projections) -> Engine:
    engine = Engine(runtime)
    engine.load(MODEL, stages(projections))
    return engine


@pytest.fixture(scope="session")
def merging_engine(runtime: Runtime, projections: Projections) -> Engine:
    """An engine whose layer can be one graph: its stages are for the operators of attention."""
    engine = Engine(runtime)
    engine.load(MODEL, mergeable(stages(projections)))
    return engine
