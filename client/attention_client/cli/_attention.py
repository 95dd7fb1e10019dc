"""The attention that the arguments of a command say."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from attention_client.cli._files import load_array
from attention_client.cli._parser import ARRAYS


def attention(args: Namespace) -> dict[str, Any]:
    """Returns the keywords of ``attend`` that say what is computed, arrays read from their files.

    Raises:
        FileError: A file without the array that it should hold.
    """
    paths = {name: getattr(args, name) for name in ARRAYS}
    return {
        "model": args.model,
        **{name: load_array(path) for name, path in paths.items() if path is not None},
        "kv_lengths": args.kv_lengths,
        "query_lengths": args.query_lengths,
        "query_offsets": args.query_offsets,
        "causal": args.causal,
        "window": args.window,
        "num_heads": args.num_heads,
        "num_kv_heads": args.num_kv_heads,
        "scale": args.scale,
        "softcap": args.softcap,
        "ablated_heads": args.ablate,
        "version": args.model_version,
    }
