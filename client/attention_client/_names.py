"""The contract's enums as the short names that the SDK uses, both ways."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import numpy as np

from attention_service.head_patterns import HeadPattern
from attention_service.v1 import attention_pb2 as pb

CausalMode: TypeAlias = Literal["none", "upper_left", "lower_right"]
"""Whether a query may see keys after its place, and how queries align with keys."""

FloatType: TypeAlias = Literal["float32", "float16", "bfloat16"] | np.dtype[Any] | type[np.generic]
"""How floating-point numbers travel; numpy's and ml_dtypes' names for it count too."""

CAUSAL_MODES: Mapping[str, pb.CausalMode.ValueType] = MappingProxyType(
    {
        "none": pb.CAUSAL_MODE_NONE,
        "upper_left": pb.CAUSAL_MODE_UPPER_LEFT,
        "lower_right": pb.CAUSAL_MODE_LOWER_RIGHT,
    }
)

FLOAT_TYPES: Mapping[str, pb.DataType.ValueType] = MappingProxyType(
    {
        "float32": pb.DATA_TYPE_FLOAT32,
        "float16": pb.DATA_TYPE_FLOAT16,
        "bfloat16": pb.DATA_TYPE_BFLOAT16,
    }
)

CAUSAL_MODE_NAMES: Mapping[int, CausalMode] = MappingProxyType(
    {
        pb.CAUSAL_MODE_NONE: "none",
        pb.CAUSAL_MODE_UPPER_LEFT: "upper_left",
        pb.CAUSAL_MODE_LOWER_RIGHT: "lower_right",
    }
)

POSITION_USE_NAMES: Mapping[int, str] = MappingProxyType(
    {
        pb.POSITION_USE_UNSPECIFIED: "none",
        pb.POSITION_USE_ROTARY: "rotary",
        pb.POSITION_USE_RELATIVE_BIAS: "relative_bias",
    }
)

OUTPUT_NAMES: Mapping[int, str] = MappingProxyType(
    {
        pb.OUTPUT_OUTPUT: "output",
        pb.OUTPUT_WEIGHTS: "weights",
        pb.OUTPUT_SCORES: "scores",
        pb.OUTPUT_PROJECTIONS: "projections",
        pb.OUTPUT_HEAD_OUTPUTS: "head_outputs",
        pb.OUTPUT_LOG_SUM_EXP: "log_sum_exp",
    }
)

HEAD_PATTERN_NAMES: Mapping[int, HeadPattern] = MappingProxyType(
    {
        pb.HEAD_PATTERN_UNSPECIFIED: "none",
        pb.HEAD_PATTERN_SELF: "self",
        pb.HEAD_PATTERN_PREVIOUS: "previous",
        pb.HEAD_PATTERN_NEXT: "next",
        pb.HEAD_PATTERN_FIRST: "first",
        pb.HEAD_PATTERN_LOCAL: "local",
        pb.HEAD_PATTERN_GLOBAL: "global",
        pb.HEAD_PATTERN_RELATION: "relation",
    }
)
