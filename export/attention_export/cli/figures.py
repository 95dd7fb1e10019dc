"""How the sizes of a model are written."""

from __future__ import annotations

from attention_service.manifest import Manifest

__all__ = ["IN_THE_GRAPH", "dims", "heads", "size"]

IN_THE_GRAPH = "in the graph"
"""What a layer that comes whole keeps to itself."""


def dims(manifest: Manifest) -> str:
    """Returns the widths: one number where all are equal, else query, key, value -> output."""
    each = (manifest.query_dim, manifest.key_dim, manifest.value_dim, manifest.output_dim)
    return str(each[0]) if len(set(each)) == 1 else "{}, {}, {} -> {}".format(*each)


def heads(manifest: Manifest) -> str:
    """Returns the number of heads and their size, "32 on 8 of 128" where keys have fewer.

    A layer that comes whole shows its heads in its weights alone.
    """
    if not manifest.staged and "weights" not in manifest.outputs:
        return IN_THE_GRAPH
    defaults = manifest.defaults
    text = str(defaults.num_heads)
    if defaults.num_kv_heads != defaults.num_heads:
        text += f" on {defaults.num_kv_heads}"
    return f"{text} of {manifest.head_dim}" if manifest.head_dim else text


def size(count: int) -> str:
    """Returns a number of bytes in kB or MB."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
