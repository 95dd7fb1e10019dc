from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from attention_export import ExportReport, MultiHeadAttention, SourceError, export, layer_export
from attention_export.exported_model import read_model
from attention_export.graph_reference import GraphReference
from attention_export.own_module import OwnModule
from attention_export.sources.torch_module import find_attention
from attention_export.verification import TOLERANCE, verify
from attention_export.whole_graph import whole_graph
from attention_server.models.graph import fault_in
from attention_service.manifest import FILE_NAME, MODEL_FILE
from tests.own_modules import DIMS, HEADS, OUTPUT_DIM, Flexible, Fused, ShowsWeights

from .conftest import RunGraph


class Own(ShowsWeights):
    """``ShowsWeights`` with a step of its own between what it is given and its attention."""

    def __init__(self, change: Callable[..., Any]) -> None:
        super().__init__()
        self.change = change

    def forward(self, query: Tensor, key: Tensor, value: Tensor, attend_mask: Tensor) -> Any:
        return self.change(super().forward, query, key, value, attend_mask)


class OtherNames(nn.Module):
    def forward(self, q: Tensor, k: Tensor, v: Tensor, attend_mask: Tensor) -> Tensor:
        return q


class MoreArguments(nn.Module):
    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attend_mask: Tensor, bias: Tensor
    ) -> Tensor:
        return query


class Keyworded(Fused):
    def forward(  # type: ignore[override]  # another order, by keyword alone
        self, *, attend_mask: Tensor, value: Tensor, key: Tensor, query: Tensor, scale: float = 1.0
    ) -> Tensor:
        return super().forward(query, key, value, attend_mask) * scale


def upper_left(query: Tensor, key: Tensor) -> Tensor:
    return torch.ones(query.shape[1], key.shape[1], dtype=torch.bool).tril()


def window(query: Tensor, key: Tensor) -> Tensor:
    places = torch.arange(max(query.shape[1], key.shape[1]))
    near = (places[:, None] - places).abs() < 128
    return near[: query.shape[1], : key.shape[1]]


def all_where_none(mask: Tensor) -> Tensor:
    """Does what -1e9 instead of -inf does before the softmax."""
    return mask | ~mask.any(-1, keepdim=True)


def counted(attend: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    module = attend.__self__
    module.calls = getattr(module, "calls", 0) + 1
    output: Tensor = attend(q * module.calls, k, v, mask)[0]
    return output


# What each does wrong, and what is said of it.
WRONG: dict[str, tuple[Callable[..., Any], str]] = {
    "mask ignored": (
        lambda attend, q, k, v, mask: attend(q, k, v, torch.ones_like(mask))[0],
        "changes with a key that attend_mask forbids",
    ),
    "mask the other way round": (
        lambda attend, q, k, v, mask: attend(q, k, v, ~mask)[0],
        "changes with a key that attend_mask forbids: .+ in which true means: may attend$",
    ),
    "weights of the other way round": (
        lambda attend, q, k, v, mask: attend(q, k, v, ~mask),
        "weights must be 0 wherever attend_mask is false",
    ),
    "one padding for all queries": (
        lambda attend, q, k, v, mask: attend(q, k, v, mask[:, :, :1].expand_as(mask))[0],
        "changes with a key that attend_mask forbids",
    ),
    "causal by itself": (
        lambda attend, q, k, v, mask: attend(q, k, v, mask & upper_left(q, k)),
        "not finite, .+ leave causality to the mask$",
    ),
    "causal by itself, all keys where none are left": (
        lambda attend, q, k, v, mask: attend(q, k, v, all_where_none(mask & upper_left(q, k))),
        "weights must be 0 wherever .+ leave causality to the mask; they are not$",
    ),
    "window of its own": (
        lambda attend, q, k, v, mask: attend(q, k, v, mask & window(q, k))[0],
        "something else over 200 tokens: .+ leave windows and causality to the mask$",
    ),
    "window of its own, 0 beyond": (
        lambda attend, q, k, v, mask: attend(q, k, v, mask & window(q, k))[0].nan_to_num(),
        "something else over 200 tokens",
    ),
    "window of its own, all keys beyond": (
        lambda attend, q, k, v, mask: attend(q, k, v, all_where_none(mask & window(q, k)))[0],
        "something else over 200 tokens",
    ),
    "queries mixed": (
        lambda attend, q, k, v, mask: (
            attend(q, k, v, mask)[0] + attend(q, k, v, mask)[0].mean(1, keepdim=True)
        ),
        "changes with a key that attend_mask forbids",
    ),
    "sequences mixed": (
        lambda attend, q, k, v, mask: attend(q, k, v + v.mean(0, keepdim=True), mask)[0],
        r"mixes the sequences of a batch: .+ \(batch_first\)$",
    ),
    "weights of no softmax": (
        lambda attend, q, k, v, mask: tuple(2 * x for x in attend(q, k, v, mask)),
        "no attention weights: .+ sum to 1$",
    ),
    "weights of the heads' mean": (
        lambda attend, q, k, v, mask: [
            x.mean(1) if x.ndim == 4 else x for x in attend(q, k, v, mask)
        ],
        r"\[batch, heads, query_len, kv_len\], here \[2, any, 5, 7\]; they are \[2, 5, 7\]$",
    ),
    "output of heads": (
        lambda attend, q, k, v, mask: attend(q, k, v, mask)[0][:, None],
        r"\[batch, query_len, output_dim\], here \[2, 5, any\]; it is \[2, 1, 5, 10\]$",
    ),
    "dropout at all times": (
        lambda attend, q, k, v, mask: functional.dropout(attend(q, k, v, mask)[0], training=True),
        "other results when it is called again",
    ),
    "calls counted": (counted, "other results when it is called again"),
    "a dictionary": (
        lambda attend, q, k, v, mask: {"output": attend(q, k, v, mask)[0]},
        r"must return output or \(output, weights\), .+; it returned dict$",
    ),
    "three results": (
        lambda attend, q, k, v, mask: (*attend(q, k, v, mask), mask),
        r"it returned \(a tensor of float32, a tensor of float32, a tensor of bool\)$",
    ),
    "float32 alone": (
        lambda attend, q, k, v, mask: attend(q @ torch.eye(12), k, v, mask)[0],
        "works in float32 and not in float64.+take the dtype of its inputs",
    ),
    "self-attention alone": (
        lambda attend, q, k, v, mask: attend(q, k[:, : q.shape[1]], v, mask)[0],
        r"forward fails with query \[2, 5, 12\], key \[2, 7, 8\], .+: RuntimeError: .+$",
    ),
}


@pytest.fixture(scope="module")
def module() -> ShowsWeights:
    torch.manual_seed(5)
    return ShowsWeights()


@pytest.fixture(scope="module")
def steps() -> list[str]:
    return []


@pytest.fixture(scope="module")
def report(
    module: ShowsWeights, steps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> ExportReport:
    """``module`` exported, from within a model."""
    return export(
        nn.ModuleDict({"attention": module, "other": nn.Linear(3, 3)}),
        models=tmp_path_factory.mktemp("own"),
        name="own",
        causal="lower_right",
        on_step=steps.append,
        **DIMS,
    )


@pytest.fixture(scope="module")
def graph(report: ExportReport) -> bytes:
    return (report.directory / MODEL_FILE).read_bytes()


def test_manifest_says_what_is_known_and_no_more(report: ExportReport) -> None:
    written = json.loads((report.directory / FILE_NAME).read_bytes())

    assert {name: size for name, size in written.items() if name.endswith("_dim")} == {
        **DIMS,
        "output_dim": OUTPUT_DIM,
        "head_dim": 0,
        "value_head_dim": 0,
    }
    assert written["outputs"] == ["output", "weights"]
    assert written["defaults"]["num_heads"] == written["defaults"]["num_kv_heads"] == HEADS
    assert written["defaults"]["scale"] == written["defaults"]["softcap"] == 0
    assert written["defaults"]["causal"] == "lower_right"
    assert written["positions"] == "none"
    assert list(written["files"]) == [MODEL_FILE]
    assert written["source"] == {
        "family": "ShowsWeights",
        "layer": "attention",
        "digest": written["source"]["digest"],
    }


def test_report_says_how_close_the_graph_is(report: ExportReport, steps: list[str]) -> None:
    assert set(report.parity) == {"output", "weights"}
    assert max(report.parity.values()) <= 1e-6
    assert len(steps) <= layer_export.STEPS


def test_graph_has_the_interface_of_a_whole_layer(graph: bytes) -> None:
    found = onnx.load_from_string(graph).graph

    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*found.input, *found.output)
    }
    assert shapes == {
        "query": ["batch", "query_len", 12],
        "key": ["batch", "kv_len", 8],
        "value": ["batch", "kv_len", 6],
        "attend_mask": ["batch", 1, "query_len", "kv_len"],
        "output": ["batch", "query_len", OUTPUT_DIM],
        "weights": ["batch", HEADS, "query_len", "kv_len"],
    }


def test_graph_is_one_that_servers_take(graph: bytes) -> None:
    assert fault_in({MODEL_FILE: graph}) is None


@pytest.mark.parametrize(("batch", "query_len", "kv_len"), [(2, 1, 1), (3, 1, 9), (2, 20, 33)])
def test_rows_that_see_something_are_the_modules_and_the_others_0(
    batch: int,
    query_len: int,
    kv_len: int,
    module: ShowsWeights,
    graph: bytes,
    run_graph: RunGraph,
) -> None:
    inputs = [torch.randn(batch, query_len, DIMS["query_dim"])]
    inputs += [torch.randn(batch, kv_len, dim) for dim in (DIMS["key_dim"], DIMS["value_dim"])]
    mask = torch.rand(batch, 1, query_len, kv_len) < 0.5
    mask[0, 0, 0] = False
    with torch.no_grad():
        output, weights = module.eval()(*inputs, mask)  # NaN in rows that see nothing
    module.train()

    names = ("query", "key", "value", "attend_mask")
    actual = run_graph(graph, {n: x.numpy() for n, x in zip(names, (*inputs, mask), strict=True)})

    blind = ~mask.any(-1, keepdim=True)  # [batch, 1, query_len, 1]
    right = {
        "output": output.masked_fill(blind[:, 0], 0.0).numpy(),
        "weights": weights.masked_fill(blind, 0.0).numpy(),
    }
    for name, tensor in right.items():
        assert not actual[name][tensor == 0.0].any()
        np.testing.assert_allclose(actual[name], tensor, rtol=0, atol=2e-6)


def test_the_same_module_gives_the_same_bytes(module: ShowsWeights, graph: bytes) -> None:
    again = OwnModule.tried(find_attention(module, None).module.eval(), **DIMS)
    assert whole_graph(again) == graph
    module.train()


@pytest.mark.usefixtures("report")
def test_module_is_left_as_it_is(module: ShowsWeights) -> None:
    assert module.training
    assert module.temperature.requires_grad


def test_random_numbers_go_on_undisturbed() -> None:
    drawing = Own(WRONG["dropout at all times"][0]).eval()
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    with pytest.raises(SourceError):
        OwnModule.tried(drawing, **DIMS)
    assert torch.rand(1) == expected


def test_module_without_weights_has_output_alone() -> None:
    taken = OwnModule.tried(Fused().eval(), **DIMS)
    assert (taken.outputs, taken.num_heads, taken.output_dim) == (("output",), 1, OUTPUT_DIM)


def test_absent_weights_are_none() -> None:
    class NoWeights(ShowsWeights):
        def forward(self, *arguments: Any, **inputs: Any) -> Any:
            return super().forward(*arguments, **inputs)[0], None

    assert OwnModule.tried(NoWeights().eval(), **DIMS).outputs == ("output",)


def test_arguments_are_known_by_their_names() -> None:
    OwnModule.tried(Keyworded().eval(), **DIMS)


def test_widths_follow_each_other_where_they_are_not_told() -> None:
    module = MultiHeadAttention(12, 2)
    taken = OwnModule.tried(module, query_dim=12)
    assert (taken.query_dim, taken.key_dim, taken.value_dim) == (12, 12, 12)


def test_large_scores_are_verified_with_smaller_inputs_then_and_later(tmp_path: Path) -> None:
    torch.manual_seed(7)
    module = ShowsWeights()
    with torch.no_grad():
        module.temperature.fill_(300.0)
    assert OwnModule.tried(ShowsWeights().eval(), **DIMS).spread == 1.0

    report = export(module, models=tmp_path, name="mine", **DIMS)

    model = read_model(report.directory)
    assert model.manifest.spread < 1.0
    again = verify(model.manifest, model.graphs, GraphReference(model.manifest, model.graphs))
    assert again.keys() == report.parity.keys()
    assert max(again.values()) <= TOLERANCE / 2


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG.keys())
def test_module_that_computes_something_else_is_refused(
    change: Callable[..., Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        export(Own(change), models=tmp_path, name="mine", **DIMS)
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "dims", "message"),
    [
        (
            OtherNames(),
            DIMS,
            "by these names, and need nothing else; it takes q, k, v, attend_mask",
        ),
        (MoreArguments(), DIMS, "need nothing else; it takes query, key, value, attend_mask, bias"),
        (Fused(), {}, "query_dim must be told"),
        (Fused(), {"query_dim": 0}, "query_dim must be at least 1, not 0"),
        (Fused(), {"query_dim": 13}, r"forward fails with query \[2, 5, 13\]"),
        (Flexible(average=True), DIMS, r"they are \[2, 5, 7\]"),
    ],
)
def test_module_that_cannot_be_called_is_refused(
    module: nn.Module, dims: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=message):
        export(module, models=tmp_path, name="mine", layer="", **dims)


def test_table_of_one_length_is_refused(tmp_path: Path) -> None:
    def up_to_64(attend: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Any:
        table = torch.ones(64, 64, dtype=torch.bool)
        return attend(q, k, v, mask & table[: q.shape[1], : k.shape[1]])

    with pytest.raises(SourceError, match=r"forward fails with query .+, key \[2, 70, 8\]"):
        export(Own(up_to_64), models=tmp_path, name="mine", **DIMS)
