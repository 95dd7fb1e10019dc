from __future__ import annotations

from itertools import pairwise

import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from attention_export import ExportError
from attention_export.servable_graph import check_servable
from attention_server.models.graph import fault_in
from tests.unit.server.models.test_graph import HARMFUL, good

X = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows"])
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows"])


def model(*nodes: onnx.NodeProto) -> ModelProto:
    return helper.make_model(
        helper.make_graph(nodes, "graph", [X], [Y]), opset_imports=[helper.make_opsetid("", 23)]
    )


def branching() -> ModelProto:
    same = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "same", [], [Y])
    return model(helper.make_node("If", ["x"], ["y"], then_branch=same, else_branch=same))


def long() -> ModelProto:
    names = ["x", *(f"x{i}" for i in range(1000)), "y"]
    return model(*(helper.make_node("Identity", [x], [y]) for x, y in pairwise(names)))


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (branching(), r"^no server takes the graph: it has loops or branches; .* \(If\)$"),
        (
            model(helper.make_node("RandomNormalLike", ["x"], ["y"])),
            r"draws random numbers; .* \(RandomNormalLike\)$",
        ),
        (
            model(helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")),
            r"operators outside the ONNX standard \(Gelu\)$",
        ),
        (long(), "it has more than 1000 operators$"),
    ],
)
def test_graph_that_servers_refuse_is_refused(refused: ModelProto, message: str) -> None:
    graph = refused.SerializeToString()
    with pytest.raises(ExportError, match=message):
        check_servable(graph)
    assert fault_in({"model.onnx": graph}) is not None


@pytest.mark.parametrize("harm", HARMFUL)
def test_what_the_server_refuses_for_its_harm_is_refused(harm: str) -> None:
    refused = good()
    HARMFUL[harm][0](refused)
    with pytest.raises(ExportError, match=r"^no server takes the graph: it "):
        check_servable(refused.SerializeToString())


@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_graph_that_servers_take_is_taken(domain: str) -> None:
    node = helper.make_node("Identity", ["x"], ["y"], domain=domain)
    graph = model(node).SerializeToString()
    check_servable(graph)
    assert fault_in({"model.onnx": graph}) is None
