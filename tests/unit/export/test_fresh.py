from __future__ import annotations

import pytest
import torch

from attention_export import ExportError, SourceError, fresh_layer


def test_same_seed_gives_the_same_layer() -> None:
    first, second, other = (fresh_layer(8, 2, seed=seed) for seed in (1, 1, 2))
    assert first.source == second.source
    assert first.source["seed"] == "1"
    assert first.source["digest"] != other.source["digest"]
    torch.testing.assert_close(first.module.state_dict(), second.module.state_dict())


def test_random_numbers_of_the_caller_go_on_undisturbed() -> None:
    state = torch.random.get_rng_state()
    fresh_layer(8, 2, seed=1)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SourceError, match="must be a multiple of num_heads"):
        fresh_layer(8, 3, seed=0)


def test_layer_too_large_for_one_file_is_refused_before_it_takes_memory() -> None:
    with pytest.raises(ExportError, match=r"GiB; a model holds less than 2 GiB"):
        fresh_layer(10_000_000, 1, seed=0)
