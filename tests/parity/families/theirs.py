"""What transformers computes: its model is run, and one attention is watched at work.

Masks, rotations and biases are those that transformers makes of tokens, padding and positions; only
an attention that is run by itself, on hidden states, gets its mask from here.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.parity.closeness import relative_error
from tests.parity.families.case import Case
from tests.parity.families.row import Family, Layer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = ["LARGEST_ERROR", "Observed", "build", "configuration", "observe"]

BoolArray = NDArray[np.bool_]
Float32Array = NDArray[np.float32]

LARGEST_ERROR = 1e-5
"""Largest error of output and of weights, relative to the largest magnitude of each."""

# Ids below are left to padding, beginnings and ends, of which some models take notice.
FIRST_WORD, LAST_WORD = 10, 39


@dataclass(frozen=True)
class Observed:
    """One run of an attention: what it was given and what it gave."""

    query: Float32Array
    """[batch, query_len, width]."""
    key: Float32Array | None
    """[batch, kv_len, width]; None where it is the query."""
    attends: BoolArray
    """Whether a query may attend to a key, bool [batch, query_len, kv_len]."""
    output: Float32Array
    """[batch, query_len, width]."""
    weights: Float32Array
    """[batch, heads, query_len, kv_len]."""

    def errors(
        self, output: NDArray[np.floating[Any]] | None, weights: NDArray[np.floating[Any]] | None
    ) -> dict[str, float]:
        """Returns the largest error of each, relative to the largest magnitude.

        Rows without a key are left out: what transformers gives there means nothing.
        """
        assert output is not None
        assert weights is not None
        rows = np.any(self.attends, axis=-1)  # [batch, query_len]
        by_query = weights.swapaxes(1, 2), self.weights.swapaxes(1, 2)
        return {
            "output": relative_error(output[rows], self.output[rows]),
            "weights": relative_error(*(tensor[rows] for tensor in by_query)),
        }


@dataclass(frozen=True)
class _Call:
    """One call of an attention, in transformers' own terms."""

    states: Tensor
    memory: Tensor | None
    mask: Tensor | None
    output: Tensor
    weights: Tensor


def configuration(family: Family) -> PreTrainedConfig:
    """Returns the model's configuration, with attention that gives its weights."""
    config: PreTrainedConfig = _architecture(family).config_class(
        **family.config, attn_implementation="eager"
    )
    return config


def build(family: Family) -> PreTrainedModel:
    """Returns the model, in evaluation mode, the same for the same family."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: PreTrainedModel = _architecture(family)(configuration(family)).eval()
        _disturb(model)
    return model


def _architecture(family: Family) -> Any:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_HUB_OFFLINE", "1")
        import transformers

        return getattr(transformers, family.architecture)


def _disturb(model: nn.Module) -> None:
    """Moves every parameter: as transformers draws them, biases are 0, norms 1, attention flat."""
    with torch.no_grad():
        for parameter in model.parameters():
            spread = 0.3 if parameter.dim() < 2 else min(parameter.shape) ** -0.5
            parameter.add_(spread * torch.randn(parameter.shape))


def observe(model: nn.Module, layer: Layer, case: Case) -> Observed:
    """Returns what the layer's attention did in the last step of a case."""
    attention = model.get_submodule(layer.place)
    with torch.no_grad(), _watched(attention, layer) as calls:
        if layer.runs is None:
            attention(**_states(layer, case))
        else:
            _run(model.get_submodule(layer.runs), layer, case)
    last = calls[-1]
    key = last.memory
    if key is None and case.step is not None:
        key = torch.cat([call.states for call in calls], dim=1)
    kv_len = last.states.shape[1] if key is None else key.shape[1]
    weights = _all_keys(last.weights, kv_len)
    attends = torch.ones_like(last.weights[:, 0], dtype=torch.bool)
    if last.mask is not None:
        attends &= last.mask[:, 0] > torch.finfo(torch.float32).min / 2
    return Observed(
        query=last.states.numpy(),
        key=None if key is None else key.numpy(),
        attends=_all_keys(attends, kv_len).numpy(),
        output=last.output.numpy(),
        weights=weights.numpy(),
    )


def _all_keys(x: Tensor, kv_len: int) -> Tensor:
    """Returns [.., kept keys] as [.., kv_len]: a cache forgets keys that a window has passed."""
    return nn.functional.pad(x, (kv_len - x.shape[-1], 0))


@contextmanager
def _watched(attention: nn.Module, layer: Layer) -> Iterator[list[_Call]]:
    """Lists every call of the attention, with its arguments by name."""
    calls: list[_Call] = []
    outputs: list[Tensor] = []
    signature = inspect.signature(attention.forward)

    def ended(_: nn.Module, __: tuple[Any, ...], result: Any) -> None:
        outputs.append(result[0] if isinstance(result, tuple) else result)

    def called(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: tuple[Any, ...]
    ) -> None:
        given = signature.bind(*args, **kwargs).arguments
        memory = _first(given, "key_value_states", "encoder_hidden_states")
        masks = ("encoder_attention_mask",) if layer.cross else ()
        mask = _first(given, *masks, "attention_mask", "mask")
        calls.append(_Call(given["hidden_states"], memory, mask, outputs.pop(), result[-1]))

    hooks = (
        attention.get_submodule(layer.ends).register_forward_hook(ended),
        attention.register_forward_hook(called, with_kwargs=True),
    )
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _first(given: Mapping[str, Any], *names: str) -> Tensor | None:
    return next((given[name] for name in names if given.get(name) is not None), None)


def _states(layer: Layer, case: Case) -> dict[str, Tensor]:
    """Returns random hidden states and a float mask, as an attention of transformers takes them."""
    batch, query_len, kv_len = len(case.padding), case.length, case.kv_len(layer)
    normal = torch.Generator().manual_seed(case.length)
    allowed = torch.from_numpy(case.key_mask(layer))[:, None, None].expand(-1, -1, query_len, -1)
    given = {
        "hidden_states": torch.randn(batch, query_len, layer.width, generator=normal),
        "attention_mask": torch.zeros(allowed.shape).masked_fill(
            ~allowed, torch.finfo(torch.float32).min
        ),
    }
    if layer.cross:
        given["key_value_states"] = torch.randn(batch, kv_len, layer.width, generator=normal)
    return given


def _run(stack: nn.Module, layer: Layer, case: Case) -> None:
    """Runs a model on random tokens, at once or in two steps."""
    batch, kv_len = len(case.padding), case.kv_len(layer)
    random = torch.Generator().manual_seed(case.length)
    tokens = torch.randint(FIRST_WORD, LAST_WORD + 1, (batch, case.length), generator=random)
    key_mask = torch.from_numpy(case.key_mask(layer)).long()
    token_mask = torch.ones_like(tokens) if layer.cross else key_mask
    given: dict[str, Any] = {}
    if layer.memory or layer.cross:
        given["encoder_hidden_states"] = torch.randn(batch, kv_len, layer.width, generator=random)
    if layer.cross:
        given["encoder_attention_mask"] = key_mask
    positions = case.key_positions(layer) if layer.positions == "rotary" else None

    def step(begin: int, end: int, **cached: Any) -> Any:
        if positions is not None:
            cached["position_ids"] = torch.from_numpy(positions[:, begin:end]).long()
        return stack(
            input_ids=tokens[:, begin:end], attention_mask=token_mask[:, :end], **given, **cached
        )

    if case.step is None:
        step(0, case.length)
        return
    before = case.length - case.step
    cache = step(0, before, use_cache=True).past_key_values
    step(before, case.length, use_cache=True, past_key_values=cache)
