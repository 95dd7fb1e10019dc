"""Whether the Attention operator of the ONNX Runtime at hand computes what it should."""

from __future__ import annotations

import numpy as np

from attention_server.engine.providers import Runtime
from attention_server.engine.session import DeviceTensor, Session

__all__ = ["attends_rightly"]


def attends_rightly(
    runtime: Runtime, session: Session, *, masked: bool, with_weights: bool
) -> bool:
    """Returns whether a graph of the operator is right where releases of it were wrong.

    That is: heads that share a key and value head, masks that differ between heads, and rows that
    may attend to nothing. All scores are equal and each value is the number of its head, from 1,
    so every head output is that number, or 0 where nothing is in sight.

    Args:
        runtime: ONNX Runtime.
        session: Query, key, value, scale and perhaps attn_bias -> head_outputs, perhaps weights.
        masked: Whether the graph takes a bias.
        with_weights: Whether the graph gives weights.
    """
    kv_head = np.arange(1, 3, dtype=np.float32)[None, :, None, None]
    inputs = {
        "query": np.ones((2, 4, 2, 2), np.float32),  # [batch, heads, query_len, head_dim]
        "key": np.ones((2, 2, 3, 2), np.float32),  # [batch, kv_heads, kv_len, head_dim]
        "value": np.broadcast_to(kv_head, (2, 2, 3, 2)),
        "scale": np.array(1, np.float32),
    }
    right = {
        "head_outputs": np.broadcast_to(np.repeat(kv_head, 2, axis=1), (2, 4, 2, 2)),
        "weights": np.full((2, 4, 2, 3), 1 / 3),
    }
    if masked:
        # Every other query sees nothing: which ones, changes with each sequence and each head.
        blind = np.indices((2, 4, 2, 1)).sum(axis=0) % 2 == 0
        bias = np.where(blind, -np.inf, 0.0).astype(np.float32)
        inputs["attn_bias"] = np.broadcast_to(bias, (2, 4, 2, 3))
        right = {name: np.where(blind, 0.0, tensor) for name, tensor in right.items()}
    tensors = {name: DeviceTensor.from_host(runtime, array) for name, array in inputs.items()}
    try:
        outputs = ["head_outputs", "weights"] if with_weights else ["head_outputs"]
        results = dict(zip(outputs, session.run(outputs, tensors), strict=True))
    except Exception:  # noqa: BLE001 - ONNX Runtime has a class of its own for each refusal
        return False
    return all(
        np.allclose(result.to_host(), right[name], rtol=1e-6, atol=0.0)
        for name, result in results.items()
    )
