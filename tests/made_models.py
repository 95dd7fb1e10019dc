"""Models of the kinds that people have, small and written node by node, and what is right of them.

``rotary`` turns queries and keys by their positions and is what decoders are: causal from the lower
right, with a window and a softcap of its own. ``biased`` biases its scores by the distance.
``whole`` comes as one graph that gives its weights too, ``output-only`` as one that does not. All
are 8 wide and have 4 heads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attention_service import reference
from attention_service.manifest import (
    FILE_NAME,
    MODEL_FILE,
    OUTPUTS,
    WHOLE_OUTPUTS,
    Defaults,
    Manifest,
    Positions,
)
from tests import node_by_node

__all__ = ["MODELS", "WIDTH", "MadeModel", "write_models"]

WIDTH, HEADS, HEAD_DIM, VALUE_HEAD_DIM, OUTPUT_DIM = 8, 4, 5, 3, 6
_FREQUENCIES = np.array([1.0, 0.1], np.float32)  # the fifth number of a head is not turned
_REACH = 3
_WHOLE_SCALE = 0.5


@dataclass(frozen=True)
class MadeModel:
    """A model, its matrices known."""

    name: str
    projections: reference.Projections
    files: Mapping[str, bytes]
    defaults: Defaults
    positions: Positions = "none"
    outputs: tuple[str, ...] = OUTPUTS
    table: NDArray[np.float32] | None = None
    """Biases by distance, [heads, 2 * reach + 1]."""

    @property
    def whole(self) -> bool:
        return set(self.files) == {MODEL_FILE}

    @property
    def manifest(self) -> Manifest:
        return Manifest(
            name=self.name,
            version="1",
            query_dim=WIDTH,
            key_dim=WIDTH,
            value_dim=WIDTH,
            output_dim=OUTPUT_DIM,
            head_dim=0 if self.whole else HEAD_DIM,
            value_head_dim=0 if self.whole else VALUE_HEAD_DIM,
            defaults=self.defaults,
            opset=20,
            files={name: hashlib.sha256(file).hexdigest() for name, file in self.files.items()},
            positions=self.positions,
            outputs=self.outputs,
            source={"family": "written node by node"},
        )

    def expected(self, query: Any, key: Any = None, value: Any = None, **call: Any) -> Any:
        """Returns output, scores, weights, head_outputs and log_sum_exp, float64.

        Keywords are those of ``AttentionClient.attend``, what is absent the model's own.
        """
        query_lengths = call.get("query_lengths")
        if query_lengths is None and key is None:
            query_lengths = call.get("kv_lengths")
        key = query if key is None else key
        value = key if value is None else value
        own = self.defaults
        causal = call.get("causal") or own.causal
        lengths = {
            "batch": len(query),
            "query_len": query.shape[1],
            "kv_len": key.shape[1],
            "kv_lengths": call.get("kv_lengths"),
            "query_lengths": query_lengths,
            "query_offsets": call.get("query_offsets"),
            "causal": causal,
        }
        allowed = reference.may_attend(
            **lengths,
            key_mask=call.get("key_mask"),
            attend_mask=call.get("attend_mask"),
            window=call.get("window") or (own.window_left, own.window_right),
        )
        queries = call.get("query_positions", reference.places(**lengths))
        keys = call.get("key_positions", np.tile(np.arange(key.shape[1]), (len(key), 1)))
        heads = self._heads(query, key, value, queries, keys)
        inside = reference.attention(
            *heads,
            scale=call.get("scale", own.scale or _WHOLE_SCALE),
            softcap=call.get("softcap", own.softcap),
            attn_bias=self._bias(call.get("attn_bias"), queries, keys),
            allowed=allowed,
            ablated_heads=call.get("ablated_heads", ()),
        )
        joined = reference.combine_heads(inside.head_outputs)
        w_o, b_o = (np.asarray(x, np.float64) for x in (self.projections.w_o, self.projections.b_o))
        output = joined @ w_o + b_o
        if self.whole:  # a query that sees nothing has no output, not the bias of the projection
            output *= allowed[:, 0].max(axis=-1, keepdims=True)
        return {"output": output, **inside._asdict()}

    def _heads(self, query: Any, key: Any, value: Any, queries: Any, keys: Any) -> list[Any]:
        matrices = self.projections
        counts = (self.defaults.num_heads, self.defaults.num_kv_heads, self.defaults.num_kv_heads)
        heads = [
            reference.split_heads(np.asarray(x, np.float64) @ np.asarray(matrix), count)
            for x, matrix, count in zip(
                (query, key, value), (matrices.w_q, matrices.w_k, matrices.w_v), counts, strict=True
            )
        ]
        if self.positions == "rotary":
            heads[0] = reference.rotate(heads[0], queries, _FREQUENCIES)
            heads[1] = reference.rotate(heads[1], keys, _FREQUENCIES)
        return heads

    def _bias(self, attn_bias: Any, queries: Any, keys: Any) -> Any:
        if self.table is None:
            return attn_bias
        added = reference.relative_bias(self.table, queries, keys)
        return added if attn_bias is None else added + np.asarray(attn_bias, np.float64)


def write_models(root: Path) -> None:
    """Writes every model into a models directory."""
    for model in MODELS.values():
        directory = root / model.name / "1"
        directory.mkdir(parents=True)
        for name, content in model.files.items():
            (directory / name).write_bytes(content)
        (directory / FILE_NAME).write_text(model.manifest.to_json(), encoding="utf-8")


def _projections(kv_heads: int) -> reference.Projections:
    random = np.random.default_rng(kv_heads)

    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        return np.asarray(random.standard_normal((rows, columns)) / np.sqrt(rows), np.float32)

    return reference.Projections(
        w_q=2 * matrix(WIDTH, HEADS * HEAD_DIM),
        w_k=2 * matrix(WIDTH, kv_heads * HEAD_DIM),
        w_v=matrix(WIDTH, kv_heads * VALUE_HEAD_DIM),
        w_o=matrix(HEADS * VALUE_HEAD_DIM, OUTPUT_DIM),
        b_o=random.standard_normal(OUTPUT_DIM).astype(np.float32),
    )


def _rotary() -> MadeModel:
    projections = _projections(2)
    return MadeModel(
        name="rotary",
        projections=projections,
        files={
            # Nobody runs the whole layer of a model in stages.
            **node_by_node.whole(_projections(HEADS), heads=HEADS, scale=_WHOLE_SCALE),
            **node_by_node.stages(projections, heads=HEADS, kv_heads=2, frequencies=_FREQUENCIES),
        },
        defaults=Defaults(HEADS, 2, scale=0.25, softcap=2.0, causal="lower_right", window_left=3),
        positions="rotary",
    )


def _biased() -> MadeModel:
    projections = _projections(HEADS)
    random = np.random.default_rng(0)
    table = random.standard_normal((HEADS, 2 * _REACH + 1)).astype(np.float32)
    return MadeModel(
        name="biased",
        projections=projections,
        files={
            **node_by_node.whole(projections, heads=HEADS, scale=_WHOLE_SCALE),
            **node_by_node.stages(projections, heads=HEADS, kv_heads=HEADS),
            **node_by_node.position_bias(table),
        },
        defaults=Defaults(HEADS, HEADS, scale=1.0),
        positions="relative_bias",
        table=table,
    )


def _whole(name: str, *, weights: bool) -> MadeModel:
    projections = _projections(HEADS)
    return MadeModel(
        name=name,
        projections=projections,
        files=node_by_node.whole(projections, heads=HEADS, scale=_WHOLE_SCALE, weights=weights),
        defaults=Defaults(HEADS, HEADS, scale=0.0),
        outputs=WHOLE_OUTPUTS if weights else ("output",),
    )


MODELS = {
    model.name: model
    for model in (
        _rotary(),
        _biased(),
        _whole("whole", weights=True),
        _whole("output-only", weights=False),
    )
}
"""By name."""
