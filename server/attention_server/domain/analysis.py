"""What each head of a request attends to, gathered block by block."""

from __future__ import annotations

import numpy as np

from attention_server.domain.masks import Block
from attention_server.domain.model import NO_WINDOW
from attention_server.domain.places import places
from attention_server.domain.request import AttendRequest, BoolArray, Float32Array, Int64Array
from attention_service.head_analysis import HeadAnalysis, HeadAnalyzer
from attention_service.head_relations import Relations

__all__ = ["AnalysisGatherer"]


class AnalysisGatherer:
    """Takes the weights of each block; gives the figures of all heads when all were taken."""

    def __init__(self, relations: Relations, request: AttendRequest) -> None:
        self._analyzer = HeadAnalyzer(
            heads=range(request.settings.num_heads),
            real_queries=np.arange(request.query_len) < request.mask.query_lengths[:, None],
            first_keys=_first_keys(request),
            places=_places(request),
            relations=relations,
        )

    def put(self, block: Block, weights: Float32Array, in_sight: BoolArray | None) -> None:
        """Takes a block's weights [batch, heads, queries, keys].

        ``in_sight`` broadcasts to the weights; None for all of the block's keys.
        """
        self._analyzer.add(
            weights,
            in_sight,
            sequence=block.batch.start,
            head=block.heads.start,
            query=block.queries.start,
            key=block.keys.start,
        )

    def result(self) -> tuple[HeadAnalysis, ...]:
        """Returns the figures of each head, once every block was put."""
        return tuple(self._analyzer.result())


def _first_keys(request: AttendRequest) -> Int64Array:
    """Returns the lowest key of each sequence that is not padding [batch]; 0 where all are."""
    real: BoolArray = np.arange(request.kv_len) < request.mask.kv_lengths[:, None]
    if request.mask.key_mask is not None:
        real &= request.mask.key_mask
    first: Int64Array = real.argmax(axis=1)
    return first


def _places(request: AttendRequest) -> Int64Array | None:
    """Returns the place of each query [batch or 1, query_len].

    None where nothing says it: queries that ask other keys than themselves stand nowhere.
    """
    mask, settings = request.mask, request.settings
    if (
        request.key is not request.query
        and settings.causal == "none"
        and settings.window == NO_WINDOW
        and mask.query_offsets is None
    ):
        return None
    return places(mask, settings, np.arange(request.query_len))
