"""The call behind ``analyze_heads``, and what comes of it."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from attention_client._attend import AttendCall
from attention_client._attention import AttentionKeywords
from attention_client._call import Call, Server
from attention_client._methods import explained_by
from attention_client._names import HEAD_PATTERN_NAMES
from attention_client._over_limits import check_analysis
from attention_client._relations import PairsByRelation, relations_of
from attention_client._request import attention_of
from attention_client._results import AttentionSettings, Execution
from attention_service.head_analysis import HeadAnalysis
from attention_service.v1 import attention_pb2 as pb

__all__ = ["AnalyzeHeadsCall", "HeadAnalysisResult"]

_FIGURES = (
    "entropy",
    "normalized_entropy",
    "max_weight",
    "mean_distance",
    "self_share",
    "previous_share",
    "next_share",
    "first_share",
    "local_share",
)


@dataclass(frozen=True)
class HeadAnalysisResult:
    """The answer to ``analyze_heads``."""

    heads: tuple[HeadAnalysis, ...]
    """What each head attends to, in order."""
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


@explained_by(AttendCall)
@dataclass(frozen=True, eq=False)
class AnalyzeHeadsCall(AttentionKeywords, Call[HeadAnalysisResult]):
    """What each head attends to, in figures: no matrix of weights is sent or kept.

    Entropy, distance, the share of the weight on a query's own place, the place before and after,
    the first key and the places nearby, and the pattern that stands out. ``HeadAnalysis`` says
    what each figure is. Takes the keywords of ``attend`` that say what is computed.

    Args:
        relations: Pairs that belong together, by the name of their relation, to measure each
            head's weight on them: ``{"nsubj": [(sequence, query, key), ...]}``, the arcs of a
            parse say; for one sequence (query, key) will do.

    Returns:
        A ``HeadAnalysisResult``, one ``HeadAnalysis`` a head.

    Raises:
        InvalidRequestError: Refused, before sending or by the server.
        LimitExceededError: Over a limit of the server, before sending or by the server.
        ModelNotFoundError: No such model, or no such version.
        ServerUnavailableError: No server answers, after all retries.
        AttentionError: See ``attention_client.errors`` for the rest.
    """

    _: KW_ONLY
    relations: PairsByRelation | None = None

    async def exchange(self, server: Server) -> HeadAnalysisResult:
        """Returns the answer."""
        attention = attention_of(self)
        batch, query_len = attention.arrays["query"].shape[:2]
        kv_len = attention.arrays.get("key", attention.arrays["query"]).shape[1]
        relations = relations_of(self.relations, batch=batch, query_len=query_len, kv_len=kv_len)
        request = pb.AnalyzeHeadsRequest(
            attend=attention.message(),
            relations=[
                pb.Relation(
                    name=name,
                    pairs=[pb.Pair(sequence=b, query=i, key=j) for b, i, j in pairs.tolist()],
                )
                for name, pairs in relations.items()
            ],
        )
        answer: pb.AnalyzeHeadsResponse = await server.ask(
            "AnalyzeHeads", request, lambda limits: check_analysis(attention, limits)
        )
        return HeadAnalysisResult(
            heads=tuple(map(_head, answer.heads)),
            fully_masked_rows=answer.fully_masked_rows,
            execution=Execution.from_message(answer.execution),
            applied=AttentionSettings.from_message(answer.applied),
            model=answer.model,
            model_version=answer.model_version,
            request_id=attention.request_id,
        )


def _head(message: pb.HeadAnalysis) -> HeadAnalysis:
    """Returns what the contract's message says of one head."""
    return HeadAnalysis(
        head=message.head,
        rows=message.rows,
        **{
            name: getattr(message, name)
            for name in _FIGURES
            if message.HasField(name)  # type: ignore[arg-type]  # a literal in the stubs
        },
        pattern=HEAD_PATTERN_NAMES.get(message.pattern, "none"),
        relation=message.relation,
        relation_shares=dict(message.relation_shares),
    )
