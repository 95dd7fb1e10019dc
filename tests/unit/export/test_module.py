from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from attention_export import MultiHeadAttention
from attention_service import reference


def matrices(layer: MultiHeadAttention) -> reference.Projections:
    state = {name: tensor.double().numpy() for name, tensor in layer.state_dict().items()}
    weights = [state[f"w_{x}.weight"].T for x in "qkvo"]
    biases = [state.get(f"w_{x}.bias", 0.0) for x in "qkvo"]
    return reference.Projections(*weights, *biases)


def random_layer(seed: int, **sizes: Any) -> MultiHeadAttention:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MultiHeadAttention(**sizes)


@settings(max_examples=50)
@given(data=st.data())
def test_eager_agrees_with_the_reference(data: st.DataObject) -> None:
    size = st.integers(1, 5)
    kv_heads = data.draw(st.integers(1, 3))
    layer = random_layer(
        data.draw(st.integers(0, 99)),
        query_dim=data.draw(size),
        num_heads=kv_heads * data.draw(st.integers(1, 3)),
        num_kv_heads=kv_heads,
        key_dim=data.draw(size),
        value_dim=data.draw(size),
        output_dim=data.draw(size),
        head_dim=data.draw(size),
        value_head_dim=data.draw(size),
        bias=data.draw(st.booleans()),
    )
    batch, query_len, kv_len = data.draw(size), data.draw(size), data.draw(size)
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    query = random.standard_normal((batch, query_len, layer.query_dim)).astype(np.float32)
    key = random.standard_normal((batch, kv_len, layer.key_dim)).astype(np.float32)
    value = random.standard_normal((batch, kv_len, layer.value_dim)).astype(np.float32)
    mask = random.random((batch, layer.num_heads, query_len, kv_len)) < 0.6
    output, weights = layer(*map(torch.from_numpy, (query, key, value, mask)))
    expected, heads = reference.multi_head_attention(
        query,
        key,
        value,
        matrices(layer),
        num_heads=layer.num_heads,
        num_kv_heads=layer.num_kv_heads,
        allowed=mask,
    )
    np.testing.assert_allclose(output.detach(), expected, atol=2e-6)
    np.testing.assert_allclose(weights.detach(), heads.weights, atol=2e-6)
    assert not weights.detach().numpy()[~mask].any()


def test_agrees_with_torch_multihead_attention() -> None:
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    ours = MultiHeadAttention(12, 3)
    w_q, w_k, w_v = theirs.in_proj_weight.chunk(3)
    b_q, b_k, b_v = (bias + 0.5 for bias in theirs.in_proj_bias.chunk(3))
    theirs.in_proj_bias = nn.Parameter(torch.cat([b_q, b_k, b_v]))
    pairs = zip((ours.w_q, ours.w_k, ours.w_v), (w_q, w_k, w_v), (b_q, b_k, b_v), strict=True)
    for linear, weight, bias in pairs:
        linear.weight, linear.bias = nn.Parameter(weight), nn.Parameter(bias)
    ours.w_o = theirs.out_proj
    x = torch.randn(2, 5, 12)
    causal = torch.ones(5, 5, dtype=torch.bool).tril()
    output, weights = ours(x, attend_mask=causal[None, None])
    # There, true means "masked".
    right_output, right_weights = theirs(x, x, x, attn_mask=~causal, average_attn_weights=False)
    torch.testing.assert_close(output, right_output)
    torch.testing.assert_close(weights, right_weights)


def test_absent_key_is_the_query_and_absent_value_the_key() -> None:
    layer = MultiHeadAttention(8, 2)
    query, key = torch.randn(1, 3, 8), torch.randn(1, 4, 8)
    torch.testing.assert_close(layer(query), layer(query, query, query), rtol=0, atol=0)
    torch.testing.assert_close(layer(query, key), layer(query, key, key), rtol=0, atol=0)


def mask_with_an_empty_row() -> Tensor:
    mask = torch.ones(2, 1, 4, 4, dtype=torch.bool).tril()
    mask[0, 0, 2] = False
    return mask


def test_row_without_keys_gives_the_output_bias() -> None:
    layer = MultiHeadAttention(8, 2)
    output, weights = layer(torch.randn(2, 4, 8), attend_mask=mask_with_an_empty_row())
    assert not weights[0, :, 2].any()
    torch.testing.assert_close(output[0, 2], layer.w_o.bias)


@pytest.mark.parametrize("mask", [None, mask_with_an_empty_row()], ids=["unmasked", "masked"])
def test_gradients_reach_every_weight(mask: Tensor | None) -> None:
    layer = MultiHeadAttention(8, 4, num_kv_heads=2, output_dim=3)
    output, _ = layer(torch.randn(2, 4, 8), attend_mask=mask)
    output.square().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # A bias of the keys moves all scores of a row alike, so that softmax does not see it.
        assert parameter.grad.any() or name == "w_k.bias", name


def test_training_lowers_the_loss() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = MultiHeadAttention(8, 2)
        x = torch.randn(4, 6, 8)
    target = x.roll(1, dims=1)
    parameters = list(layer.parameters())
    losses = []
    for _ in range(40):
        loss = (layer(x)[0] - target).square().mean()
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=1.0)
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"num_heads": 3}, r"query_dim \(8\) must be a multiple of num_heads \(3\)"),
        ({"num_heads": 0}, "must be a divisor"),
        ({"num_heads": 4, "num_kv_heads": 3}, r"num_kv_heads \(3\) must be a divisor"),
        ({"num_heads": 4, "num_kv_heads": 0}, "must be a divisor"),
        ({"num_heads": 2, "head_dim": 0}, "head_dim must be at least 1"),
        ({"num_heads": 2, "output_dim": -1}, "output_dim must be at least 1"),
        ({"num_heads": 2, "scale": float("nan")}, "scale must be finite"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiHeadAttention(8, **sizes)
