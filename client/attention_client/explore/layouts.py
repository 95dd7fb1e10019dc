"""How checkpoints make the input of their first attention layer from token ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attention_client.explore.checkpoint import Checkpoint
from attention_client.explore.errors import ExploreError

__all__ = ["Layout", "layout_of"]

Floats = NDArray[np.float32]

# Names of the table of word embeddings, after any prefix; the first that is there counts.
_TABLES = (
    "embeddings.word_embeddings.weight",
    "wte.weight",
    "embed_tokens.weight",
    "shared.weight",
    "embed_in.weight",
    "word_embeddings.weight",
    "tok_embeddings.weight",
)
# After a padding id p their positions start at p + 1 (Liu et al. 2019, as fairseq has it).
_POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert")
# Their blocks normalize before they attend, by root mean square (Zhang and Sennrich 2019).
_LIKE_LLAMA = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True)
class Norm:
    """LayerNorm (Ba et al. 2016) or, without centring, RMSNorm."""

    weight: Floats
    bias: Floats | None
    epsilon: float
    centred: bool = True

    def __call__(self, hidden: Floats) -> Floats:
        """Returns each row normalized, scaled and shifted; [..., width]."""
        if self.centred:
            hidden = hidden - hidden.mean(axis=-1, keepdims=True)
        variance = np.square(hidden).mean(axis=-1, keepdims=True)
        scaled: Floats = hidden / np.sqrt(variance + np.float32(self.epsilon)) * self.weight
        return scaled if self.bias is None else scaled + self.bias


@dataclass(frozen=True)
class Layout:
    """Word embeddings, and all that a checkpoint does to them before it attends."""

    checkpoint: Checkpoint
    words: str
    """Name of the table of word embeddings."""
    note: str
    """What the embeddings are made of."""
    positions: str = ""
    """Name of the table of positions; none where empty."""
    first_position: int = 0
    """Row of the first token's position."""
    token_type: Floats | None = None
    """Added to each token [width]."""
    norm: Norm | None = None
    """Comes last but for the projection."""
    projection: tuple[Floats, Floats] | None = None
    """Weight [hidden, width] and bias [hidden]."""

    def embed(self, ids: NDArray[np.int64]) -> Floats:
        """Returns the input of the first attention layer, float32 [batch, length, width].

        Raises:
            ExploreError: More tokens than there are positions.
        """
        hidden = self.checkpoint.rows(self.words, ids)
        if self.positions:
            table = self.checkpoint.read(self.positions)[self.first_position :]
            length = ids.shape[1]
            if length > len(table):
                raise ExploreError(
                    f"the text has {length} tokens; this checkpoint has {len(table)} positions"
                )
            hidden = hidden + table[:length]
        if self.token_type is not None:
            hidden = hidden + self.token_type
        if self.norm is not None:
            hidden = self.norm(hidden)
        if self.projection is not None:
            weight, bias = self.projection
            hidden = hidden @ weight.T + bias
        return hidden


def layout_of(checkpoint: Checkpoint) -> Layout:
    """Returns how ``checkpoint`` embeds tokens; bare word embeddings where it is not known.

    Raises:
        ExploreError: No table of word embeddings.
    """
    name = _table(checkpoint)
    model_type = checkpoint.config.get("model_type")
    if name.endswith("embeddings.word_embeddings.weight"):
        return _like_bert(checkpoint, name, name.removesuffix("word_embeddings.weight"))
    if name.endswith("wte.weight") and model_type == "gpt2":
        return _like_gpt2(checkpoint, name, name.removesuffix("wte.weight"))
    if name.endswith("embed_tokens.weight") and model_type in _LIKE_LLAMA:
        return _like_llama(checkpoint, name, name.removesuffix("embed_tokens.weight"))
    return Layout(checkpoint, name, "bare word embeddings: nothing is added or normalized")


def _table(checkpoint: Checkpoint) -> str:
    for known in _TABLES:
        names = [name for name in checkpoint.files if f".{name}".endswith(f".{known}")]
        if names:
            return min(names, key=len)
    raise ExploreError(
        "model.safetensors has no table of word embeddings by a name that is known: "
        + ", ".join(_TABLES)
    )


def _like_bert(checkpoint: Checkpoint, words: str, place: str) -> Layout:
    """BERT (Devlin et al. 2018) and its kin add positions and token types and normalize."""
    names, made_of = checkpoint.files, ["word embeddings"]
    positions = f"{place}position_embeddings.weight"
    types = f"{place}token_type_embeddings.weight"
    if positions in names:
        made_of.append("positions")
    if types in names:
        made_of.append("token type 0")
    norm = _norm(checkpoint, f"{place}LayerNorm", checkpoint.number("layer_norm_eps", 1e-12))
    first = 0
    if checkpoint.config.get("model_type") in _POSITIONS_AFTER_PADDING:
        first = int(checkpoint.number("pad_token_id", 1)) + 1
    return Layout(
        checkpoint,
        words,
        ", ".join(made_of) + ("; normalized" if norm else ""),
        positions=positions if positions in names else "",
        first_position=first,
        token_type=checkpoint.read(types)[0] if types in names else None,
        norm=norm,
        projection=_projection(checkpoint, place.removesuffix("embeddings.")),
    )


def _projection(checkpoint: Checkpoint, model: str) -> tuple[Floats, Floats] | None:
    """ELECTRA and ALBERT widen their embeddings (Clark et al. 2020, Lan et al. 2020)."""
    for name in ("embeddings_project", "encoder.embedding_hidden_mapping_in"):
        if f"{model}{name}.weight" in checkpoint.files:
            weight = checkpoint.read(f"{model}{name}.weight")
            return weight, checkpoint.read(f"{model}{name}.bias")
    return None


def _like_gpt2(checkpoint: Checkpoint, words: str, place: str) -> Layout:
    """GPT-2 (Radford et al. 2019) adds positions; its first block normalizes before it attends."""
    return Layout(
        checkpoint,
        words,
        "word embeddings and positions; normalized as the first layer does",
        positions=f"{place}wpe.weight",
        norm=_norm(checkpoint, f"{place}h.0.ln_1", checkpoint.number("layer_norm_epsilon", 1e-5)),
    )


def _like_llama(checkpoint: Checkpoint, words: str, place: str) -> Layout:
    """Llama (Touvron et al. 2023): positions come later, by rotating queries and keys."""
    name = f"{place}layers.0.input_layernorm.weight"
    norm = Norm(checkpoint.read(name), None, checkpoint.number("rms_norm_eps", 1e-6), False)
    return Layout(
        checkpoint, words, "word embeddings; normalized as the first layer does", norm=norm
    )


def _norm(checkpoint: Checkpoint, name: str, epsilon: float) -> Norm | None:
    for weight, bias in (("weight", "bias"), ("gamma", "beta")):  # the latter in old checkpoints
        if f"{name}.{weight}" in checkpoint.files:
            shift = checkpoint.read(f"{name}.{bias}")
            return Norm(checkpoint.read(f"{name}.{weight}"), shift, epsilon)
    return None
