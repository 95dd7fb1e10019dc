"""A layer in stages, written node by node: what the engine takes, whoever exported it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx

from attention_server.domain.model import AttentionSettings, Model, ModelKey
from attention_server.domain.request import AttendRequest, Float32Array
from attention_service.reference import Projections
from tests import node_by_node
from tests.unit.server.attend_requests import Dims, Masks, Options, attend_request

DIMS = Dims(heads=4, kv_heads=2, head_dim=5, value_head_dim=3)
MODEL = Model(
    key=ModelKey("layer", "1"),
    query_dim=12,
    key_dim=8,
    value_dim=6,
    output_dim=10,
    head_dim=DIMS.head_dim,
    value_head_dim=DIMS.value_head_dim,
    defaults=AttentionSettings(DIMS.heads, DIMS.kv_heads, scale=1.0 / math.sqrt(DIMS.head_dim)),
)


def stages(projections: Projections) -> dict[str, bytes]:
    """Returns each stage of ``MODEL`` by its file name."""
    return node_by_node.stages(projections, heads=DIMS.heads, kv_heads=DIMS.kv_heads)


def mergeable(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Returns the same stages for the operators that the graphs of attention are made for."""
    changed: dict[str, bytes] = {}
    for name, content in files.items():
        model = onnx.load_model_from_string(content)
        model.opset_import[0].version = 23
        changed[name] = model.SerializeToString()
    return changed


def layer_request(
    dims: Dims = DIMS,
    masks: Masks | None = None,
    options: Options | None = None,
    *,
    seed: int = 0,
    spread: float = 1.0,
) -> AttendRequest:
    """Returns a request for the layer, of its widths and its heads."""
    random = np.random.default_rng(seed)
    request = attend_request(dims, masks, options, seed=seed)

    def normal(length: int, width: int) -> Float32Array:
        return (spread * random.standard_normal((dims.batch, length, width))).astype(np.float32)

    return replace(
        request,
        model=MODEL.key,
        query=normal(dims.query_len, MODEL.query_dim),
        key=normal(dims.kv_len, MODEL.key_dim),
        value=normal(dims.kv_len, MODEL.value_dim),
    )
