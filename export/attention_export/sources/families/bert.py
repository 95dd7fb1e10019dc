"""BERT (Devlin et al. 2018): an encoder with absolute positions, added before the first layer."""

from __future__ import annotations

from attention_export.errors import SourceError
from attention_export.module import MultiHeadAttention
from attention_export.sources.checkpoint import Checkpoint
from attention_export.sources.config import Config
from attention_export.sources.digest import digest
from attention_export.sources.layer import SourceLayer, load_weights

__all__ = ["Bert"]

_PROJECTIONS = {
    "w_q": "attention.self.query",
    "w_k": "attention.self.key",
    "w_v": "attention.self.value",
    "w_o": "attention.output.dense",
}
# A model with a head on top, BertForMaskedLM say, holds the encoder under its own name.
_PREFIXES = ("", "bert.")


class Bert:
    """Self-attention of each layer; LayerNorm and the residual connection stand outside of it."""

    def layer_count(self, config: Config) -> int:
        """Returns the number of attention layers."""
        return config.size("num_hidden_layers")

    def layer(self, config: Config, checkpoint: Checkpoint, index: int) -> SourceLayer:
        """Returns one layer, ``index`` in 0 .. layer_count - 1.

        Raises:
            SourceError: Tensors that are missing or misshapen, or relative positions.
        """
        positions = config.text("position_embedding_type", "absolute")
        if positions != "absolute":
            raise SourceError(
                f"config.json: position_embedding_type {positions!r} adds to the scores, which is "
                "not supported; 'absolute' is"
            )
        try:
            module = MultiHeadAttention(
                config.size("hidden_size"), config.size("num_attention_heads")
            )
        except ValueError as error:
            raise SourceError(f"config.json: {error}") from None

        place = f"encoder.layer.{index}."
        prefix = next(
            (p for p in _PREFIXES if p + place + "attention.self.query.weight" in checkpoint), ""
        )
        names = {
            f"{ours}.{part}": f"{prefix}{place}{theirs}.{part}"
            for ours, theirs in _PROJECTIONS.items()
            for part in ("weight", "bias")
        }
        stored = checkpoint.read(
            {names[ours]: tuple(p.shape) for ours, p in module.named_parameters()}
        )
        load_weights(module, {ours: stored[theirs] for ours, theirs in names.items()})
        return SourceLayer(
            module,
            {"family": "bert", "layer": str(index), "digest": digest(stored)},
            causal="lower_right" if config.flag("is_decoder", False) else "none",
        )
