"""Whether a bar was reached, from what the rounds showed."""

from __future__ import annotations

from dataclasses import dataclass

from bench.runner import Outcome
from bench.scenario import Bar
from bench.spread import Interval, bootstrap, paired_ratios, spread

__all__ = ["Verdict", "verdict"]


@dataclass(frozen=True)
class Verdict:
    """What came of a bar."""

    bar: Bar
    value: float
    """Median over the rounds."""
    interval: Interval
    """95 % of that median."""
    met: bool
    rounds: int

    @property
    def words(self) -> str:
        """A few words that say it."""
        unit = f" {self.bar.unit}"
        limit = self.bar.at_most if self.bar.at_most is not None else self.bar.at_least
        if limit is None:
            return f"{self.value:.3g}{unit}"
        side = "at most" if self.bar.at_most is not None else "at least"
        said = "met" if self.met else "missed"
        judged = self.value if self.bar.judged_by == "median" else self._kinder_end
        return f"{said}: {judged:.3g}{unit}, bar {side} {limit:.3g}{unit}"

    @property
    def _kinder_end(self) -> float:
        return self.interval.low if self.bar.at_most is not None else self.interval.high


def verdict(bar: Bar, outcome: Outcome) -> Verdict | None:
    """Returns what came of the bar; None where a figure of it is not there."""
    ours = _figures(outcome, bar.ours)
    theirs = [1.0] * len(ours) if bar.theirs is None else _figures(outcome, bar.theirs)
    if not ours or not theirs:
        return None
    values = paired_ratios(ours, theirs)
    value, interval = spread(values).median, bootstrap(values)
    judged = (value, value) if bar.judged_by == "median" else (interval.low, interval.high)
    met = (bar.at_most is None or judged[0] <= bar.at_most) and (
        bar.at_least is None or judged[1] >= bar.at_least
    )
    return Verdict(bar, value, interval, met, len(ours))


def _figures(outcome: Outcome, which: tuple[str, str]) -> list[float]:
    """Returns one figure of each round; none where it was not measured."""
    contender, figure = which
    rounds = outcome.rounds.get(contender, ())
    return [figures[figure] for figures in rounds if figure in figures]
