"""What each head does to the output, against the formula."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from attention_client import InvalidRequestError, Reason
from attention_server import EmbeddedServer
from attention_service import reference
from attention_service.tensor import encode
from attention_service.v1 import attention_pb2 as pb

Ask = Callable[..., Any]
Serve = Callable[..., str]

HEADS = 4
QUERY = np.random.default_rng(0).standard_normal((2, 5, 16), np.float32)
LENGTHS = [5, 2]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with EmbeddedServer() as embedded:
        yield embedded.address


def output(*ablated: int, rows: NDArray[Any] | None = None) -> NDArray[np.float64]:
    """Returns what the formula gives without these heads, of these rows [batch, query_len]."""
    heads = reference.split_heads(QUERY, HEADS)
    allowed = reference.may_attend(batch=2, query_len=5, kv_len=5, kv_lengths=LENGTHS)
    inside = reference.attention(heads, heads, heads, allowed=allowed, ablated_heads=ablated)
    joined = reference.combine_heads(inside.head_outputs)
    return joined if rows is None else joined[rows]


def change(head: int, *ablated: int) -> float:
    """Returns the relative change by the formula, over the rows of real queries."""
    real = np.arange(5) < np.array(LENGTHS)[:, None]
    whole = output(*ablated, rows=real)
    without = output(*ablated, head, rows=real)
    return float(np.sqrt(((whole - without) ** 2).sum()) / np.sqrt((whole**2).sum()))


def test_each_head_is_removed_in_turn(server: str, ask: Ask) -> None:
    result = ask(
        server,
        lambda c: c.ablate_heads("sdpa", QUERY, num_heads=HEADS, kv_lengths=LENGTHS, outputs=True),
    )

    assert result.heads == (0, 1, 2, 3)
    assert result.relative_change.dtype == np.float64
    np.testing.assert_allclose(result.relative_change, [change(h) for h in range(4)], rtol=1e-6)
    np.testing.assert_allclose(result.whole.output, output(), atol=1e-5)
    np.testing.assert_allclose(result.outputs, [output(h) for h in range(4)], atol=1e-5)


def test_only_the_heads_that_are_named_are_removed(server: str, ask: Ask) -> None:
    result = ask(
        server,
        lambda c: c.ablate_heads(
            "sdpa", QUERY, num_heads=HEADS, kv_lengths=LENGTHS, heads=[3, 1], ablated_heads=[0]
        ),
    )

    assert result.heads == (3, 1)
    assert result.outputs is None
    np.testing.assert_allclose(result.relative_change, [change(3, 0), change(1, 0)], rtol=1e-6)


@pytest.mark.parametrize(
    ("without", "expected"), [(0.0, 0.0), (2.0, np.inf)], ids=["nothing", "everything"]
)
def test_an_output_of_0_changes_by_nothing_or_beyond_measure(
    serve: Serve, ask: Ask, without: float, expected: float
) -> None:
    def handler(request: pb.AttendRequest, _: Any) -> pb.AttendResponse:
        number = without if request.heads.ablated_heads else 0.0
        return pb.AttendResponse(
            output=encode(np.full((1, 1, 1), number, np.float32)),
            applied=pb.AttentionSettings(num_heads=1),
        )

    result = ask(serve(Attend=handler), lambda c: c.ablate_heads("m", [[[1.0]]]))

    np.testing.assert_array_equal(result.relative_change, [expected])


def test_a_head_that_the_model_does_not_have_is_refused(server: str, ask: Ask) -> None:
    with pytest.raises(InvalidRequestError, match="ablated_heads") as caught:
        ask(server, lambda c: c.ablate_heads("sdpa", QUERY, num_heads=HEADS, heads=[4]))

    assert caught.value.reason is Reason.OUT_OF_RANGE


@pytest.mark.parametrize("keywords", [{"heads": []}, {"heads": [-1]}, {"outputs": 1}])
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(
    ask: Ask, keywords: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequestError, match=next(iter(keywords))):
        ask("localhost:1", lambda c: c.ablate_heads("m", QUERY, **keywords))
