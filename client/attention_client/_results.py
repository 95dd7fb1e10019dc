"""What comes of a call to ``attend``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attention_client._asked import Asked
from attention_client._extras import extra
from attention_client._head_analysis import analysis_of
from attention_client._incoming import TENSORS, Answer
from attention_client._names import CAUSAL_MODE_NAMES, CausalMode
from attention_client._relations import PairsByRelation
from attention_service.head_analysis import HeadAnalysis
from attention_service.v1 import attention_pb2 as pb

if TYPE_CHECKING:
    from attention_client.viz.figure import HeatMap
    from attention_client.viz.maps import Tokens

__all__ = ["AttendResult", "AttentionSettings", "Execution"]

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.floating[Any]]

_NONE = dict.fromkeys(TENSORS)


@dataclass(frozen=True)
class AttentionSettings:
    """The attention that is computed."""

    num_heads: int
    """Query heads; 0 where the request says."""
    num_kv_heads: int
    """Key and value heads; 0 where the request says."""
    scale: float
    """Factor on the dot products; 0 where the request says, or a model keeps it to itself."""
    softcap: float
    """Bound of the scores; 0 for none, or for one that such a model keeps to itself."""
    causal: CausalMode
    """Causality."""
    window: tuple[int | None, int | None] | None
    """Keys in sight before and after a query's place; None for no limit."""

    @classmethod
    def from_message(cls, message: pb.AttentionSettings) -> AttentionSettings:
        """Returns what the contract's message says."""
        left = right = None
        if message.HasField("window"):
            window = message.window
            left = window.left if window.HasField("left") else None
            right = window.right if window.HasField("right") else None
        return cls(
            num_heads=message.num_heads,
            num_kv_heads=message.num_kv_heads,
            scale=message.scale,
            softcap=message.softcap,
            causal=CAUSAL_MODE_NAMES.get(message.causal, "none"),
            window=None if left is None and right is None else (left, right),
        )


@dataclass(frozen=True)
class Execution:
    """How an answer was computed."""

    provider: str
    """ONNX Runtime execution provider, "CPUExecutionProvider" say."""
    path: str
    """Name of the path taken through the engine."""
    batched_requests: int
    """Requests computed together with this one, itself included."""
    queue_us: int
    """Time between arrival and the start of computing, microseconds."""
    compute_us: int
    """Time of computing, microseconds."""

    @classmethod
    def from_message(cls, message: pb.Execution) -> Execution:
        """Returns what the contract's message says."""
        return cls(
            provider=message.provider,
            path=message.path,
            batched_requests=message.batched_requests,
            queue_us=message.queue_us,
            compute_us=message.compute_us,
        )


@dataclass(frozen=True, eq=False, repr=False)
class AttendResult:
    """The answer to ``attend``.

    What was not asked for is None. Arrays are float32, or float16 where that was asked for
    (bfloat16 comes as float32), and read-only: ``array.copy()`` may be written to.
    """

    output: FloatArray | None
    """[batch, query_len, output_dim]."""
    weights: FloatArray | None
    """After softmax and before ablation, [batch, selected heads, selected queries, kv_len or
    top_k]."""
    weight_key_indices: NDArray[np.int32] | None
    """The key index of each weight, shaped as weights; present with top_k. -1, with weight 0,
    where fewer keys were in sight."""
    scores: FloatArray | None
    """Before softcap, bias and mask, [batch, selected heads, selected queries, kv_len]."""
    query_heads: FloatArray | None
    """After rotation, where the model rotates, [batch, heads, query_len, head_dim]."""
    key_heads: FloatArray | None
    """[batch, kv_heads, kv_len, head_dim]."""
    value_heads: FloatArray | None
    """[batch, kv_heads, kv_len, value_head_dim]."""
    head_outputs: FloatArray | None
    """After ablation, [batch, heads, query_len, value_head_dim]."""
    log_sum_exp: NDArray[np.float32] | None
    """Natural logarithm of the softmax denominator, float32 [batch, heads, query_len]."""
    fully_masked_rows: int
    """Rows (sequence, head, query), of real queries, that could attend to nothing."""
    execution: Execution
    """How the answer was computed."""
    applied: AttentionSettings
    """What was computed, all defaults filled in."""
    model: str
    """Model that answered."""
    model_version: str
    """Version that answered."""
    request_id: str
    """As asked."""
    _asked: Asked | None = None
    """What the call said of its masks and weights; None where the call is not known."""

    @classmethod
    def from_answer(
        cls, answer: Answer, request_id: str = "", asked: Asked | None = None
    ) -> AttendResult:
        """Returns what an answer says, to a request that its caller named so and that asked this.

        Raises:
            ProtocolError: A tensor that is none.
        """
        message = answer.message
        arrays: dict[str, Any] = {**_NONE, **answer.arrays()}
        return cls(
            **arrays,
            fully_masked_rows=message.fully_masked_rows,
            execution=Execution.from_message(message.execution),
            applied=AttentionSettings.from_message(message.applied),
            model=message.model,
            model_version=message.model_version,
            request_id=request_id,
            _asked=asked,
        )

    @cached_property
    def in_sight(self) -> BoolArray | None:
        """Which keys each row of weights may attend to, bool shaped as weights; None without them.

        By all masks of the call, lengths, causality and window; a weight that is not in sight is
        0. A mean over heads has in sight what any of the heads has. Found when it is first asked
        for, from the masks that the call was given: leave those as they were.
        """
        if self.weights is None or self._asked is None:
            return None
        if self.weight_key_indices is not None:
            seen: BoolArray = self.weight_key_indices >= 0
        else:
            seen = self._asked.in_sight(
                num_heads=self.applied.num_heads,
                causal=self.applied.causal,
                window=self.applied.window,
            )
        return np.broadcast_to(seen, self.weights.shape)  # read-only

    @property
    def selected_heads(self) -> tuple[int, ...]:
        """Heads that the weights are of, in order; with average_heads those of the mean."""
        return () if self._asked is None else self._asked.heads(self.applied.num_heads)

    @property
    def selected_queries(self) -> tuple[int, ...]:
        """Queries that the weights are of, in order."""
        return () if self._asked is None else self._asked.queries

    def head_analysis(self, relations: PairsByRelation | None = None) -> tuple[HeadAnalysis, ...]:
        """Returns what each head attends to, in figures, from the weights of this result.

        The figures are those of ``analyze_heads``, of the selected heads over the selected
        queries, each query once; weights in float16 make them less exact.

        Args:
            relations: Pairs that belong together, by the name of their relation, to measure each
                head's weight on them: ``{"nsubj": [(sequence, query, key), ...]}``; for one
                sequence (query, key) will do. Pairs of queries that were not selected are left
                out.

        Raises:
            InvalidRequestError: Weights that were not asked for, or no whole rows of single heads;
                relations that are none.
        """
        return analysis_of(
            self.weights,
            self.in_sight,
            self._asked,
            num_heads=self.applied.num_heads,
            causal=self.applied.causal,
            window=self.applied.window,
            relations=relations,
        )

    def heatmap(
        self,
        tokens: Tokens | None = None,
        key_tokens: Tokens | None = None,
        *,
        heads: Sequence[int] | None = None,
        queries: Sequence[int] | None = None,
        batch: int = 0,
        mean: bool = False,
        vmax: float | None = 1.0,
        values: bool | None = None,
        width: float = 10.0,
        title: str | None = None,
    ) -> HeatMap:
        """Returns the weights of one sequence as a matplotlib figure, a heat map each head.

        Of one query, one map with a row each head. Padding is cut off; what may not be attended
        to is striped grey. ``figure.savefig("heads.pdf")`` saves it, as PNG and SVG too; notebooks
        show it. Needs ``pip install 'attention-service[viz]'``.

        Args:
            tokens: One string a query, of the sequence that is drawn, or a list of them for each
                sequence; "天气" is the same as ["天", "气"]. Numbers where absent.
            key_tokens: The same of the keys; the tokens where absent and keys are the queries.
            heads: Heads to draw, in this order; all that the weights are of where absent.
            queries: Queries to draw, in this order, -1 is the last; all where absent.
            batch: The sequence to draw.
            mean: Whether to draw the mean of these heads beside them.
            vmax: Weight of the darkest colour. Pictures with the same one compare, and a weight is
                a share of 1; None for the largest weight drawn, for heads that look at everything.
            values: Whether to write weights in the cells; absent, where one map has room for them.
            width: Of the figure at most, inches, 3 or more.
            title: Above the maps; the model and its version where absent.

        Raises:
            ValueError: No weights, or not all of them, or an argument that does not fit them.
            MissingExtraError: The extra is not installed; an ImportError.
        """
        with extra("viz", "heat maps"):
            from attention_client.viz.heatmap import heatmap
        return heatmap(
            self,
            tokens,
            key_tokens,
            heads=heads,
            queries=queries,
            batch=batch,
            mean=mean,
            vmax=vmax,
            values=values,
            width=width,
            title=title,
        )

    def to_html(
        self,
        tokens: Tokens | None = None,
        key_tokens: Tokens | None = None,
        *,
        heads: Sequence[int] | None = None,
        queries: Sequence[int] | None = None,
        batch: int = 0,
        steps_for: Sequence[int] | None = None,
        title: str | None = None,
    ) -> str:
        """Returns the weights of one sequence as an HTML page of its own, to be explored.

        All heads as heat maps and lines, in light and dark, by pointer and keyboard, with what
        each head does in figures; it needs neither network nor another file, and nothing but the
        base install. ``Path("page.html").write_text(result.to_html(tokens), encoding="utf-8")``
        saves it. It keeps weights within 1/510 of the largest of their row; 12 heads over 512
        tokens make 4.6 MB.

        Args:
            tokens: As of ``heatmap``, as are ``key_tokens``, ``heads``, ``queries`` and ``batch``.
            key_tokens: See there.
            heads: See there.
            queries: See there.
            batch: See there.
            steps_for: Queries whose steps are shown one by one, -1 is the last: of scores,
                softmax and weighted values those that the result has, which come with
                ``scores`` and ``projections``. Where absent all, or the last where all are many.
            title: Above the page; the model and its version where absent.

        Raises:
            ValueError: No weights, or not all of them, or an argument that does not fit them.
        """
        from attention_client.viz.page import page
        from attention_client.viz.view import view

        return page(
            view(
                self,
                tokens=tokens,
                key_tokens=key_tokens,
                heads=heads,
                queries=queries,
                batch=batch,
                steps_for=steps_for,
                title=title,
            )
        )

    def _repr_html_(self) -> str | None:
        """Returns the page of the first sequence in a frame, for notebooks; None without."""
        from attention_client.viz.page import framed

        return framed(self)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Returns the arrays that are present, by name: ``np.savez(path, **result.arrays())``."""
        present = ((name, getattr(self, name)) for name in TENSORS)
        return {name: array for name, array in present if array is not None}

    def __repr__(self) -> str:
        arrays = "".join(
            f", {name}={array.dtype}{list(array.shape)}" for name, array in self.arrays().items()
        )
        return (
            f"AttendResult(model={self.model!r}, model_version={self.model_version!r}{arrays}, "
            f"fully_masked_rows={self.fully_masked_rows})"
        )
