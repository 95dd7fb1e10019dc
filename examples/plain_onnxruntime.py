"""Runs an exported layer in plain ONNX Runtime: numpy beside it, and nothing of this project.

python examples/plain_onnxruntime.py                  # the demo model
python examples/plain_onnxruntime.py models/mine/1    # a layer of yours
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # official builds report, unless told not to
import onnxruntime

DEMO = Path(__file__).parents[1] / "server/attention_server/models/built_in/demo/1"
BATCH, LENGTH = 2, 6


def main(directory: Path) -> None:
    """Attends with a causal mask over random vectors and prints what comes out."""
    manifest = json.loads((directory / "manifest.json").read_bytes())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # ONNX infers a wrong shape for the weights, and warns of it
    session = onnxruntime.InferenceSession(directory / "model.onnx", options)

    random = np.random.default_rng(0)
    query, key, value = (
        random.standard_normal((BATCH, LENGTH, manifest[dim]), dtype=np.float32)
        for dim in ("query_dim", "key_dim", "value_dim")
    )
    if query.shape == key.shape == value.shape:  # self-attention, where the layer can
        key = value = query
    places = np.tile(np.arange(LENGTH, dtype=np.int32), (BATCH, 1))  # [batch, length]
    up_to_itself = np.tile(np.tri(LENGTH, dtype=bool), (BATCH, 1, 1, 1))  # true: may attend
    known = {
        "query": query,
        "key": key,
        "value": value,
        "attend_mask": up_to_itself,  # [batch, 1, query_len, kv_len]
        "query_positions": places,
        "key_positions": places,
    }
    inputs = {wanted.name: known[wanted.name] for wanted in session.get_inputs()}
    names = [output.name for output in session.get_outputs()]
    results = dict(zip(names, session.run(names, inputs), strict=True))

    print(f"{manifest['name']}: {', '.join(inputs)} -> {', '.join(results)}")
    print("output", list(results["output"].shape))
    if "weights" in results:
        weights = results["weights"]  # [batch, heads, query_len, kv_len]
        print("weights", list(weights.shape))
        print(f"each row sums to 1, within {np.abs(weights.sum(axis=-1) - 1).max():.0e}")
        print(f"weight on what a query may not see: {weights[..., ~up_to_itself[0, 0]].max():.0f}")
        print("head 0 of the first sequence:")
        print(np.array_str(weights[0, 0], precision=2, suppress_small=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEMO)
