"""Attention layers in PyTorch modules: torch's, this package's, and a person's own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TypeGuard, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from attention_export.errors import SourceError
from attention_export.graph_size import check_size
from attention_export.module import MultiHeadAttention
from attention_export.sources.digest import digest
from attention_export.sources.torch_layer import (
    BIAS,
    OUT,
    OUT_BIAS,
    SEPARATE,
    STACKED,
    torch_layer,
)

__all__ = ["ARGUMENTS", "FoundAttention", "comes_apart", "find_attention"]

Module = TypeVar("Module", bound=nn.Module)

ARGUMENTS = ("query", "key", "value", "attend_mask")
"""What the forward of a person's own module takes, by name."""


@dataclass(frozen=True)
class FoundAttention:
    """One attention layer of a module."""

    module: nn.Module
    """A ``MultiHeadAttention``, which comes apart, or a person's own, which comes whole."""
    source: Mapping[str, str]
    """Digest, and family and layer where they are known, for the manifest."""


def find_attention(module: nn.Module, layer: str | None) -> FoundAttention:
    """Returns the attention that the module is, or the one that it holds.

    A torch.nn.MultiheadAttention becomes a ``MultiHeadAttention``; its dropout stays behind.

    Args:
        module: The module.
        layer: Name of the attention, or of what holds it alone, among the module's submodules;
            None where the module is an attention or holds only one.

    Raises:
        SourceError: No module, no attention there, or several.
        ExportError: A layer too large for one ONNX file.
    """
    _check_module(module)
    name, attention = _choose(module, layer)
    if isinstance(attention, torch.jit.ScriptModule):
        raise SourceError("the module is TorchScript; the module that it was made from is right")
    check_size(attention)
    if any(parameter.is_meta or is_lazy(parameter) for parameter in attention.parameters()):
        raise SourceError("some of the module's weights have no values yet (meta or lazy ones)")
    if _computes_as(attention, nn.MultiheadAttention):
        converted = torch_layer(_tensors(attention), attention.num_heads, layer=name)
        return FoundAttention(converted.module, converted.source)
    source = {"layer": name} if name else {}
    if not comes_apart(attention):
        source = {"family": type(attention).__name__, **source}
    return FoundAttention(attention, {**source, "digest": digest(_state(attention))})


def _choose(module: nn.Module, layer: str | None) -> tuple[str, nn.Module]:
    place = layer or ""
    found = {
        name: inside
        for name, inside in module.named_modules(remove_duplicate=False)
        if _is_attention(inside)
    }
    if place in found:
        return place, found[place]
    under = [name for name in found if not place or name.startswith(f"{place}.")]
    if len(under) == 1:
        return under[0], found[under[0]]
    if under:
        raise SourceError(f"several attentions are there; name one as layer: {', '.join(under)}")
    inside = dict(module.named_modules(remove_duplicate=False)).get(place)
    named = f"{place!r} of the module" if place else "the module"
    if inside is None:
        there = f"; there are: {', '.join(found)}" if found else ""
        raise SourceError(f"there is no attention {place!r}{there}")
    if found:
        raise SourceError(f"{named} is no attention; there are: {', '.join(found)}")
    if any(map(_of_transformers, inside.modules())):
        raise SourceError(
            f"{named} is one of transformers, which is not read as a module: save its model with "
            "save_pretrained(DIR), then run attention-export huggingface DIR --name NAME"
        )
    raise SourceError(
        f"{named} is no attention and holds none: a torch.nn.MultiheadAttention is one, and a "
        f"module with forward({', '.join(ARGUMENTS)}); this one has forward({_signature(inside)})"
    )


def _check_module(module: object) -> None:
    if isinstance(module, nn.Module):
        return
    advice = "give the layer itself, or what holds it"
    if isinstance(module, Mapping):
        advice = (
            "load a state dict into its module, or save it with safetensors and run "
            "attention-export torch FILE --num-heads N --name NAME"
        )
    elif callable(module):
        advice = "let the forward of a module compute what it does"
    raise SourceError(f"module must be a torch.nn.Module, not {type(module).__name__}; {advice}")


def _of_transformers(module: nn.Module) -> bool:
    return any(kind.__module__.partition(".")[0] == "transformers" for kind in type(module).__mro__)


def comes_apart(module: nn.Module) -> TypeGuard[MultiHeadAttention]:
    """Returns whether the module is a ``MultiHeadAttention``, which is served in stages."""
    return _computes_as(module, MultiHeadAttention)


def _is_attention(module: nn.Module) -> bool:
    return (
        _computes_as(module, nn.MultiheadAttention)
        or ARGUMENTS[-1] in inspect.signature(module.forward).parameters
    )


def _computes_as(module: nn.Module, kind: type[Module]) -> TypeGuard[Module]:
    """Returns whether it is of that kind, with a forward that no subclass has changed."""
    return isinstance(module, kind) and type(module).forward is kind.forward


def _signature(module: nn.Module) -> str:
    return ", ".join(inspect.signature(module.forward).parameters)


def _tensors(module: nn.MultiheadAttention) -> dict[str, Tensor]:
    """Returns its weights as they are now, parametrized ones too, by their names in torch."""
    for what, there in (
        ("a learned key and value (add_bias_kv=True)", module.bias_k is not None),
        ("a key and value of zeros (add_zero_attn=True)", module.add_zero_attn),
    ):
        if there:
            raise SourceError(f"the module adds {what} that no mask knows, which is not supported")
    names = (STACKED, *SEPARATE, BIAS, OUT, OUT_BIAS)
    tensors = {name: attrgetter(name)(module) for name in names}
    return {name: tensor.detach() for name, tensor in tensors.items() if tensor is not None}


def _state(module: nn.Module) -> dict[str, Tensor]:
    # A state dict may hold more than tensors (get_extra_state).
    state = module.state_dict()
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
