from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from attention_export import MultiHeadAttention, SourceError, read_torch_layer


def torch_module(**settings: Any) -> nn.MultiheadAttention:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = nn.MultiheadAttention(12, 3, batch_first=True, **settings).eval()
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):  # torch begins with 0, which would hide one left out
                nn.init.normal_(parameter)
    return module


def saved(path: Path, tensors: dict[str, Tensor], prefix: str = "") -> Path:
    file = path / "state_dict.safetensors"
    save_file({prefix + name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    return file


def assert_same(theirs: nn.MultiheadAttention, ours: MultiHeadAttention) -> None:
    query = torch.randn(2, 4, 12)
    key, value = torch.randn(2, 5, theirs.kdim), torch.randn(2, 5, theirs.vdim)
    output, weights = theirs(query, key, value, average_attn_weights=False)
    torch.testing.assert_close(ours(query, key, value), (output, weights))


@pytest.mark.parametrize(
    "settings",
    [{}, {"bias": False}, {"kdim": 7, "vdim": 5}, {"kdim": 7, "vdim": 5, "bias": False}],
    ids=["stacked", "stacked without bias", "separate", "separate without bias"],
)
def test_layer_computes_what_torch_does(settings: dict[str, Any], tmp_path: Path) -> None:
    module = torch_module(**settings)
    layer = read_torch_layer(saved(tmp_path, module.state_dict()), 3)
    assert_same(module, layer.module)
    assert (layer.module.w_q.bias is None) == (settings.get("bias") is False)


@pytest.mark.parametrize("given", ["encoder.0.self_attn", "encoder.0.self_attn."])
def test_layer_is_found_under_its_prefix(given: str, tmp_path: Path) -> None:
    module = torch_module()
    path = saved(tmp_path, module.state_dict(), "encoder.0.self_attn.")
    layer = read_torch_layer(path, 3, prefix=given)
    assert_same(module, layer.module)
    assert layer.source["layer"] == "encoder.0.self_attn"


def test_source_names_family_and_digest(tmp_path: Path) -> None:
    module = torch_module()
    path = saved(tmp_path, module.state_dict())
    source = read_torch_layer(path, 3).source
    assert source["family"] == "torch.nn.MultiheadAttention"
    assert read_torch_layer(path, 3).source == source
    nn.init.zeros_(module.out_proj.bias)
    assert read_torch_layer(saved(tmp_path, module.state_dict()), 3).source != source


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    module = torch_module().to(dtype)
    layer = read_torch_layer(saved(tmp_path, module.state_dict()), 3).module
    assert {parameter.dtype for parameter in layer.parameters()} == {torch.float32}
    torch.testing.assert_close(layer.w_o.weight, module.out_proj.weight.float(), rtol=0, atol=0)


def without(name: str) -> dict[str, Tensor]:
    return {key: value for key, value in torch_module().state_dict().items() if key != name}


def changed(name: str, tensor: Tensor) -> dict[str, Tensor]:
    return {**torch_module().state_dict(), name: tensor}


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (torch_module(add_bias_kv=True).state_dict(), "add_bias_kv=True"),
        (without("out_proj.weight"), r"out_proj\.weight is missing"),
        (without("in_proj_weight"), "there is no torch.nn.MultiheadAttention without a prefix$"),
        (changed("in_proj_weight", torch.zeros(35, 12)), r"is \[35, 12\], where \[36, 12\]"),
        (changed("in_proj_bias", torch.zeros(12)), r"in_proj_bias is \[12\], where \[36\]"),
        (changed("out_proj.weight", torch.zeros(12)), r"is \[12\], where a matrix"),
        (changed("out_proj.weight", torch.zeros(12, 12, dtype=torch.int8)), "holds int8"),
        (changed("out_proj.bias", torch.full((12,), torch.nan)), "is not finite"),
    ],
)
def test_state_dict_that_does_not_fit_is_refused(
    tensors: dict[str, Tensor], message: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=message):
        read_torch_layer(saved(tmp_path, tensors), 3)


def test_wrong_prefix_is_answered_with_the_right_ones(tmp_path: Path) -> None:
    path = saved(tmp_path, torch_module().state_dict(), "layers.1.self_attn.")
    for prefix in ("", "layers.2"):
        with pytest.raises(SourceError, match=r"there is one under: layers\.1\.self_attn$"):
            read_torch_layer(path, 3, prefix=prefix)


def test_heads_that_do_not_divide_the_width_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, torch_module().state_dict())
    with pytest.raises(SourceError, match=r"must be a multiple of num_heads \(5\)"):
        read_torch_layer(path, 5)


def test_pickle_is_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "state_dict.pt"
    torch.save(torch_module().state_dict(), path)
    with pytest.raises(SourceError, match="is a pickle by its name"):
        read_torch_layer(path, 3)
    disguised = path.rename(tmp_path / "state_dict.safetensors")
    with pytest.raises(SourceError, match="cannot be read as safetensors"):
        read_torch_layer(disguised, 3)


@pytest.mark.parametrize("data", [None, b"", b"\xff" * 100], ids=["absent", "empty", "garbage"])
def test_file_that_is_no_safetensors_is_refused(data: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "state_dict.safetensors"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SourceError, match="cannot be read as safetensors"):
        read_torch_layer(path, 3)
