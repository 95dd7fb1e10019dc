"""What each head does to the output: the same attention again and again, each time without one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_client import _numbers
from attention_client._attend import AttendCall
from attention_client._attention import AttentionKeywords
from attention_client._methods import explained_by
from attention_client._numbers import Integers
from attention_client._results import AttendResult
from attention_client.errors import ProtocolError

__all__ = ["AblateHeads", "Ablation", "AblationResult"]


@dataclass(frozen=True, eq=False)
class AblationResult:
    """What each head does to the output."""

    heads: tuple[int, ...]
    """Heads that were removed, one at a time."""
    relative_change: NDArray[np.float64]
    """How much of the output each removal changes, 0 for nothing, float64 [heads]."""
    outputs: NDArray[np.floating[Any]] | None
    """Output without each head, float32 [heads, batch, query_len, output_dim], where they were
    asked for."""
    whole: AttendResult
    """The answer with all heads."""


@explained_by(AttendCall)
@dataclass(frozen=True, eq=False)
class AblateHeads(AttentionKeywords):
    """What each head does to the output: how much it changes where the head is removed.

    The relative change of head h is ||O - O_h|| / ||O||: O is the output with all heads, O_h the
    output where head h gives 0; the norm is Frobenius', over the rows of real queries of all
    sequences. It is 0 where removing the head changes nothing, infinite where O is 0 and O_h not.

    Heads are removed one at a time, as by Michel et al. 2019, "Are Sixteen Heads Really Better
    than One?", section 3.2. They, and Voita et al. 2019, "Analyzing Multi-Head Self-Attention",
    look at the score of a whole model, this at the output of one layer: a head that does much
    here may matter little there.

    One request is sent for all heads and one for each, over one open stream.

    Args:
        heads: Heads to remove, one at a time; all where absent.
        outputs: Whether to return the output without each head.
        ablated_heads: Heads that are removed in all that is compared, the whole included.
        timeout: Seconds for each request, retries included; the client's where absent.

    Returns:
        An ``AblationResult``.

    Raises:
        AttentionError: As ``attend``; ``InvalidRequestError`` of a model that comes whole, whose
            heads cannot be removed.
    """

    _: KW_ONLY
    heads: Integers | None = None
    outputs: bool = False

    def __post_init__(self) -> None:
        _numbers.selected_heads("heads", self.heads)
        _numbers.flag("outputs", self.outputs)

    def call(self, *removed: int) -> AttendCall:
        """Returns the call without these heads."""
        keywords = {field.name: getattr(self, field.name) for field in fields(AttentionKeywords)}
        ablated = keywords.pop("ablated_heads")
        if removed:
            ablated = [*([] if ablated is None else ablated), *removed]
        return AttendCall(**keywords, ablated_heads=ablated)


class Ablation:
    """An ablation under way, answer by answer.

    Args:
        asked: What was asked for.
        whole: The answer with all heads.
    """

    def __init__(self, asked: AblateHeads, whole: AttendResult) -> None:
        assert whole._asked is not None, "the answer to a call of ours"
        self._asked, self._answer = asked, whole
        self._rows = whole._asked.real_rows  # [batch, query_len]
        self._whole = self._real_rows(whole)
        self._norm = float(np.linalg.norm(self._whole))
        chosen = _numbers.selected_heads("heads", asked.heads)
        self._heads = tuple(chosen or range(whole.applied.num_heads))
        self._changes: list[float] = []
        self._outputs: list[NDArray[Any]] = []

    def calls(self) -> Iterator[AttendCall]:
        """Yields the calls without one head each."""
        return map(self._asked.call, self._heads)

    def add(self, without: AttendResult) -> None:
        """Takes the answer to the next call."""
        change = float(np.linalg.norm(self._whole - self._real_rows(without)))
        beyond_measure = math.inf if change else 0.0
        self._changes.append(change / self._norm if self._norm else beyond_measure)
        if self._asked.outputs:
            self._outputs.append(_output(without))

    def result(self) -> AblationResult:
        """Returns what each head does, once every answer was taken."""
        outputs = np.stack(self._outputs) if self._asked.outputs else None
        return AblationResult(self._heads, np.array(self._changes), outputs, self._answer)

    def _real_rows(self, result: AttendResult) -> NDArray[np.float64]:
        """Returns the output of queries that are no padding, float64 [queries, output_dim]."""
        return _output(result)[self._rows].astype(np.float64)


def _output(result: AttendResult) -> NDArray[np.floating[Any]]:
    if result.output is None:
        raise ProtocolError("the answer has no output")
    return result.output
