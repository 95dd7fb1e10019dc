"""Load over the Open Inference Protocol: ``python -m bench.rivals.inference_load ADDRESS ...``.

Runs in a rival's environment. Each line of its input holds keywords as JSON, each line of its
output the figures of that round.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray

from bench.loops import load

_PATIENCE = 60.0  # seconds until the model is ready


def main(address: str, width: int, low: int, high: int) -> None:
    """Measures a round for each line, until there are no more."""
    client = triton.InferenceServerClient(address)
    _wait_for_model(client)

    def ask(x: NDArray[np.float32]) -> Any:
        query = triton.InferInput("query", (1, *x.shape), "FP32")
        query.set_data_from_numpy(x[None])
        return client.infer("layer", [query]).as_numpy("output")

    measure = load(ask, width, low, high)
    print("{}", flush=True)
    for line in sys.stdin:
        print(json.dumps(measure(**json.loads(line))), flush=True)


def _wait_for_model(client: Any) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            if client.is_model_ready("layer"):
                return
        except Exception:  # noqa: BLE001, S110  # it does not listen yet
            pass
        time.sleep(0.1)
    raise SystemExit(f"the model was not ready within {_PATIENCE:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:5]))
