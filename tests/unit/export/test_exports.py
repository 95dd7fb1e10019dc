from __future__ import annotations

import pytest

import attention_export


def test_public_names() -> None:
    assert dir(attention_export) == [
        "DamagedModelError",
        "ExportError",
        "ExportReport",
        "HuggingFaceModel",
        "InvalidNameError",
        "ModelExistsError",
        "MultiHeadAttention",
        "SourceError",
        "SourceLayer",
        "VerificationError",
        "export",
        "fresh_layer",
        "read_torch_layer",
    ]
    for name in dir(attention_export):
        assert getattr(attention_export, name).__name__ == name


def test_other_names_are_absent() -> None:
    with pytest.raises(AttributeError, match="'attention_export' has no attribute 'numpy'"):
        attention_export.__getattr__("numpy")


def test_every_error_is_an_export_error() -> None:
    for name in dir(attention_export):
        if name.endswith("Error"):
            assert issubclass(getattr(attention_export, name), attention_export.ExportError)
