"""An ONNX graph as a short list of the operators between its inputs and its outputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import count, groupby, product
from string import ascii_lowercase
from typing import NamedTuple

from onnx import GraphProto, NodeProto

__all__ = ["outline"]

_TIMES = "\N{MULTIPLICATION SIGN}"
_SIZES = frozenset({"Constant", "Shape", "Size"})


def outline(graph: GraphProto) -> Iterator[str]:
    """Yields a line for each run of operators: "query → MatMul → Add → Reshape → query_heads".

    A run ends where the graph branches; what goes from one to another has a letter. An operator
    that follows on itself is counted. Weights are left out, and with them what comes of sizes
    alone: the new shape for a ``Reshape``, say.
    """
    letters = (
        "".join(word) for length in count(1) for word in product(ascii_lowercase, repeat=length)
    )
    names = {value.name: value.name for value in (*graph.input, *graph.output)}
    for run in _runs(graph):
        for value in run.results:
            if value not in names:
                names[value] = next(letters)
        operators = []
        for operator, same in groupby(node.op_type for node in run.nodes):
            times = len(list(same))
            operators.append(f"{operator} {_TIMES}{times}" if times > 1 else operator)
        sources = ", ".join(names[value] for value in run.sources)
        results = ", ".join(names[value] for value in run.results)
        yield " → ".join([sources, *operators, results])


class _Run(NamedTuple):
    """Operators of which each but the first takes what the one before gives, and nothing else."""

    sources: list[str]
    nodes: list[NodeProto]
    results: list[str]


def _runs(graph: GraphProto) -> list[_Run]:
    nodes = _nodes(graph)
    takers = Counter(value for _, taken in nodes for value in taken)
    takers.update(output.name for output in graph.output)
    runs: list[_Run] = []
    where: dict[str, int] = {}  # the run that a value comes from, by its place
    for node, sources in nodes:
        results = [output for output in node.output if takers[output]]
        place = where.get(sources[0], len(runs))
        taken_here_alone = all(takers[source] == 1 for source in sources)
        if place < len(runs) and runs[place].results == sources and taken_here_alone:
            begun = runs[place]
            runs[place] = _Run(begun.sources, [*begun.nodes, node], results)
        else:
            place = len(runs)
            runs.append(_Run(sources, [node], results))
        where.update(dict.fromkeys(results, place))
    return runs


def _nodes(graph: GraphProto) -> list[tuple[NodeProto, list[str]]]:
    """Returns the nodes that take what depends on an input, each with those of its inputs."""
    fixed = {"", *(tensor.name for tensor in graph.initializer)}
    nodes = []
    for node in graph.node:
        taken = [value for value in dict.fromkeys(node.input) if value not in fixed]
        if taken and node.op_type not in _SIZES:
            nodes.append((node, taken))
        else:
            fixed.update(node.output)
    return nodes
