"""All models of a directory looked at, whatever is wrong with one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from attention_export.errors import ExportError

__all__ = ["faults_of"]


def faults_of(places: Iterable[Path], look: Callable[[Path], None]) -> list[str]:
    """Looks at one model after another and returns what is wrong, a line for each that is.

    Args:
        places: Directories of the models.
        look: Raises an error where something is wrong.
    """
    faults = []
    for place in places:
        try:
            look(place)
        except BrokenPipeError:  # nobody reads on
            raise
        except ExportError as error:
            # A digest's message names the file, one of the graphs does not.
            message = str(error)
            faults.append(message if str(place) in message else f"{place}: {message}")
        except Exception as error:  # noqa: BLE001 - files of others fail in ways of their own
            faults.append(f"{place}: it cannot be looked at: {type(error).__name__}: {error}")
    return faults
