"""The call behind ``attend``: what to return of an attention, and what all keywords mean."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from attention_client._asked import Asked
from attention_client._attention import AttentionKeywords
from attention_client._call import Call, Server
from attention_client._names import FloatType
from attention_client._over_limits import check_attend
from attention_client._request import request_of
from attention_client._results import AttendResult
from attention_client._specs import ScoresSpec, WeightsSpec


@dataclass(frozen=True, eq=False)
class AttendCall(AttentionKeywords, Call[AttendResult]):
    """Attention over one batch of sequences: the output and, on request, everything inside.

    Arrays are numpy's, lists, or anything with ``__array__`` or ``__dlpack__``, such as torch CPU
    tensors. float32, float16 and bfloat16 travel as they are, other real numbers become float32;
    the server computes in float32. In boolean masks true means "may attend"; all that is given
    applies together.

    Args:
        model: Name of the model. "sdpa" is scaled dot-product attention without projections.
        query: Embeddings that ask, finite [batch, query_len, query_dim].
        key: Embeddings that are looked up, finite [batch, kv_len, key_dim]; query where absent.
        value: Embeddings that are summed, finite [batch, kv_len, value_dim]; key where absent.
        kv_lengths: Keys of each sequence, the rest is padding; kv_len each where absent.
        query_lengths: Real queries of each sequence; kv_lengths in self-attention, else
            query_len each where absent.
        query_offsets: Place on the key axis of each sequence's first query.
        key_mask: Padding by position, bool [batch, kv_len].
        attend_mask: Pair by pair, bool [query_len, kv_len], [batch, query_len, kv_len] or
            [batch or 1, heads or 1, query_len or 1, kv_len].
        attn_bias: Added to the scores, float, shaped as attend_mask; -inf forbids.
        causal: "none", "upper_left" (the first query's place is 0) or "lower_right" (the last
            query's place is the last key); the model's own where absent.
        window: Keys in sight (before, after) a query's place, None on a side for no limit there;
            the model's own where absent, (None, None) for no limit at all.
        query_positions: For models that rotate or bias by position, integers of 0 or more
            [batch, query_len]; each query's place where absent. Needed without causality and
            query_offsets where there are more or fewer queries than keys.
        key_positions: For the same models, integers of 0 or more [batch, kv_len]; 0 to kv_len - 1
            where absent, whatever query_positions are. Masks do not look at positions.
        num_heads: Query heads; needed by "sdpa", the model's own where absent.
        num_kv_heads: Key and value heads, a divisor of num_heads; the model's own where absent,
            for "sdpa" num_heads.
        scale: Factor on the dot products; the model's own where absent, for "sdpa"
            1 / sqrt(head_dim).
        softcap: Bounds the scores to softcap * tanh(score / softcap), 0 for none; the model's own
            where absent.
        ablated_heads: Heads whose output is set to 0 before the heads are joined.
        output: Whether to return the output.
        weights: Whether to return attention weights, or which.
        scores: Whether to return scores before softcap, bias and mask, or which.
        projections: Whether to return projected query, key and value of each head.
        head_outputs: Whether to return each head's weighted sum.
        log_sum_exp: Whether to return the logarithm of the softmax denominators.
        dtype: "float32", "float16" or "bfloat16", also as a numpy dtype: how the answer travels.
        version: Version of the model; the newest where absent.
        request_id: Echoed in the result, at most 128 bytes.
        timeout: Seconds for all of it, retries included; the client's where absent.

    Returns:
        An ``AttendResult``; what was not asked for is None in it.

    Raises:
        InvalidRequestError: Refused, before sending or by the server.
        LimitExceededError: Over a limit of the server, before sending or by the server.
        RequestTooLargeError: Larger than a message may be.
        NonFiniteError: NaN or infinity, or scores beyond float32.
        ModelNotFoundError: No such model, or no such version.
        ServerUnavailableError: No server answers, after all retries.
        DeadlineExceededError: No answer in time.
        AttentionError: See ``attention_client.errors`` for the rest.
    """

    _: KW_ONLY
    output: bool = True
    weights: bool | WeightsSpec = False
    scores: bool | ScoresSpec = False
    projections: bool = False
    head_outputs: bool = False
    log_sum_exp: bool = False
    dtype: FloatType = "float32"

    async def exchange(self, server: Server) -> AttendResult:
        """Returns the answer."""
        request = request_of(self)
        answer = await server.attend(request, lambda limits: check_attend(request, limits))
        return AttendResult.from_answer(answer, request.request_id, Asked.of(self, request))
