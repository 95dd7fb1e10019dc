"""Encoders: every token sees every other, and positions are added before the first layer."""

from __future__ import annotations

from dataclasses import replace

from tests.parity.families.row import Family, Layer

__all__ = ["ENCODERS"]

_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 20,
}
_TEXT = {**_SIZES, "vocab_size": 40, "max_position_embeddings": 48}
_IMAGE = {**_SIZES, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}

_BERT_LAYER = Layer("encoder.layer.1.attention", ends="output.dense")
_BERT_DECODER = {
    "1": Layer(
        "bert.encoder.layer.1.attention",
        ends="output.dense",
        memory=True,
        decodes=True,
        causal="lower_right",
    ),
    "1.cross": Layer(
        "bert.encoder.layer.1.crossattention", ends="output.dense", cross=True, decodes=True
    ),
}
# Models of images run their attention by itself; it has 2 heads, so that CLIP's two parts differ.
_IMAGE_LAYER = Layer("layers.1.attention", runs=None, heads=2, head_dim=16)

ENCODERS: tuple[Family, ...] = (
    Family("bert", "BertModel", _TEXT, {"1": _BERT_LAYER}),
    Family(
        "bert-decoder",
        "BertLMHeadModel",
        {**_TEXT, "is_decoder": True, "add_cross_attention": True},
        _BERT_DECODER,
    ),
    Family("roberta", "RobertaModel", _TEXT, {"1": _BERT_LAYER}),
    Family(
        "distilbert",
        "DistilBertModel",
        {
            "vocab_size": 40,
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 20,
            "max_position_embeddings": 48,
        },
        {"1": Layer("transformer.layer.1.attention")},
    ),
    Family("electra", "ElectraModel", {**_TEXT, "embedding_size": 12}, {"1": _BERT_LAYER}),
    Family(
        "albert",
        "AlbertModel",
        {
            **_TEXT,
            "embedding_size": 12,
            "num_hidden_layers": 3,
            "num_hidden_groups": 2,
            "inner_group_num": 2,
        },
        {"5": Layer("encoder.albert_layer_groups.1.albert_layers.1.attention", ends="dense")},
    ),
    Family("vit", "ViTModel", _IMAGE, {"1": _IMAGE_LAYER}),
    Family(
        "clip",
        "CLIPModel",
        {"text_config": _TEXT, "vision_config": {**_IMAGE, "hidden_size": 24}},
        {
            "text.1": Layer(
                "text_model.encoder.layers.1.self_attn", runs="text_model", causal="lower_right"
            ),
            "vision.1": replace(
                _IMAGE_LAYER,
                place="vision_model.encoder.layers.1.self_attn",
                width=24,
                head_dim=12,
            ),
        },
    ),
)
