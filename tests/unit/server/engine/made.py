"""Requests of the domain for the made models."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attention_server.domain.model import NO_WINDOW, Model
from attention_server.domain.request import AttendRequest, Float32Array, Mask, Outputs, WeightRows
from attention_server.models.repository import model_of
from tests.made_models import MODELS, WIDTH

BATCH, QUERY_LEN, KV_LEN = 3, 4, 6
WEIGHTS = Outputs(weights=WeightRows())


def described(name: str) -> Model:
    return model_of(MODELS[name].manifest)


def made_request(name: str, **fields: Any) -> AttendRequest:
    """Returns a request without causality, window and softcap, with other fields than usual."""
    model, random = described(name), np.random.default_rng(0)

    def normal(length: int) -> Float32Array:
        return random.standard_normal((BATCH, length, WIDTH)).astype(np.float32)

    key = normal(KV_LEN)
    uses_positions = model.positions != "none"
    request = AttendRequest(
        model=model.key,
        query=normal(QUERY_LEN),
        key=key,
        value=key,
        mask=Mask(kv_lengths=np.full(BATCH, KV_LEN), query_lengths=np.full(BATCH, QUERY_LEN)),
        settings=replace(model.defaults, causal="none", window=NO_WINDOW, softcap=0.0),
        outputs=WEIGHTS,
        query_positions=np.arange(QUERY_LEN, dtype=np.int32)[None] if uses_positions else None,
        key_positions=np.arange(KV_LEN, dtype=np.int32)[None] if uses_positions else None,
    )
    return replace(request, **fields)
