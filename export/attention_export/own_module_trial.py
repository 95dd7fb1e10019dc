"""What a module must show that says of itself that it computes attention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from attention_export.errors import SourceError
from attention_export.own_module_call import Inputs, Results

__all__ = ["check_reach", "check_results", "check_sight", "trial_inputs"]

_BATCH, _QUERY_LEN, _KV_LEN = 2, 5, 7
_FAR = 200  # tokens, more than the windows that people begin with
_ROUNDING = 1e-5  # a softmax in float32 is right, too


def trial_inputs(
    query_dim: int,
    key_dim: int,
    value_dim: int,
    *,
    query_len: int = _QUERY_LEN,
    kv_len: int = _KV_LEN,
) -> Inputs:
    """Returns inputs by name, float32 and bool, in which every query may attend to some keys.

    Raises:
        SourceError: A dimension under 1.
    """
    for name, dim in (("query_dim", query_dim), ("key_dim", key_dim), ("value_dim", value_dim)):
        if dim < 1:
            raise SourceError(f"{name} must be at least 1, not {dim}")
    random = np.random.default_rng(0)
    attend_mask = random.random((_BATCH, 1, query_len, kv_len)) < 0.6
    attend_mask[..., 0] = np.arange(query_len) % 2 == 0
    attend_mask[..., -1] = True
    return {
        "query": random.standard_normal((_BATCH, query_len, query_dim)).astype(np.float32),
        "key": random.standard_normal((_BATCH, kv_len, key_dim)).astype(np.float32),
        "value": random.standard_normal((_BATCH, kv_len, value_dim)).astype(np.float32),
        "attend_mask": attend_mask,
    }


def check_results(results: Results, again: Results, inputs: Inputs) -> None:
    """Checks the shapes and the numbers, and that the same inputs give the same twice.

    Raises:
        SourceError: They are none of an attention layer.
    """
    output, *rest = results
    if output.ndim != 3 or output.shape[:2] != (_BATCH, _QUERY_LEN) or not output.shape[2]:
        raise SourceError(
            "the module's output must be [batch, query_len, output_dim], here "
            f"[{_BATCH}, {_QUERY_LEN}, any]; it is {list(output.shape)}"
        )
    for weights in rest:
        if weights.ndim != 4 or weights.shape != (_BATCH, weights.shape[1], _QUERY_LEN, _KV_LEN):
            raise SourceError(
                "the module's weights must be those of each head, [batch, heads, query_len, "
                f"kv_len], here [{_BATCH}, any, {_QUERY_LEN}, {_KV_LEN}]; they are "
                f"{list(weights.shape)}"
            )
    if not all(np.isfinite(tensor).all() for tensor in results):
        raise SourceError(
            "the module's results are not finite, though every query may attend to some key: it "
            "must attend wherever attend_mask is true, and leave causality to the mask"
        )
    if any(np.any(first != second) for first, second in zip(results, again, strict=True)):
        raise SourceError(
            "the module gives other results when it is called again with the same inputs: in "
            "evaluation mode nothing may be random (dropout neither) or kept from call to call"
        )
    for weights in rest:
        _check_weights(weights, np.asarray(inputs["attend_mask"]))


def _check_weights(weights: NDArray[np.float64], attend_mask: NDArray[np.generic]) -> None:
    if np.any(np.where(attend_mask, 0.0, weights)):
        raise SourceError(
            "the module's weights must be 0 wherever attend_mask is false (true means: may "
            "attend), and leave causality to the mask; they are not"
        )
    if np.abs(weights.sum(axis=-1) - 1.0).max() > _ROUNDING or weights.min() < 0.0:
        raise SourceError(
            "the module's weights are no attention weights: over the keys of each query they must "
            "be 0 or more and sum to 1"
        )


def check_sight(results: Results, run: Callable[[Inputs], Results], inputs: Inputs) -> None:
    """Checks that a key and its value change only the queries that may attend to them.

    Raises:
        SourceError: They change others: the mask is not used, or taken the other way round.
    """
    changed = {name: array.copy() for name, array in inputs.items()}
    for name in ("key", "value"):
        changed[name][0, 0] += 1.0
    may_change = np.zeros((_BATCH, _QUERY_LEN), dtype=bool)
    may_change[0] = inputs["attend_mask"][0, 0, :, 0]
    difference = np.abs(run(changed)[0] - results[0]).max(axis=-1)  # [batch, query_len]
    if difference[1].any():
        raise SourceError(
            "the module mixes the sequences of a batch: the first dimension of its inputs must "
            "be the batch (batch_first)"
        )
    if difference[~may_change].any():
        raise SourceError(
            "the module's output changes with a key that attend_mask forbids: it must use the "
            "mask, in which true means: may attend"
        )


def check_reach(
    run: Callable[[Inputs], Results], query_dim: int, key_dim: int, value_dim: int
) -> None:
    """Checks that queries attend to the key that is farthest from them, where no other is allowed.

    Raises:
        SourceError: Some do not: the module has a window, or a causality, of its own.
    """
    inputs = trial_inputs(query_dim, key_dim, value_dim, query_len=_FAR, kv_len=_FAR)
    attend_mask = np.zeros((_BATCH, 1, _FAR, _FAR), dtype=bool)
    attend_mask[:, :, : _FAR // 2, -1] = attend_mask[:, :, _FAR // 2 :, 0] = True
    given = {**inputs, "attend_mask": attend_mask}
    base = run(given)[0]

    def difference(keys: slice) -> NDArray[np.float64]:
        changed = {name: array.copy() for name, array in given.items()}
        for name in ("key", "value"):
            changed[name][:, keys] += 1.0
        moved: NDArray[np.float64] = np.abs(run(changed)[0] - base).max(axis=-1)
        return moved  # [batch, query_len]

    reached = difference(slice(None, None, _FAR - 1)).all()  # the first and the last
    if not np.isfinite(base).all() or not reached or difference(slice(1, -1)).any():
        raise SourceError(
            f"the module computes something else over {_FAR} tokens: a query must attend to the "
            "key that attend_mask allows, however far away; leave windows and causality to the mask"
        )
