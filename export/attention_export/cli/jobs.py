"""What a command line asks for, as a list of layers to export."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from attention_export.model_directory import check_destination
from attention_export.sources.fresh import fresh_layer
from attention_export.sources.huggingface import HuggingFaceModel
from attention_export.sources.layer import SourceLayer
from attention_export.sources.torch_state_dict import read_torch_layer, torch_layers

__all__ = ["Job", "jobs"]


class Job(NamedTuple):
    """One layer to export."""

    name: str
    """Name under which it is served."""
    read: Callable[[], SourceLayer]


def jobs(arguments: argparse.Namespace) -> list[Job]:
    """Returns the layers asked for; none of them is read yet.

    Raises:
        ExportError: A source that cannot be opened, or a name that cannot be written.
    """
    found = _COMMANDS[arguments.command](arguments)
    # All names before the first layer: nobody wants to hear of the sixth after five exports.
    for job in found:
        check_destination(
            arguments.out, job.name, arguments.model_version, overwrite=arguments.overwrite
        )
    return found


def _huggingface(arguments: argparse.Namespace) -> list[Job]:
    model = HuggingFaceModel(arguments.directory, context_length=arguments.context_length)
    layers = arguments.layers.of(model.layers)
    for layer in layers:  # all of them before the first is written
        model.check(layer)
    return [Job(f"{arguments.name}.{layer}", partial(model.layer, layer)) for layer in layers]


def _torch(arguments: argparse.Namespace) -> list[Job]:
    read = partial(read_torch_layer, arguments.state_dict, arguments.num_heads)
    if not arguments.all:
        return [Job(arguments.name, partial(read, prefix=arguments.prefix))]
    prefixes = torch_layers(arguments.state_dict, prefix=arguments.prefix)
    names = [f"{arguments.name}.{prefix}".rstrip(".") for prefix in prefixes]
    return [Job(names[i], partial(read, prefix=prefix)) for i, prefix in enumerate(prefixes)]


def _fresh(arguments: argparse.Namespace) -> list[Job]:
    read = partial(
        fresh_layer,
        arguments.embed_dim,
        arguments.num_heads,
        seed=arguments.seed,
        num_kv_heads=arguments.num_kv_heads,
        key_dim=arguments.key_dim,
        value_dim=arguments.value_dim,
        output_dim=arguments.output_dim,
        head_dim=arguments.head_dim,
        value_head_dim=arguments.value_head_dim,
        bias=not arguments.no_bias,
    )
    return [Job(arguments.name, read)]


_COMMANDS: dict[str, Callable[[argparse.Namespace], list[Job]]] = {
    "huggingface": _huggingface,
    "torch": _torch,
    "fresh": _fresh,
}
