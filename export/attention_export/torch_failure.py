"""Why torch does not export a module, in the words of whoever wrote the module."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

__all__ = ["why"]

_FIXED = re.compile(r"static shape of \d+ for dimension inputs\['(\w+)'\]\.shape\[(\d+)\]")
_NO_OPERATOR = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'")
_KEEPS = re.compile(r"tensor attribute (?:self\.)?(?:module\.)?(\S+) was assigned during export")
_DECIDES = "GuardOnDataDependentSymNode"


def why(error: BaseException, shapes: Mapping[str, Sequence[str | int]]) -> str:
    """Returns one line that says what in the module keeps it from being exported.

    Args:
        error: What ``torch.onnx.export`` raised.
        shapes: Shape of each input, with the names of those dimensions that are to stay dynamic.
    """
    causes = list(_causes(error))
    fixed = dict.fromkeys(
        str(shapes[name][int(dimension)])
        for name, dimension in _FIXED.findall(str(causes[-1]))
        if name in shapes
    )
    if fixed:
        return (
            f"the code works for one {' and one '.join(fixed)} only; take sizes from the shapes of "
            "the inputs, without loops over them and tables of one length"
        )
    if any(type(cause).__name__ == _DECIDES for cause in causes):
        return (
            "the code looks at the numbers in a tensor to decide what to do (if, while, .item()); "
            "torch.where decides inside a graph"
        )
    kept = _KEEPS.search(str(causes[-1]))
    if kept:
        return f"the code keeps {kept[1]} from its call; return it instead, or do not keep it"
    missing = _NO_OPERATOR.search(str(causes[-1]))
    if missing:
        return f"ONNX has no operator for {missing[1]}"
    return str(causes[-1]).strip().partition("\n")[0]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
