"""A person's own attention module: what it gives, found by running it, and what is right of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from attention_export.errors import SourceError
from attention_export.own_module_call import Inputs, Results, call, check_forward
from attention_export.own_module_trial import (
    check_reach,
    check_results,
    check_sight,
    trial_inputs,
)
from attention_export.sources.torch_module import ARGUMENTS
from attention_export.verification import TOLERANCE
from attention_export.verification_cases import Case
from attention_service.manifest import WHOLE_OUTPUTS, Positions

__all__ = ["OwnModule"]

_ROUNDING = TOLERANCE / 5
_LEAST_SPREAD = 1e-3


@dataclass(frozen=True)
class OwnModule:
    """A module with ``forward(query, key, value, attend_mask)``, in evaluation mode on the CPU."""

    module: nn.Module
    """In float32, for its graph."""
    exact: nn.Module
    """In float64, for what is right."""
    query_dim: int
    key_dim: int
    value_dim: int
    output_dim: int
    num_heads: int
    """Heads of the weights, 1 where the module gives none."""
    outputs: tuple[str, ...]
    """What the module gives: output, or output and weights."""
    spread: float
    """Standard deviation of inputs, at most 1, for verification: large scores, of which a module
    may say nothing, magnify float32's rounding."""

    # What a manifest says of a layer of which no more is known.
    head_dim: ClassVar[int] = 0
    value_head_dim: ClassVar[int] = 0
    scale: ClassVar[float] = 0.0
    softcap: ClassVar[float] = 0.0
    positions: ClassVar[Positions] = "none"

    @property
    def num_kv_heads(self) -> int:
        """As ``num_heads``."""
        return self.num_heads

    @classmethod
    def tried(
        cls,
        module: nn.Module,
        *,
        query_dim: int | None,
        key_dim: int | None = None,
        value_dim: int | None = None,
    ) -> OwnModule:
        """Returns the module with what running it tells.

        Args:
            module: In float32, in evaluation mode, on the CPU.
            query_dim: Last dimension of the query; it must be told.
            key_dim: That of the key; as ``query_dim`` if absent.
            value_dim: That of the value; as ``key_dim`` if absent.

        Raises:
            SourceError: A module that does not compute attention as it should.
        """
        check_forward(module)
        if query_dim is None:
            raise SourceError(
                "query_dim must be told, the last dimension of the query, and key_dim and "
                "value_dim where they differ: a module of your own does not show them"
            )
        key_dim = query_dim if key_dim is None else key_dim
        value_dim = key_dim if value_dim is None else value_dim
        inputs = trial_inputs(query_dim, key_dim, value_dim)
        exact = copy.deepcopy(module).double()
        in_float32 = partial(call, module, dtype=torch.float32)
        in_float64 = partial(call, exact, dtype=torch.float64)
        with torch.random.fork_rng(devices=[]):  # a module that draws is refused, without a trace
            in_float32(inputs)
            try:
                results = in_float64(inputs)
            except SourceError as error:
                raise SourceError(
                    "the module works in float32 and not in float64, in which its graph is "
                    f"checked: let what it makes take the dtype of its inputs; {error}"
                ) from error
            check_results(results, in_float64(inputs), inputs)
            check_sight(results, in_float64, inputs)
            many = trial_inputs(query_dim, key_dim, value_dim, query_len=33, kv_len=70)
            spread = _spread(in_float32, in_float64, many)
            check_reach(in_float64, query_dim, key_dim, value_dim)
        return cls(
            module=module,
            exact=exact,
            query_dim=query_dim,
            key_dim=key_dim,
            value_dim=value_dim,
            output_dim=results[0].shape[-1],
            num_heads=results[1].shape[1] if len(results) > 1 else 1,
            outputs=WHOLE_OUTPUTS[: len(results)],
            spread=spread,
        )

    def run(self, case: Case) -> Mapping[str, NDArray[np.float64]]:
        """Returns output and weights, in float64; 0 in rows that may attend to nothing."""
        sighted = np.asarray(
            case.attend_mask.any(axis=-1, keepdims=True)
        )  # [batch, 1, query_len, 1]
        inputs = {
            "query": case.query,
            "key": case.key,
            "value": case.value,
            "attend_mask": case.attend_mask,
        }
        output, *weights = call(self.exact, inputs, torch.float64)
        right = {"output": np.where(sighted[:, 0], output, 0.0)}
        if weights:
            right["weights"] = np.where(sighted, weights[0], 0.0)
        return right


def _spread(
    in_float32: Callable[[Inputs], Results], in_float64: Callable[[Inputs], Results], inputs: Inputs
) -> float:
    """Returns the largest spread of inputs with which rounding alone is far from the tolerance."""
    spread = 1.0
    while spread > _LEAST_SPREAD:
        scaled = {**inputs, **{name: spread * inputs[name] for name in ARGUMENTS[:3]}}
        pairs = zip(in_float32(scaled), in_float64(scaled), strict=True)
        if all(np.abs(x - right).max() <= _ROUNDING * np.abs(right).max() for x, right in pairs):
            break
        spread /= 2
    return spread
