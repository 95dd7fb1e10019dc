"""Names of errors, which travel: UPPER_SNAKE and the same everywhere."""

from __future__ import annotations

import re

import pytest

from attention_service.reasons import Reason


@pytest.mark.parametrize("reason", list(Reason))
def test_a_reason_is_its_own_name_on_the_wire(reason: Reason) -> None:
    assert re.fullmatch("[A-Z]+(_[A-Z]+)*", reason.name)
    assert reason.value == reason.name
    assert f"{reason}" == reason.name
    assert Reason(reason.name) is reason
