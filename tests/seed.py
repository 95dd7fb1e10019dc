"""The seed of what is drawn by the thousand: new on each run, told, and given to have it again."""

from __future__ import annotations

import secrets

import pytest

_KEY = pytest.StashKey[int]()


def add_options(parser: pytest.Parser) -> None:
    """Takes ``--fuzz-seed`` and ``--fuzz-times``."""
    group = parser.getgroup("mutated and generated requests and models")
    group.addoption("--fuzz-seed", type=int, metavar="N", help="draw what a run with seed N drew")
    group.addoption(
        "--fuzz-times", type=int, default=1, metavar="N", help="draw N times as many; 1 by default"
    )


def seed_of(config: pytest.Config) -> int:
    """Returns the run's seed."""
    if _KEY not in config.stash:
        given = config.getoption("--fuzz-seed")
        config.stash[_KEY] = secrets.randbits(32) if given is None else given
    return config.stash[_KEY]


def headline(config: pytest.Config) -> str:
    """Returns the line that tells the seed, at the head of every run."""
    seed = seed_of(config)
    return f"seed of mutated and generated requests and models: {seed} (again: --fuzz-seed={seed})"
