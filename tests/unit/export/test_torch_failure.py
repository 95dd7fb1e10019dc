from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attention_export import ExportError
from attention_export.to_onnx import TensorSpec, to_onnx


class Does(nn.Module):
    def __init__(self, step: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return self.step(self, x)


def adds_rows_one_by_one(module: nn.Module, x: Tensor) -> Tensor:
    return torch.stack([row + 1 for row in x])


def adds_a_table(module: nn.Module, x: Tensor) -> Tensor:
    return x + torch.ones(3, 5)


def decides(module: nn.Module, x: Tensor) -> Tensor:
    return x * 2 if x.sum() > 0 else x


def keeps(module: nn.Module, x: Tensor) -> Tensor:
    module.last = x * 2
    return x


def inverts(module: nn.Module, x: Tensor) -> Tensor:
    inverse: Tensor = torch.linalg.pinv(x)
    return inverse


def fails(module: nn.Module, x: Tensor) -> Tensor:
    raise ValueError("no such thing\nand more of it")


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (adds_rows_one_by_one, "the code works for one rows only; take sizes from the shapes"),
        (adds_a_table, "the code works for one rows and one columns only"),
        (decides, "the code looks at the numbers in a tensor to decide"),
        (keeps, "the code keeps last from its call"),
        (inverts, "ONNX has no operator for aten.linalg_pinv"),
        (fails, "no such thing"),
    ],
)
def test_reason_is_told_in_the_words_of_the_module(
    step: Callable[[nn.Module, Tensor], Tensor],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    spec = TensorSpec(("rows", "columns"))
    with pytest.raises(ExportError) as caught:
        to_onnx(
            Does(step).eval(),
            inputs={"x": spec},
            outputs={"y": spec},
            sizes={"rows": 3, "columns": 5},
        )
    assert str(caught.value).startswith(f"torch does not export the graph: {reason}")
    assert "\n" not in str(caught.value)
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
