"""From what the page asks to the call that the SDK makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from attention_client._models import Model
from attention_client._specs import ScoresSpec, WeightsSpec
from attention_client.explore.asking import ArrayInput, Ask, TextInput
from attention_client.explore.errors import ExploreError
from attention_client.explore.texts import Texts
from attention_client.explore.uploads import Uploads

__all__ = ["Embedded", "Question", "embedded", "question"]

_DRAWN = 1 << 22  # weights that a page draws without trouble: 16 heads, 512 x 512
_PAD = "pad"
_MOST_HEADS = 4096
_ALL_STEPS = 20_000  # weights up to which the steps of every query are sent along


@dataclass(frozen=True)
class Embedded:
    """What goes in: arrays by keyword of ``attend``, and the tokens that they stand for."""

    arrays: dict[str, NDArray[Any]]
    kv_lengths: tuple[int, ...] | None
    tokens: tuple[tuple[str, ...], ...]  # of each sequence; without the padding that is masked
    key_tokens: tuple[tuple[str, ...], ...] | None  # the same as tokens where absent


@dataclass(frozen=True)
class Question:
    """A call of ``attend``, and what to show of its answer."""

    arrays: dict[str, NDArray[Any]]
    keywords: dict[str, Any]
    """What else ``attend`` is given, in its own names; defaults are left out."""
    tokens: tuple[str, ...]
    key_tokens: tuple[str, ...]
    sequence: int
    query: int
    steps_for: tuple[int, ...]
    """Queries whose steps the answer has."""
    heads: tuple[int, ...]
    """Heads that are shown."""
    num_heads: int
    """Heads that there are."""

    @property
    def given(self) -> dict[str, Any]:
        """All that ``attend`` is given, but the model."""
        return {**self.arrays, **self.keywords}


def embedded(ask: Ask, texts: Texts | None, uploads: Uploads) -> Embedded:
    """Returns the embeddings of what the page gave.

    Raises:
        ExploreError: An empty text, or texts where there is no tokenizer, or a file that is gone.
    """
    if isinstance(ask.input, ArrayInput):
        return _uploaded(ask.input, uploads, padding=ask.padding)
    if texts is None:
        raise ExploreError("texts need a tokenizer: start the page with --text DIRECTORY")
    return _text(ask.input, texts, padding=ask.padding)


def question(ask: Ask, given: Embedded, model: Model) -> Question:
    """Returns the call for ``given``, and what to show of it.

    Raises:
        ExploreError: A sequence, token or head that there is not, or more than can be drawn.
    """
    sequence = _in_range("sequence", ask.sequence, len(given.tokens))
    query_len = given.arrays["query"].shape[1]
    kv_len = given.arrays.get("key", given.arrays["query"]).shape[1]
    tokens = given.tokens[sequence]
    query = _in_range("token", min(ask.query, len(tokens) - 1), len(tokens))
    num_heads = ask.num_heads or model.defaults.num_heads
    if not num_heads:
        raise ExploreError(f"{model.name} takes any number of heads: say how many")
    if not 1 <= num_heads <= _MOST_HEADS:
        raise ExploreError(f"heads: the page takes 1 to {_MOST_HEADS:,}, not {num_heads}")
    heads = _shown(ask.heads, num_heads, query_len * kv_len)
    every_query = len(heads) * query_len * kv_len <= _ALL_STEPS
    return Question(
        arrays=given.arrays,
        keywords={
            **_attention(ask, given),
            **_outputs(model, heads, num_heads, None if every_query else query),
        },
        tokens=tokens,
        key_tokens=tokens if given.key_tokens is None else given.key_tokens[sequence],
        sequence=sequence,
        query=query,
        steps_for=tuple(range(len(tokens))) if every_query else (query,),
        heads=heads,
        num_heads=num_heads,
    )


def _text(given: TextInput, texts: Texts, *, padding: bool) -> Embedded:
    two = given.role != "none"
    if not given.text.strip() or (two and not given.second.strip()):
        raise ExploreError("type a second text" if given.text.strip() else "type a text")
    lines = [given.text, given.second] if given.role == "batch" else [given.text]
    array, lengths = texts.embed(*lines)
    tokens = tuple(map(tuple, map(texts.tokens, lines)))
    if given.role == "keys":
        key, _ = texts.embed(given.second)
        return Embedded(
            {"query": array, "key": key}, None, tokens, (tuple(texts.tokens(given.second)),)
        )
    if len(lines) > 1 and not padding:
        padded = tuple(line + (_PAD,) * (array.shape[1] - len(line)) for line in tokens)
        return Embedded({"query": array}, None, padded, None)
    said = tuple(lengths.tolist()) if len(lines) > 1 else None
    return Embedded({"query": array}, said, tokens, None)


def _uploaded(given: ArrayInput, uploads: Uploads, *, padding: bool) -> Embedded:
    named = {"query": given.query, "key": given.key, "value": given.value}
    arrays = {name: uploads.array(wanted) for name, wanted in named.items() if wanted is not None}
    lengths = given.kv_lengths if padding else None
    tokens = _numbered(arrays["query"])
    if given.key is not None:
        return Embedded(arrays, lengths, tokens, _numbered(arrays["key"]))
    if lengths is not None and len(lengths) == len(tokens):  # else the server says what is wrong
        tokens = tuple(line[: max(1, end)] for line, end in zip(tokens, lengths, strict=True))
    return Embedded(arrays, lengths, tokens, None)


def _numbered(array: NDArray[Any]) -> tuple[tuple[str, ...], ...]:
    batch, length = map(int, array.shape[:2])
    if not batch or not length:
        raise ExploreError("an array without a single embedding has nothing to attend to")
    return (tuple(map(str, range(length))),) * batch


def _attention(ask: Ask, given: Embedded) -> dict[str, Any]:
    said = {
        "kv_lengths": None if given.kv_lengths is None else list(given.kv_lengths),
        "causal": ask.causal,
        "window": ask.window,
        "num_heads": ask.num_heads,
        "version": ask.version or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def _outputs(
    model: Model, heads: tuple[int, ...], num_heads: int, query: int | None
) -> dict[str, Any]:
    """Returns what is asked for of what the model gives; scores of one query unless it is None."""
    if "weights" not in model.outputs:
        raise ExploreError(f"{model.name} gives no weights")
    some = None if len(heads) == num_heads else list(heads)
    asked: dict[str, Any] = {"weights": True if some is None else WeightsSpec(heads=some)}
    if "scores" in model.outputs:
        queries = None if query is None else [query]
        scores = ScoresSpec(heads=some, query_indices=queries)
        asked["scores"] = True if scores == ScoresSpec() else scores
    for name in ("projections", "head_outputs"):
        if name in model.outputs:
            asked[name] = True
    return asked


def _shown(wanted: tuple[int, ...] | None, num_heads: int, cells: int) -> tuple[int, ...]:
    fitting = _DRAWN // cells
    if not fitting:
        raise ExploreError(
            f"{cells:,} weights a head are more than the page draws, {_DRAWN:,}: give less text, "
            "or ask with the SDK"
        )
    if wanted is None:
        return tuple(range(min(num_heads, fitting)))
    if max(wanted) >= num_heads:
        raise ExploreError(f"head {max(wanted)} is none of 0 to {num_heads - 1}")
    if len(wanted) > fitting:
        raise ExploreError(f"the page draws {fitting} heads of this size at a time")
    return tuple(dict.fromkeys(wanted))


def _in_range(name: str, index: int, count: int) -> int:
    if index >= count:
        raise ExploreError(f"{name} {index} is none of 0 to {count - 1}")
    return index
