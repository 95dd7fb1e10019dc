"""Rotary positions of a model in Hugging Face format: by how much each pair of numbers turns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from attention_export.rotary import Rotary
from attention_export.sources.config import Config

__all__ = ["Rope", "read_rope"]


@dataclass(frozen=True)
class Rope:
    """What turns the heads of a layer."""

    inverse_frequencies: Tensor
    """Angle of each pair at position 1, radians, float32 [pairs]."""
    factor: float = 1.0
    """What cosines and sines are multiplied with."""
    note: str = ""
    """Which sequences it is right for, where that was a choice."""

    def module(self) -> Rotary:
        """Returns the module that turns heads so."""
        return Rotary(self.inverse_frequencies, factor=self.factor)

    @property
    def source(self) -> Mapping[str, str]:
        """What a manifest tells of it."""
        return {"rope": self.note} if self.note else {}


@dataclass(frozen=True)
class _Given:
    """What the formulas are made of."""

    config: Config
    parameters: Config
    """The fields of ``rope_parameters``, in older files of ``rope_scaling``."""
    theta: float
    dim: int
    """Numbers of a head that are turned."""

    @property
    def frequencies(self) -> Tensor:
        """Inverse frequencies theta^(-2 i / dim) (Su et al. 2021, "RoFormer"), float32 [pairs].

        Float32 throughout, as in training: at position 100,000 an angle is only as good as these.
        """
        return 1.0 / self.theta**self.exponents

    @property
    def exponents(self) -> Tensor:
        """2 i / dim for each pair i, float32 [pairs]."""
        return torch.arange(0, self.dim, 2, dtype=torch.float32) / self.dim

    @property
    def max_length(self) -> int:
        """Tokens that sequences may have."""
        return self.config.length("max_position_embeddings")

    @property
    def original_length(self) -> int:
        """Tokens that sequences had before the model learned longer ones."""
        name = "original_max_position_embeddings"
        for section in (self.config, self.parameters):
            length = section.optional_length(name, least=2)
            if length is not None:
                return length
        return self.config.length("max_position_embeddings", least=2)

    @property
    def stretch(self) -> float:
        """How many times longer sequences have become."""
        told = self.parameters.optional_number("factor")
        return self.max_length / self.original_length if told is None else told


def _default(given: _Given) -> Rope:
    return Rope(given.frequencies)


def _linear(given: _Given) -> Rope:
    """Positions lie closer together (Chen et al. 2023, "Position Interpolation")."""
    return Rope(given.frequencies / given.parameters.number("factor"))


def _dynamic(given: _Given) -> Rope:
    """The base grows with the length of the sequence, once this is over the largest in training."""
    factor = given.parameters.number("factor")
    length = max(given.config.context_length or 0, given.max_length)
    if given.dim <= 2:
        raise given.parameters.wrong("rope_type", "'dynamic' needs more than 2 numbers to turn")
    growth = (factor * length / given.max_length - (factor - 1)) ** (given.dim / (given.dim - 2))
    extent = "" if length > given.max_length else "up to "
    return Rope(
        1.0 / (given.theta * growth) ** given.exponents,
        note=f"dynamic, for sequences of {extent}{length} tokens",
    )


def _llama3(given: _Given) -> Rope:
    """Slow pairs turn slower by a factor, fast ones as ever, those between by both (Llama 3.1)."""
    told = given.parameters
    factor, low = told.number("factor"), told.number("low_freq_factor")
    high = told.number("high_freq_factor")
    if high <= low:
        raise told.wrong("high_freq_factor", "must be above low_freq_factor")
    plain, length = given.frequencies, given.original_length
    wavelengths = 2 * math.pi / plain
    share = (length / wavelengths - low) / (high - low)  # of the pair as it was
    mixed = (1 - share) * plain / factor + share * plain
    slow, fast = wavelengths > length / low, wavelengths < length / high
    return Rope(torch.where(slow, plain / factor, torch.where(fast, plain, mixed)))


def _yarn(given: _Given) -> Rope:
    """As Llama 3.1, by how often a pair turns in the original length (Peng et al. 2023, "YaRN")."""
    told, dim, stretch = given.parameters, given.dim, given.stretch
    length = given.original_length

    def pair(turns: float) -> float:
        """Returns the pair, in fractions, that turns so often."""
        return dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(given.theta))

    first = pair(told.optional_number("beta_fast") or 32.0)
    last = pair(told.optional_number("beta_slow") or 1.0)
    if told.flag("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, dim - 1)
    powers = given.theta**given.exponents
    ramp = torch.arange(len(powers), dtype=torch.float32) - first
    share = 1.0 - (ramp / (last - first or 0.001)).clamp(0.0, 1.0)  # of the pair as it was
    frequencies = 1.0 / (stretch * powers) * (1.0 - share) + 1.0 / powers * share
    return Rope(frequencies, _yarn_factor(told, stretch))


def _yarn_factor(told: Config, stretch: float) -> float:
    def sharper(by: float) -> float:
        return 1.0 if stretch <= 1.0 else 0.1 * by * math.log(stretch) + 1.0

    factor = told.optional_number("attention_factor")
    if factor is not None:
        return factor
    some, every = told.optional_number("mscale"), told.optional_number("mscale_all_dim")
    return sharper(1.0) if some is None or every is None else sharper(some) / sharper(every)


def _longrope(given: _Given) -> Rope:
    """Each pair turns slower by a factor of its own (Ding et al. 2024, "LongRoPE").

    There are two sets of factors, and one is right up to the original length, the other beyond.
    """
    told, length = given.parameters, given.original_length
    factor = told.optional_number("attention_factor")
    if factor is None:
        stretch = given.stretch
        factor = math.sqrt(1 + math.log(stretch) / math.log(length)) if stretch > 1 else 1.0
    exponents = given.exponents
    if (given.config.context_length or 0) > length:
        name, note = "long_factor", f"long factors, for sequences of more than {length} tokens"
    else:
        name, note = "short_factor", f"short factors, for sequences of up to {length} tokens"
    slower = torch.tensor(told.numbers(name, len(exponents)))
    return Rope(1.0 / (slower * given.theta**exponents), factor, f"longrope, {note}")


_TYPES: Mapping[str, Callable[[_Given], Rope]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
}

# What any of the types may be told, and a remark that changes nothing. A field beside these,
# mrope_section say, could turn heads in a way that none of the types does.
_KNOWN = frozenset(
    {
        "rope_type",
        "type",
        "rope_theta",
        "partial_rotary_factor",
        "factor",
        "original_max_position_embeddings",
        "attention_factor",
        "low_freq_factor",
        "high_freq_factor",
        "beta_fast",
        "beta_slow",
        "truncate",
        "mscale",
        "mscale_all_dim",
        "short_factor",
        "long_factor",
        "finetuned",
    }
)


def read_rope(
    config: Config,
    head_dim: int,
    *,
    parameters: Config | None = None,
    theta: float | None = None,
    partial: float | None = None,
    renamed: Mapping[str, str] | None = None,
) -> Rope:
    """Returns how heads are turned, as config.json has it: in ``rope_parameters``, or as of old.

    Args:
        config: The model's.
        head_dim: Size of a head.
        parameters: The fields of ``rope_parameters``, where these are not the model's.
        theta: Base where the parameters have none; the model's ``rope_theta`` if absent.
        partial: Share of a head that is turned where the parameters say nothing; a family that
            always turns whole heads if absent.
        renamed: Types that the family means by other names.

    Raises:
        SourceError: Parameters that are incomplete, or of a type or a name that is not known.
    """
    if parameters is None:
        parameters = config.section("rope_scaling") or config.section("rope_parameters")
    parameters.check_known(_KNOWN)
    theta = parameters.number(
        "rope_theta", config.number("rope_theta", 10_000.0) if theta is None else theta
    )
    if theta <= 1.0:
        raise parameters.wrong("rope_theta", "must be above 1")
    share = parameters.number(
        "partial_rotary_factor",
        config.number("partial_rotary_factor", 1.0) if partial is None else partial,
    )
    if share > 1.0 or (partial is None and share != 1.0):
        right = "1" if partial is None else "at most 1"
        raise parameters.wrong("partial_rotary_factor", f"must be {right}")
    name = parameters.text("rope_type", parameters.text("type", "default"))
    type_ = (renamed or {}).get(name, name)
    if type_ not in _TYPES:
        raise parameters.wrong("rope_type", f"{name!r} is none of {', '.join(_TYPES)}")
    dim = int(head_dim * share)
    if dim < 1:
        raise parameters.wrong("partial_rotary_factor", f"leaves nothing of {head_dim} to turn")
    return _TYPES[type_](_Given(config, parameters, theta, dim))
