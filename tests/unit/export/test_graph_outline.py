from __future__ import annotations

import onnx
import pytest
from onnx import parser

from attention_export.graph_outline import outline

HEADS_OF_A_QUERY = """
(float[batch, query_len, 8] query) => (float[batch, 2, query_len, 4] heads)
<float[1] w = {1}, float[1] b = {2}, int64[2] last = {2, 4}, int64[1] zero = {0}> {
    shape = Shape<end = 2>(query)
    projected = MatMul(query, w)
    biased = Add(projected, b)
    new_shape = Concat<axis = 0>(shape, last)
    split = Reshape(biased, new_shape)
    heads = Transpose<perm = [0, 2, 1, 3]>(split)
}"""

BRANCHES = """
(float[n] x, float[n] y) => (float[n] sum, float[n] both) {
    a0 = Abs(x)
    c = Cos(a0)
    s = Sin(a0)
    sum = Add(c, s)
    t0 = Mul(sum, y)
    t1 = Neg(t0)
    t2 = Neg(t1)
    both = Neg(t2)
}"""

TWO_RESULTS = """
(float[n] x) => (float[k] largest, int64[k] place) <int64[1] k = {2}> {
    turned = Neg(x)
    top, place = TopK(turned, k)
    largest = Neg(top)
}"""

TWO_RESULTS_TAKEN_TOGETHER = """
(float[n] x, int64[1] k) => (float[k] largest, int64[k] place) {
    top, at = TopK(x, k)
    largest = Gather(top, at)
    place = Neg(at)
}"""


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (HEADS_OF_A_QUERY, ["query → MatMul → Add → Reshape → Transpose → heads"]),
        (
            BRANCHES,
            [
                "x → Abs → a",
                "a → Cos → b",
                "a → Sin → c",
                "b, c → Add → sum",
                "sum, y → Mul → Neg \N{MULTIPLICATION SIGN}3 → both",
            ],
        ),
        (TWO_RESULTS, ["x → Neg → TopK → a, place", "a → Neg → largest"]),
        (
            TWO_RESULTS_TAKEN_TOGETHER,
            ["x, k → TopK → a, b", "a, b → Gather → largest", "b → Neg → place"],
        ),
    ],
    ids=[
        "sizes are left out",
        "branches have letters",
        "results end a run",
        "one of two taken twice",
    ],
)
def test_operators_stand_in_runs(text: str, lines: list[str]) -> None:
    graph: onnx.GraphProto = parser.parse_graph(f"layer {text}")
    assert list(outline(graph)) == lines


def test_letters_do_not_run_out() -> None:
    steps = "".join(f"a{i} = Abs(x{i})\nx{i + 1} = Add(a{i}, x{i})\n" for i in range(30))
    graph = parser.parse_graph(f"layer (float[n] x0) => (float[n] x30) {{ {steps} }}")
    assert list(outline(graph))[-1] == "bg, bf → Add → x30"
