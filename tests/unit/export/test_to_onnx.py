from __future__ import annotations

import logging
import warnings

import pytest
import torch
from torch import Tensor, nn

from attention_export import ExportError
from attention_export.to_onnx import TensorSpec, to_onnx


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x


class OfThreeRows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.ones(3, 5)


def test_dimension_that_does_not_stay_dynamic_is_an_error() -> None:
    spec = TensorSpec(("rows", "columns"))
    with pytest.raises(ExportError, match=r"^torch does not export the graph: .+$"):
        to_onnx(
            OfThreeRows().eval(),
            inputs={"x": spec},
            outputs={"y": spec},
            sizes={"rows": 3, "columns": 5},
        )


def test_nothing_is_said_and_no_warning_filter_stays(caplog: pytest.LogCaptureFixture) -> None:
    filters = list(warnings.filters)
    spec = TensorSpec(("rows", 4))
    to_onnx(Doubled().eval(), inputs={"x": spec}, outputs={"y": spec}, sizes={"rows": 3})
    assert warnings.filters == filters
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]
