"""Errors of the exporter.

ExportError
├── DamagedModelError      a model directory that is not as it was exported
├── InvalidNameError       a model name or version that no server would serve
├── ModelExistsError       the version is there already
├── SourceError            weights that cannot be read as attention layers
└── VerificationError      an exported graph that does not compute what it should
"""

from __future__ import annotations

__all__ = [
    "DamagedModelError",
    "ExportError",
    "InvalidNameError",
    "ModelExistsError",
    "SourceError",
    "VerificationError",
]


class ExportError(Exception):
    """A layer that could not be exported; nothing was written. The message says what to do."""


class DamagedModelError(ExportError):
    """A model directory with a file that is missing, or is not the one that was exported."""


class InvalidNameError(ExportError):
    """A model name or version that is not spelt as one."""


class ModelExistsError(ExportError):
    """A version that exists already and was not to be overwritten."""


class SourceError(ExportError):
    """Weights that are missing, misshapen, of an unknown family or in a format that is not read."""


class VerificationError(ExportError):
    """An exported graph whose results are too far from the float64 reference."""
