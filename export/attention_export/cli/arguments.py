"""Arguments of attention-export; nothing here needs torch, so that --help comes at once."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias, get_args

from attention_export.cli.layer_selection import LayerSelection
from attention_service.manifest import Causal

__all__ = ["parse"]

_DESCRIPTION = """\
Exports attention layers to ONNX, verifies them against float64 and writes them where
attention-server finds them."""

_EXAMPLES = """\
examples:
  attention-export huggingface ./all-MiniLM-L6-v2 --layers all --name minilm-l6
      every attention layer of a model of Hugging Face: minilm-l6.0, minilm-l6.1, ...
  attention-export torch mha.safetensors --num-heads 8 --name mine
      the state dict of a torch.nn.MultiheadAttention, saved with safetensors
  attention-export fresh --embed-dim 512 --num-heads 8 --seed 0 --name untrained
      untrained weights, to try things out
  attention-export verify models
      compares all of them with float64 once more
  attention-export show models/mine
      what the layer is, and the operators of its graphs
  attention-server --models models
      serves them
"""

_HUGGINGFACE = """\
examples:
  attention-export huggingface ./all-MiniLM-L6-v2 --name minilm-l6
  attention-export huggingface ./all-MiniLM-L6-v2 --layers 0,2-4 --name minilm-l6 --model-version 2
  attention-export huggingface ./t5-small --layers encoder,decoder.0-2.cross --name t5
families that are read:
  attention-export families
"""

_TORCH = """\
examples:
  attention-export torch mha.safetensors --num-heads 8 --name mine
  attention-export torch model.safetensors --prefix layers.0.self_attn --num-heads 8 --name mine
  attention-export torch model.safetensors --all --num-heads 8 --name mine
save a state dict from Python:
  safetensors.torch.save_file(module.state_dict(), "mha.safetensors")
"""

_FRESH = """\
examples:
  attention-export fresh --embed-dim 512 --num-heads 8 --name untrained
  attention-export fresh --embed-dim 512 --num-heads 8 --num-kv-heads 2 --key-dim 300 --name grouped
"""


_VERIFY_DESCRIPTION = """\
Checks that exported files are those of their manifests, runs them in ONNX Runtime as they
were run when they were exported, and compares each tensor with the same graphs in float64.
Exits with 1 where anything is off. Needs no PyTorch."""

_VERIFY = """\
examples:
  attention-export verify models/mine/1
      one version of a model
  attention-export verify models
      all versions of all models
"""

_SHOW_DESCRIPTION = """\
Describes exported models: their source, widths, heads, masks and positions, and of each
file the inputs, the outputs and the operators between them. Needs no PyTorch."""

_SHOW = """\
examples:
  attention-export show models/mine/1
reads as follows: what stands left of an arrow goes into what stands right of it
  query → MatMul → Add → a
  a, key → MatMul → scores
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Returns the arguments; exits with 2 and a usage message where they make no sense."""
    parser = argparse.ArgumentParser(
        prog="attention-export",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_huggingface(commands)
    _add_torch(commands)
    _add_fresh(commands)
    _add_families(commands)
    _add_verify(commands)
    _add_show(commands)
    _add_graphs(commands)
    return parser.parse_args(argv)


_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _add_huggingface(commands: _Commands) -> None:
    text = "layers of a model directory in Hugging Face format"
    parser = _add_command(commands, "huggingface", text, _HUGGINGFACE)
    parser.add_argument(
        "directory",
        metavar="DIR",
        type=Path,
        help="holds config.json and safetensors; the family is read from config.json",
    )
    parser.add_argument(
        "--layers",
        type=LayerSelection,
        default=LayerSelection("all"),
        metavar="LAYERS",
        help="all, or numbers and ranges from 0 on: 3, 0,2,5, 0-3; of models with several stacks "
        "encoder, encoder.0-3, decoder.0.self, decoder.all.cross (default: all); layer 3 is served "
        "as NAME.3, decoder.0.self as NAME.decoder.0.self",
    )
    _add_size(
        parser,
        "--context-length",
        "tokens that sequences may have, for positions that depend on it: dynamic, longrope "
        "(default: the model's original length)",
    )
    _add_destination(parser)


def _add_torch(commands: _Commands) -> None:
    text = "the state dict of a torch.nn.MultiheadAttention"
    parser = _add_command(commands, "torch", text, _TORCH)
    parser.add_argument(
        "state_dict", metavar="STATE_DICT", type=Path, help="the state dict, in safetensors"
    )
    _add_size(parser, "--num-heads", "heads of the module", required=True)
    parser.add_argument(
        "--prefix",
        default="",
        metavar="PREFIX",
        help="what stands before the names of the module's tensors",
    )
    parser.add_argument(
        "--all",
        action="store_true",
        help="every such module of the state dict, or of the one that PREFIX names, each served as "
        "NAME with its own prefix: NAME.layers.0.self_attn",
    )
    _add_destination(parser)


def _add_fresh(commands: _Commands) -> None:
    parser = _add_command(commands, "fresh", "an untrained layer, drawn from a seed", _FRESH)
    _add_size(parser, "--embed-dim", "last dimension of the query", required=True)
    _add_size(parser, "--num-heads", "query heads", required=True)
    _add_size(parser, "--num-kv-heads", "key and value heads (default: as --num-heads)")
    _add_size(parser, "--head-dim", "size of a head (default: EMBED_DIM / NUM_HEADS)")
    _add_size(parser, "--value-head-dim", "size of a value head (default: as --head-dim)")
    _add_size(parser, "--key-dim", "last dimension of the key (default: as --embed-dim)")
    _add_size(parser, "--value-dim", "last dimension of the value (default: as --key-dim)")
    _add_size(parser, "--output-dim", "last dimension of the output (default: as --embed-dim)")
    parser.add_argument("--no-bias", action="store_true", help="projections without bias")
    parser.add_argument(
        "--seed",
        type=_whole_number,
        default=0,
        metavar="N",
        help="where the random numbers begin (default: 0)",
    )
    _add_destination(parser)


def _add_graphs(commands: _Commands) -> None:
    text = "the attention graphs that the server shares between all models"
    parser = commands.add_parser("graphs", help=text, description=f"Exports {text}.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")


def _add_families(commands: _Commands) -> None:
    text = "the families of Hugging Face models that are read, and what each brings"
    commands.add_parser("families", help=text, description=f"Lists {text}.")


def _add_verify(commands: _Commands) -> None:
    text = "compares exported models with float64 once more; needs no PyTorch"
    _add_reader(commands, "verify", text, _VERIFY_DESCRIPTION, _VERIFY)


def _add_show(commands: _Commands) -> None:
    text = "describes exported models and draws their graphs; needs no PyTorch"
    _add_reader(commands, "show", text, _SHOW_DESCRIPTION, _SHOW)


def _add_reader(commands: _Commands, name: str, text: str, description: str, examples: str) -> None:
    parser = commands.add_parser(
        name,
        help=text,
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "directory",
        metavar="DIR",
        type=Path,
        help="holds manifest.json; or a model's directory, or that of all models",
    )


def _add_command(
    commands: _Commands, name: str, text: str, examples: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=text,
        description=f"Exports {text}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_destination(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument("--name", required=True, help="name under which the model is served")
    group.add_argument(
        "--out",
        type=Path,
        default=Path("models"),
        metavar="DIR",
        help="directory of models (default: models); writes DIR/NAME/VERSION/",
    )
    group.add_argument(
        "--model-version", default="1", metavar="VERSION", help="a positive integer (default: 1)"
    )
    group.add_argument(
        "--causal",
        choices=get_args(Causal),
        help="causality where a request says nothing (default: the source's own)",
    )
    group.add_argument("--overwrite", action="store_true", help="replace a version that exists")


def _add_size(
    parser: argparse.ArgumentParser, flag: str, text: str, *, required: bool = False
) -> None:
    parser.add_argument(flag, type=_size, required=required, metavar="N", help=text)


def _size(text: str) -> int:
    if _whole_number(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be at least 1")
    return int(text)


def _whole_number(text: str) -> int:
    if re.fullmatch("[0-9]{1,9}", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at most 9 digits")
    return int(text)
