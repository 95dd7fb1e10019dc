"""The command's arguments."""

from __future__ import annotations

import argparse
from importlib import metadata
from pathlib import Path
from typing import Any

from attention_client._names import CAUSAL_MODES, FLOAT_TYPES
from attention_client.cli._explore import add_explore
from attention_client.cli._show import add_show

ARRAYS = {
    "query": "embeddings that ask [batch, query_len, query_dim]",
    "key": "embeddings that are looked up [batch, kv_len, key_dim]; the query where absent",
    "value": "embeddings that are summed [batch, kv_len, value_dim]; the key where absent",
    "key_mask": "booleans [batch, kv_len], true where a query may attend",
    "attend_mask": "booleans [query_len, kv_len], [batch, query_len, kv_len] or 4-dimensional",
    "attn_bias": "floats added to the scores, shaped as the attend mask; -inf forbids",
    "query_positions": "integers [batch, query_len]",
    "key_positions": "integers [batch, kv_len]",
}
"""Arguments that name a file with an array, by the keyword of ``attend``."""

_EXAMPLES = """\
examples:
  attention models
  attention info minilm-l6.0
  attention attend minilm-l6.0 --query q.npy --kv-lengths 12,9 --weights --out result.npz
  attention attend sdpa --query qkv.npz:q --key qkv.npz:k --value qkv.npz:v --num-heads 8 \\
      --causal lower_right --weights-queries=-1 --top-k 5
  attention analyze minilm-l6.0 --query q.npy --relation nsubj=nsubj.csv
  attention explore --text examples/demo

The server is --server, else the environment's ATTENTION_SERVER, else localhost:50051.
"""

_ATTEND = """\
Computes attention for one batch of sequences and says what came back; --out saves the arrays.

FILE is a .npy file, an .npz file with one array, or "arrays.npz:name".
N,N is a list of whole numbers, 12,9 say; where it starts with a minus sign write --option=-1,0.
"""


_ANALYZE = """\
Prints what each head attends to, a line a head: entropy in nats, and normalized to 0 to 1; largest
weight; distance in positions; shares of the weight on the query's own place, the one before, the
one after, the first key, and the places at most 2 away; the share on the pairs of each relation.

FILE is a .npy file, an .npz file with one array, or "arrays.npz:name".
PAIRS is a .csv file with columns query,key or sequence,query,key, counted from 0.
"""


def build_parser(*, default_server: str) -> argparse.ArgumentParser:
    """Returns the parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog="attention",
        description="Asks an attention server: what models it holds, and attention itself.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version)
    connection = argparse.ArgumentParser(add_help=False)
    group = connection.add_argument_group("connection")
    group.add_argument(
        "--server",
        metavar="ADDRESS",
        default=default_server,
        help="host:port (default: %(default)s)",
    )
    group.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=30.0,
        help="time that a call has, retries included (default: %(default)g)",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("models", parents=[connection], help="list the models of the server")
    info = commands.add_parser(
        "info", parents=[connection], help="describe a model or, without a name, the server"
    )
    info.add_argument("model", metavar="MODEL", nargs="?", help="name of the model")
    _add_model_version(info)
    attend = commands.add_parser(
        "attend",
        parents=[connection],
        help="compute attention for arrays in files",
        usage="attention attend MODEL --query FILE [options]",
        description=_ATTEND,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_attention(attend)
    _add_answer(attend)
    add_show(attend, _whole_numbers)
    analyze = commands.add_parser(
        "analyze",
        parents=[connection],
        help="say what each head attends to",
        usage="attention analyze MODEL --query FILE [options]",
        description=_ANALYZE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_attention(analyze)
    group = analyze.add_argument_group("answer")
    group.add_argument(
        "--relation",
        metavar="NAME=PAIRS",
        action=_Relation,
        default={},
        help="pairs to measure heads against; may be given several times",
    )
    group.add_argument("--json", action="store_true", help="all figures, exact, as JSON")
    add_explore(commands, connection)
    return parser


def _add_attention(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help='name of the model; "sdpa" is built in')
    _add_model_version(parser)
    _add_embeddings(parser)
    _add_masks(parser)
    _add_heads(parser)


def _add_embeddings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("embeddings")
    _add_array(group, "query", required=True)
    for name in ("key", "value", "query_positions", "key_positions"):
        _add_array(group, name)


def _add_masks(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("masks, all that are given apply together")
    _add_list(group, "--kv-lengths", "keys of each sequence, the rest is padding")
    _add_list(group, "--query-lengths", "real queries of each sequence")
    _add_list(group, "--query-offsets", "place on the key axis of each sequence's first query")
    for name in ("key_mask", "attend_mask", "attn_bias"):
        _add_array(group, name)
    group.add_argument("--causal", choices=list(CAUSAL_MODES), help="the model's own where absent")
    group.add_argument(
        "--window",
        metavar="LEFT,RIGHT",
        type=_window,
        help="keys in sight before and after a query's place, none on a side for no limit",
    )


def _add_heads(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("heads, the model's own where absent")
    group.add_argument("--num-heads", metavar="N", type=int, help='query heads; "sdpa" needs it')
    group.add_argument("--num-kv-heads", metavar="N", type=int, help="key and value heads")
    group.add_argument("--scale", metavar="X", type=float, help="factor on the dot products")
    group.add_argument("--softcap", metavar="X", type=float, help="bound of the scores; 0: none")
    _add_list(group, "--ablate", "heads whose output is set to 0")


def _add_answer(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("answer")
    group.add_argument("--no-output", action="store_true", help="leave the output out")
    group.add_argument("--weights", action="store_true", help="attention weights")
    _add_list(group, "--weights-heads", "of these heads only")
    _add_list(group, "--weights-queries", "of these queries only; -1 is the last")
    group.add_argument("--average-heads", action="store_true", help="their mean over the heads")
    group.add_argument("--top-k", metavar="N", type=int, help="the largest N of each row")
    group.add_argument("--scores", action="store_true", help="scores before softcap and masks")
    _add_list(group, "--scores-heads", "of these heads only")
    _add_list(group, "--scores-queries", "of these queries only; -1 is the last")
    group.add_argument("--projections", action="store_true", help="query, key, value by head")
    group.add_argument("--head-outputs", action="store_true", help="each head's weighted sum")
    group.add_argument("--log-sum-exp", action="store_true", help="log of the softmax sums")
    group.add_argument(
        "--dtype",
        choices=list(FLOAT_TYPES),
        default="float32",
        help="how the answer travels (default: %(default)s)",
    )
    group.add_argument("--out", metavar="FILE", type=Path, help="save the arrays to this .npz")


def _add_array(group: Any, name: str, *, required: bool = False) -> None:
    option = f"--{name.replace('_', '-')}"
    group.add_argument(option, metavar="FILE", required=required, help=ARRAYS[name])


def _add_list(group: Any, option: str, meaning: str) -> None:
    group.add_argument(option, metavar="N,N", type=_whole_numbers, help=meaning)


def _add_model_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model-version", metavar="V", help="version of the model; the newest where absent"
    )


def _whole_numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be whole numbers with commas between, not {text!r}"
        ) from None


def _window(text: str) -> tuple[int | None, int | None]:
    try:
        left, right = (None if side == "none" else int(side) for side in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be two whole numbers, or none, with a comma between, not {text!r}"
        ) from None
    return left, right


class _Relation(argparse.Action):
    """Keeps the file of each relation by the relation's name."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, *given: Any
    ) -> None:
        name, _, path = str(given[0]).partition("=")
        relations = getattr(namespace, self.dest)
        if not (name and path):
            raise argparse.ArgumentError(self, f"must be name=pairs.csv, not {given[0]!r}")
        if name in relations:
            raise argparse.ArgumentError(self, f"{name} must be given once")
        setattr(namespace, self.dest, {**relations, name: Path(path)})


class _Version(argparse.Action):
    """Prints the version of the distribution, which is looked up only when asked for."""

    def __init__(self, option_strings: list[str], dest: str, **_: Any) -> None:
        super().__init__(
            option_strings,
            dest=argparse.SUPPRESS,
            nargs=0,
            help="show the version and exit",
        )

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.exit(message=f"attention {metadata.version('attention-service')}\n")
