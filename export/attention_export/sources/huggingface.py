"""A directory in Hugging Face format: config.json and safetensors, in one file or in shards."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from attention_export.errors import SourceError
from attention_export.graph_size import check_size
from attention_export.sources.config import Config
from attention_export.sources.digest import digest
from attention_export.sources.families import FAMILIES
from attention_export.sources.families.family import Family, LayerPlan
from attention_export.sources.huggingface_files import open_weights, read_config
from attention_export.sources.layer import SourceLayer, load_weights

__all__ = ["HuggingFaceModel"]


class HuggingFaceModel:
    """The attention layers of one model directory.

    Args:
        directory: As ``save_pretrained`` writes it.
        context_length: Tokens that sequences may have, where the layer's positions depend on it,
            as they do in models that were extended to longer sequences in certain ways (dynamic,
            longrope); the model's original length if absent.

    Raises:
        SourceError: No such directory, a family that is not read, or no weights in safetensors.
    """

    def __init__(self, directory: Path, *, context_length: int | None = None) -> None:
        config = Config(read_config(directory), context_length=context_length)
        self._type = config.text("model_type")
        self._family = _family(self._type)
        _check_float(config)
        self._checkpoint = open_weights(directory)
        self._plans = self._saved(self._family.layers(config))
        if context_length is not None and not any("rope" in p.source for p in self._plans.values()):
            raise SourceError(
                "a context length changes nothing here: the positions of this model do not depend "
                "on it; leave it out"
            )

    @property
    def layers(self) -> Sequence[str]:
        """Names of the attention layers, in order: "3", or "encoder.3", "decoder.3.cross"."""
        return tuple(self._plans)

    def check(self, name: str) -> None:
        """Checks all that can be told of a layer without reading its weights.

        Raises:
            SourceError: As ``layer`` does, but for weights that are not finite.
            ExportError: A layer too large for one ONNX file.
        """
        self._checkpoint.check(self._stored(self._plan(name)))

    def layer(self, name: str) -> SourceLayer:
        """Returns one layer.

        Raises:
            SourceError: No such layer, sizes that do not fit together, or tensors that are missing,
                misshapen or unknown.
            ExportError: A layer too large for one ONNX file.
        """
        plan = self._plan(name)
        stored = self._checkpoint.read(self._stored(plan))
        module, prefix = plan.build(), self._prefix(plan)
        load_weights(
            module,
            {
                ours: theirs.take(stored[prefix + theirs.name])
                for ours, theirs in plan.tensors.items()
            },
        )
        return SourceLayer(
            module,
            {"family": self._type, "layer": name, **plan.source, "digest": digest(stored)},
            causal=plan.causal,
            window=plan.window,
        )

    def _plan(self, name: str) -> LayerPlan:
        if name not in self._plans:
            raise SourceError(
                f"there is no layer {name!r}; the model has layers {self.layers[0]} to "
                f"{self.layers[-1]}"
            )
        return self._plans[name]

    def _stored(self, plan: LayerPlan) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of the layer's tensors, by their names in this checkpoint."""
        try:
            with torch.device("meta"):  # sizes without memory
                module = plan.build()
        except ValueError as error:
            raise SourceError(f"config.json: {error}") from None
        check_size(module)
        shapes = {ours: tuple(p.shape) for ours, p in module.named_parameters()}
        prefix = self._prefix(plan)
        self._check_known(plan, prefix)
        return {
            prefix + theirs.name: theirs.shape or shapes[ours]
            for ours, theirs in plan.tensors.items()
        }

    def _saved(self, plans: Mapping[str, LayerPlan]) -> Mapping[str, LayerPlan]:
        """Leaves out the stacks of which nothing was saved, as T5EncoderModel saves no decoder.

        A config describes them all the same. Where nothing at all was saved, they all stay, and
        reading one of them tells what is missing.
        """
        names = tuple(self._checkpoint.names())
        saved = set()
        for name, plan in plans.items():
            places = tuple(prefix + plan.place for prefix in self._family.prefixes)
            if _stack(name) not in saved and any(tensor.startswith(places) for tensor in names):
                saved.add(_stack(name))
        return {name: plan for name, plan in plans.items() if _stack(name) in saved} or plans

    def _prefix(self, plan: LayerPlan) -> str:
        """Returns what stands before the names of this checkpoint."""
        prefixes = self._family.prefixes
        name = next(iter(plan.tensors.values())).name
        found = [prefix for prefix in prefixes if prefix + name in self._checkpoint]
        if not found:  # another layer, or another tensor, may tell
            stack = plan.place.partition(".")[0] + "."
            stored = tuple(self._checkpoint.names())
            found = [p for p in prefixes if any(known.startswith(p + stack) for known in stored)]
        if not found:
            looked_for = " or ".join(prefix + name for prefix in prefixes)
            raise SourceError(f"tensor {looked_for} is missing")
        return found[0]

    def _check_known(self, plan: LayerPlan, prefix: str) -> None:
        """Refuses tensors of the layer that would be left out without a word."""
        place = prefix + plan.place
        known = {prefix + stored.name for stored in plan.tensors.values()}
        beside = tuple(place + beginning for beginning in plan.beside)
        for name in self._checkpoint.names():
            if name.startswith(place) and name not in known and not name.startswith(beside):
                raise SourceError(
                    f"tensor {name} is not one that attention of {self._type!r} is known to have"
                )


def _stack(layer: str) -> str:
    """Returns what stands before the number in a layer's name; nothing where there is one stack."""
    return re.split("[0-9]", layer, maxsplit=1)[0]


def _family(model_type: str) -> Family:
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    raise SourceError(
        f"model_type {model_type!r} is not a family that is read; those are: "
        + ", ".join(sorted(itertools.chain.from_iterable(f.model_types for f in FAMILIES)))
    )


def _check_float(config: Config) -> None:
    """Refuses weights that are numbers of a few bits, with factors beside them."""
    for name in ("quantization_config", "compression_config"):
        if quantization := config.section(name):
            method = quantization.text("quant_method", "a method of its own")
            raise SourceError(f"the weights are quantized ({method}); save them in float first")
