from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from transformers import BertConfig, BertModel

from attention_export import (
    ExportError,
    MultiHeadAttention,
    SourceError,
    export,
    read_torch_layer,
)
from attention_export.sources.torch_module import find_attention

WIDTH, HEADS = 12, 4


def attention(**settings: Any) -> nn.MultiheadAttention:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        module = nn.MultiheadAttention(WIDTH, HEADS, dropout=0.5, **settings).eval()
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):  # torch begins with 0, which would hide one left out
                nn.init.normal_(parameter)
    return module


def encoder_layer() -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(WIDTH, HEADS, 16, batch_first=True)


def decoder_layer() -> nn.TransformerDecoderLayer:
    return nn.TransformerDecoderLayer(WIDTH, HEADS, 16, batch_first=True)


class TwoKinds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = attention()
        self.second = MultiHeadAttention(WIDTH, HEADS)

    def forward(self, x: Tensor) -> Tensor:
        return x


class Changed(nn.MultiheadAttention):
    def forward(self, *arguments: Any, **named: Any) -> Any:
        return super().forward(*arguments, **named)


@pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "sequence first"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"bias": False},
        {"kdim": 7, "vdim": 5},
        {"kdim": 7, "vdim": 5, "bias": False},
        {"dtype": torch.float64},
    ],
    ids=["plain", "no bias", "other widths", "other widths, no bias", "float64"],
)
def test_layer_computes_what_torch_does(batch_first: bool, settings: dict[str, Any]) -> None:
    theirs = attention(batch_first=batch_first, **settings)
    ours = find_attention(theirs, None).module
    query = torch.randn(2, 4, WIDTH)
    key, value = torch.randn(2, 5, theirs.kdim), torch.randn(2, 5, theirs.vdim)
    attend_mask = torch.rand(2 * HEADS, 4, 5) < 0.6
    attend_mask[..., 0] = True  # torch answers a row without keys with NaN

    given = [x.to(theirs.out_proj.weight.dtype) for x in (query, key, value)]
    if not batch_first:
        given = [x.transpose(0, 1) for x in given]
    output, weights = theirs(*given, attn_mask=~attend_mask, average_attn_weights=False)
    expected = output if batch_first else output.transpose(0, 1)

    mask = attend_mask.view(2, HEADS, 4, 5)
    torch.testing.assert_close(
        ours(query, key, value, mask), (expected.float(), weights.float()), rtol=1e-5, atol=1e-6
    )


def test_parametrized_weights_are_those_that_torch_computes_with() -> None:
    theirs = attention(batch_first=True)
    weight_norm(theirs, "in_proj_weight")
    with torch.no_grad():
        theirs.get_parameter("parametrizations.in_proj_weight.original0").mul_(2)
    query = torch.randn(2, 4, WIDTH)

    output, _ = find_attention(theirs, None).module(query)

    torch.testing.assert_close(output, theirs(query, query, query)[0])


@pytest.mark.parametrize(
    ("make", "layer", "inside"),
    [
        (encoder_layer, None, "self_attn"),
        (decoder_layer, "self_attn", "self_attn"),
        (decoder_layer, "multihead_attn", "multihead_attn"),
        (lambda: nn.TransformerEncoder(encoder_layer(), 2), "layers.1", "layers.1.self_attn"),
        (
            lambda: nn.Transformer(WIDTH, HEADS, 1, 1, 16, batch_first=True),
            "decoder.layers.0.multihead_attn",
            "decoder.layers.0.multihead_attn",
        ),
        (TwoKinds, "second", "second"),
    ],
)
def test_layer_is_found_in_what_holds_it(
    make: Callable[[], nn.Module], layer: str | None, inside: str
) -> None:
    module = make().eval()
    theirs = module.get_submodule(inside)

    found = find_attention(module, layer)

    assert found.source["layer"] == inside
    query, other = torch.randn(2, 4, WIDTH), torch.randn(2, 5, WIDTH)
    torch.testing.assert_close(found.module(query, other, other)[0], theirs(query, other, other)[0])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            encoder_layer().state_dict(),
            "not OrderedDict; load a state dict into its module, or save it with safetensors",
        ),
        (lambda query: query, "not function; let the forward of a module compute what it does$"),
        ("model.safetensors", "not str; give the layer itself, or what holds it$"),
    ],
    ids=["state dict", "function", "path"],
)
def test_what_is_no_module_is_refused(given: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f"^module must be a torch.nn.Module, {message}"):
        export(given, models=str(tmp_path), name="mine")


@pytest.mark.parametrize(
    ("make", "layer", "message"),
    [
        (
            decoder_layer,
            None,
            r"several attentions are there; name one as layer: self_attn, multihead_attn$",
        ),
        (TwoKinds, None, "name one as layer: first, second$"),
        (TwoKinds, "third", "there is no attention 'third'; there are: first, second$"),
        (
            encoder_layer,
            "linear1",
            "^'linear1' of the module is no attention; there are: self_attn$",
        ),
        (
            lambda: nn.Sequential(nn.Linear(4, 4), nn.Bilinear(4, 4, 4)),
            "1",
            r"^'1' of the module is no attention and .+; this one has forward\(input1, input2\)$",
        ),
        (lambda: nn.Linear(4, 4), "x.y", "^there is no attention 'x.y'$"),
        (
            lambda: BertModel(BertConfig(num_hidden_layers=1, vocab_size=8, hidden_size=12)),
            None,
            r"save_pretrained\(DIR\), then run attention-export huggingface DIR --name NAME$",
        ),
        (
            lambda: nn.TransformerEncoder(encoder_layer(), 2),
            "layers",
            r"name one as layer: layers\.0\.self_attn, layers\.1\.self_attn$",
        ),
        (
            lambda: nn.Linear(4, 4),
            None,
            r"forward\(query, key, value, attend_mask\); this one has forward\(input\)$",
        ),
        (lambda: Changed(WIDTH, HEADS), None, r"has forward\(arguments, named\)$"),
        (lambda: attention(add_bias_kv=True), None, "add_bias_kv=True"),
        (lambda: attention(add_zero_attn=True), None, "add_zero_attn=True"),
        (lambda: attention(device="meta"), None, r"no values yet \(meta or lazy ones\)$"),
    ],
)
def test_what_cannot_be_taken_is_refused(
    make: Callable[[], nn.Module], layer: str | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=message):
        export(make(), models=tmp_path, name="mine", layer=layer)
    assert not any(tmp_path.iterdir())


def test_layer_too_large_for_one_file_is_refused_before_it_is_copied(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"the weights take 6\.0 GiB"):
        export(nn.MultiheadAttention(20_000, 8, device="meta"), models=tmp_path, name="mine")


def test_layer_that_keeps_what_it_computed_is_refused_in_words(tmp_path: Path) -> None:
    layer = MultiHeadAttention(WIDTH, HEADS)
    layer.kept = layer(torch.randn(1, 2, WIDTH))[1]

    with pytest.raises(SourceError, match="weights kept from a call perhaps: detach it"):
        export(layer, models=tmp_path, name="mine")


def test_widths_that_are_not_those_of_the_layer_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"^key_dim of the layer is 12, not 8$"):
        export(attention(), models=tmp_path, name="mine", query_dim=WIDTH, key_dim=8)


def test_weights_are_known_by_one_digest_from_a_module_and_from_a_file(tmp_path: Path) -> None:
    module = decoder_layer()
    path = tmp_path / "decoder.safetensors"
    save_file(module.state_dict(), path)

    from_file = read_torch_layer(path, HEADS, prefix="self_attn").source

    assert find_attention(module, "self_attn").source == from_file
    assert find_attention(module, "multihead_attn").source["digest"] != from_file["digest"]
