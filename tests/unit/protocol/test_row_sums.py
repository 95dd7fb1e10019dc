from __future__ import annotations

import numpy as np

from attention_service.row_sums import row_sums

KEYS = 65_536


def test_long_rows_of_equal_weights_are_summed_up_as_well_as_short_ones() -> None:
    weights = np.full((1, 1, 1, KEYS), 1 / KEYS, np.float32)

    sums = row_sums(weights, np.zeros((1, 1), np.int64))

    assert sums.distance is not None
    assert np.isclose(sums.entropy.item(), np.log(KEYS), rtol=1e-6, atol=0)
    assert np.isclose(sums.distance.item(), (KEYS - 1) / 2, rtol=1e-6, atol=0)
