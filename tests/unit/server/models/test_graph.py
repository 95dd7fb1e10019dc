"""ONNX files that mean harm are refused by what they hold, before ONNX Runtime sees them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from onnx import (
    FunctionProto,
    GraphProto,
    ModelProto,
    SparseTensorProto,
    TensorProto,
    TrainingInfoProto,
    defs,
    helper,
    numpy_helper,
)

from attention_server.models.graph import fault_in

Change = Callable[[ModelProto], None]
EXTERNAL = "refers to other files for its weights"
FLAT = "has loops or branches"
SPARSE = "has sparse weights"
SHAPE = "has a weight that holds more or less than its shape says"
KIND = "holds weights other than bool, float16 to 64, bfloat16 and (u)int8 to 64"
SIZE = "holds more than 4 MiB beside its weights"


def good() -> ModelProto:
    """Returns a graph of two operators and one weight."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["xw"]),
            helper.make_node("Relu", ["xw"], ["y"]),
        ],
        "stage",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 3])],
        [numpy_helper.from_array(np.ones((2, 3), np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)])


def weight(**fields: Any) -> Change:
    """Puts fields of the weight, in place of what they were."""

    def apply(model: ModelProto) -> None:
        tensor = model.graph.initializer[0]
        for name, value in fields.items():
            tensor.ClearField(name)
            tensor.MergeFrom(TensorProto(**{name: value}))

    return apply


def external(location: str, **places: str) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 3])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **places}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def as_weight(tensor: TensorProto) -> Change:
    return lambda model: model.graph.initializer[0].CopyFrom(tensor)


def a_place_alone(model: ModelProto) -> None:
    as_weight(external("weights.bin"))(model)
    weight(data_location=TensorProto.DEFAULT)(model)


def as_constant(tensor: TensorProto) -> Change:
    return lambda model: model.graph.node.append(
        helper.make_node("Constant", [], ["c"], value=tensor)
    )


def among_tensors(tensor: TensorProto) -> Change:
    def apply(model: ModelProto) -> None:
        model.graph.node[0].attribute.add(name="many", type=9).tensors.append(tensor)

    return apply


def node(operator: str, domain: str = "") -> Change:
    return lambda model: model.graph.node.append(
        helper.make_node(operator, ["y"], ["z"], domain=domain)
    )


def subgraph(operator: str, *attributes: str, holding: TensorProto | None = None) -> Change:
    inner = GraphProto(name="inner", initializer=[holding] if holding else [])
    graphs: dict[str, Any] = dict.fromkeys(attributes, inner)
    return lambda model: model.graph.node.append(helper.make_node(operator, ["y"], ["z"], **graphs))


def graphs_in_a_list(model: ModelProto) -> None:
    model.graph.node[0].attribute.add(name="many", type=10).graphs.add(name="inner")


def function(model: ModelProto) -> None:
    inner = helper.make_node("Constant", [], ["c"], value=external("weights.bin"))
    model.functions.append(FunctionProto(name="f", domain="mine", output=["c"], node=[inner]))


def training(model: ModelProto) -> None:
    model.training_info.append(TrainingInfoProto())
    model.training_info[0].initialization.initializer.append(external("weights.bin"))


def sparse() -> SparseTensorProto:
    """Returns a matrix of 2^80 bytes in a few."""
    return SparseTensorProto(
        values=numpy_helper.from_array(np.ones(1, np.float32), "w"),
        indices=numpy_helper.from_array(np.zeros(1, np.int64)),
        dims=[2**39, 2**39],
    )


def sparse_weight(model: ModelProto) -> None:
    model.graph.sparse_initializer.append(sparse())


def sparse_constant(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], sparse_value=sparse()))


def sparse_constants(model: ModelProto) -> None:
    model.graph.node[0].attribute.add(name="many", type=12).sparse_tensors.append(sparse())


def many_nodes(model: ModelProto) -> None:
    names = ["y", *(f"n{i}" for i in range(1000))]
    model.graph.node.extend(
        helper.make_node("Add", [before, "y"], [after])
        for before, after in itertools.pairwise(names)
    )


def many_numbers(model: ModelProto) -> None:
    model.graph.node[0].attribute.add(name="axes", type=7).ints.extend([2**40] * 1_000_000)


def unknown_field(model: ModelProto) -> None:
    """Adds field 200 to the weight."""
    model.graph.initializer[0].MergeFromString(b"\xc2\x0c\x03abc")


HARMFUL: Mapping[str, tuple[Change, str]] = {
    "external data beside the file": (as_weight(external("weights.bin")), EXTERNAL),
    "external data elsewhere": (as_weight(external("/etc/passwd")), EXTERNAL),
    "external data above": (as_weight(external("../../other/1/weights.bin")), EXTERNAL),
    "external data in part": (as_weight(external("w", offset="4096", length="24")), EXTERNAL),
    "external data without a place": (weight(data_location=TensorProto.EXTERNAL), EXTERNAL),
    "a place without external data": (a_place_alone, EXTERNAL),
    "external data in a constant": (as_constant(external("w")), EXTERNAL),
    "external data in a list": (among_tensors(external("w")), EXTERNAL),
    "external data in a branch": (
        subgraph("If", "then_branch", "else_branch", holding=external("w")),
        FLAT,
    ),
    "external data in a loop": (subgraph("Loop", "body", holding=external("w")), FLAT),
    "external data in a function": (function, "has functions of its own"),
    "external data in training steps": (training, "has training steps"),
    "a branch": (subgraph("If", "then_branch", "else_branch"), FLAT),
    "a loop": (subgraph("Loop", "body"), FLAT),
    "a scan": (subgraph("Scan", "body"), FLAT),
    "graphs in a list": (graphs_in_a_list, FLAT),
    "a sparse weight": (sparse_weight, SPARSE),
    "a sparse constant": (sparse_constant, SPARSE),
    "sparse constants in a list": (sparse_constants, SPARSE),
    "another domain": (node("Gelu", "com.microsoft"), "outside the ONNX standard"),
    "a domain of its own": (node("Run", "mine"), "outside the ONNX standard"),
    "a weight of 2^62 numbers": (weight(dims=[2**62]), SHAPE),
    "a weight whose size overflows to its own": (weight(dims=[2**32, 2**32, 6]), SHAPE),
    "a weight whose size overflows to 0": (weight(dims=[2**32, 2**32]), SHAPE),
    "a weight of negative size": (weight(dims=[-2, -3]), "has a weight of negative size"),
    "a weight too short": (weight(raw_data=bytes(23)), SHAPE),
    "a weight too long": (weight(raw_data=bytes(25)), SHAPE),
    "a weight without data": (
        lambda model: model.graph.initializer[0].ClearField("raw_data"),
        SHAPE,
    ),
    "a constant too short": (
        as_constant(TensorProto(data_type=1, dims=[9], float_data=[1.0] * 8)),
        SHAPE,
    ),
    "text": (
        as_weight(
            TensorProto(name="w", data_type=TensorProto.STRING, dims=[1], string_data=[b"a"])
        ),
        KIND,
    ),
    "numbers of 4 bits": (weight(data_type=TensorProto.INT4), KIND),
    "numbers of 8 bits in floating point": (weight(data_type=TensorProto.FLOAT8E4M3FN), KIND),
    "complex numbers": (weight(data_type=TensorProto.COMPLEX64, dims=[3]), KIND),
    "numbers of no kind": (weight(data_type=0), KIND),
    "numbers of an unknown kind": (weight(data_type=99), KIND),
    "1,002 operators": (many_nodes, "has more than 1000 operators"),
    "a million numbers in an attribute": (many_numbers, SIZE),
    "a name of 20 MB": (lambda model: setattr(model.graph, "name", "n" * 20_000_000), SIZE),
    "a weight's name of 5 MB": (weight(name="n" * (5 << 20)), SIZE),
    "a field from the future": (unknown_field, "has fields that the onnx package here"),
}
"""By what it holds: what is done to a good file, and what is said of it."""


DRAWING = sorted(
    {
        schema.name
        for schema in defs.get_all_schemas_with_history()
        if "seed" in schema.attributes and schema.domain in ("", "ai.onnx")
    }
)


@pytest.mark.parametrize("operator", DRAWING)
def test_graph_that_draws_random_numbers_is_refused(operator: str) -> None:
    model = good()
    node(operator)(model)

    said = fault_in({"stage.onnx": model.SerializeToString()})

    assert said == "stage.onnx draws random numbers; equal requests must have equal answers"


def test_plain_graph_is_taken() -> None:
    assert fault_in({"stage.onnx": good().SerializeToString()}) is None


@pytest.mark.parametrize(
    "tensor",
    [
        helper.make_tensor("c", TensorProto.FLOAT, [2], [1.0, 2.0]),
        helper.make_tensor("c", TensorProto.INT64, [], [2**40]),
        helper.make_tensor("c", TensorProto.FLOAT16, [2], [1.0, 2.0]),
        helper.make_tensor("c", TensorProto.BOOL, [2, 1], [True, False]),
        numpy_helper.from_array(np.zeros((0, 3), np.int32)),
        numpy_helper.from_array(np.zeros(1 << 20, np.float64)),
    ],
    ids=["floats", "a number", "half floats", "truths", "nothing", "8 MiB"],
)
def test_constant_of_any_numbers_is_taken(tensor: TensorProto) -> None:
    model = good()
    as_constant(tensor)(model)

    assert fault_in({"stage.onnx": model.SerializeToString()}) is None


@pytest.mark.parametrize(("change", "fault"), HARMFUL.values(), ids=HARMFUL)
def test_harmful_graph_is_refused_by_name(change: Change, fault: str) -> None:
    model = good()
    change(model)

    said = fault_in(
        {"good.onnx": good().SerializeToString(), "bad.onnx": model.SerializeToString()}
    )

    assert said is not None
    assert said.startswith("bad.onnx " + fault) or f" {fault}" in said
    assert len(said) < 200


@pytest.mark.parametrize(
    "content",
    [b"\xff" * 64, b"\0" * 64, good().SerializeToString()[:-1], b"\x3a\x80\x80\x80\x80\x10"],
    ids=["garbage", "zeros", "cut off", "a graph of 4 GiB"],
)
def test_what_is_not_onnx_is_refused(content: bytes) -> None:
    assert fault_in({"stage.onnx": content}) == "stage.onnx is not ONNX"


def test_graphs_in_graphs_without_end_are_refused() -> None:
    # attribute.g.node.attribute.g..., deeper than any reader's stack.
    nested = b""
    for _ in range(10_000):
        attribute = b"\x32" + varint(len(nested)) + nested
        node_ = b"\x2a" + varint(len(attribute)) + attribute
        nested = b"\x0a" + varint(len(node_)) + node_

    assert (
        fault_in({"stage.onnx": b"\x3a" + varint(len(nested)) + nested}) == "stage.onnx is not ONNX"
    )


def varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])
