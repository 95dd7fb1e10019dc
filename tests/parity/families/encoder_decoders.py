"""Encoders with decoders, which attend to themselves and to what was encoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from tests.parity.families.row import Family, Layer

__all__ = ["BART", "ENCODER_DECODERS", "ENCODER_DECODER_CLASSES", "T5"]

# The bias of T5 does not reach as far as the longest case, and its heads side by side are not as
# wide as the model. In the others encoder and decoder have different heads.
_T5 = {
    "vocab_size": 40,
    "d_model": 32,
    "d_kv": 8,
    "num_heads": 3,
    "num_layers": 1,
    "num_decoder_layers": 2,
    "d_ff": 20,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 12,
}
_BART = {
    "vocab_size": 40,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 20,
    "decoder_ffn_dim": 20,
    "max_position_embeddings": 48,
}
_MARIAN = {**_BART, "pad_token_id": 0}
_WHISPER = {
    **{name: size for name, size in _BART.items() if name != "max_position_embeddings"},
    "max_target_positions": 48,
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 0),
}


def _t5_layers(prefix: str = "") -> dict[str, Layer]:
    """Returns the layers of T5, by the prefix of the class that is built."""
    layer = partial(Layer, heads=3, scale=1.0)
    decoder = partial(layer, runs=f"{prefix}decoder", memory=True, decodes=True)
    biased_decoder = partial(decoder, positions="relative_bias", causal="lower_right")
    layers = {
        "encoder.0": layer(
            f"{prefix}encoder.block.0.layer.0.SelfAttention",
            runs=f"{prefix}encoder",
            positions="relative_bias",
        )
    }
    for i in range(2):
        place = f"{prefix}decoder.block.{i}.layer."
        layers[f"decoder.{i}.self"] = biased_decoder(f"{place}0.SelfAttention")
        layers[f"decoder.{i}.cross"] = decoder(f"{place}1.EncDecAttention", cross=True)
    return layers


def _bart_layers(prefix: str = "") -> dict[str, Layer]:
    """Returns the layers of BART and its kin, by the prefix of the class that is built."""
    decoder = partial(
        Layer, runs=f"{prefix}decoder", memory=True, decodes=True, heads=2, head_dim=16
    )
    return {
        "encoder.0": Layer(f"{prefix}encoder.layers.0.self_attn", runs=f"{prefix}encoder"),
        "decoder.0.self": decoder(f"{prefix}decoder.layers.0.self_attn", causal="lower_right"),
        "decoder.0.cross": decoder(f"{prefix}decoder.layers.0.encoder_attn", cross=True),
    }


def _whisper_layers(prefix: str = "") -> dict[str, Layer]:
    """Returns the layers of Whisper; those that see audio, which has no padding, run alone."""
    alone = partial(replace, runs=None, decodes=False)
    layers = _bart_layers(prefix)
    return layers | {name: alone(layers[name]) for name in ("encoder.0", "decoder.0.cross")}


def _only(stack: str, layers: Mapping[str, Layer]) -> dict[str, Layer]:
    return {name: layer for name, layer in layers.items() if name.startswith(stack)}


T5 = Family("t5", "T5ForConditionalGeneration", _T5, _t5_layers())
BART = Family("bart", "BartForConditionalGeneration", _BART, _bart_layers("model."))

ENCODER_DECODERS: tuple[Family, ...] = (
    T5,
    BART,
    Family("marian", "MarianModel", _MARIAN, _bart_layers()),
    Family("whisper", "WhisperModel", _WHISPER, _whisper_layers()),
)

_CLASSES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Layer]]] = {
    "T5Model": (_T5, _t5_layers()),
    "T5EncoderModel": (_T5, _only("encoder", _t5_layers())),
    "T5ForQuestionAnswering": (_T5, _t5_layers()),
    "T5ForSequenceClassification": (_T5, _t5_layers("transformer.")),
    "T5ForTokenClassification": (_T5, _only("encoder", _t5_layers("transformer."))),
    "MT5Model": (_T5, _t5_layers()),
    "UMT5Model": (_T5, _t5_layers()),
    "UMT5EncoderModel": (_T5, _only("encoder", _t5_layers())),
    "BartModel": (_BART, _bart_layers()),
    "BartForSequenceClassification": (_BART, _bart_layers("model.")),
    "BartForCausalLM": (_BART, _only("decoder", _bart_layers("model."))),
    "MBartModel": (_BART, _bart_layers()),
    "PegasusModel": (_BART, _bart_layers()),
    "M2M100Model": (_BART, _bart_layers()),
    "PLBartModel": (_BART, _bart_layers()),
    "BlenderbotModel": (_BART, _bart_layers()),
    "MarianMTModel": (_MARIAN, _bart_layers("model.")),
    "WhisperForConditionalGeneration": (_WHISPER, _whisper_layers("model.")),
    "WhisperForAudioClassification": (_WHISPER, _only("encoder", _whisper_layers())),
    "WhisperForCausalLM": (_WHISPER, _only("decoder", _whisper_layers("model."))),
}
ENCODER_DECODER_CLASSES = tuple(
    Family(name, name, config, layers) for name, (config, layers) in _CLASSES.items()
)
"""Other classes and models that the families above read, with all layers that these save."""
