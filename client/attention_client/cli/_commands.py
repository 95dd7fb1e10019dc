"""What each subcommand asks, and the lines that it prints."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import numpy as np

from attention_client._blocking import AttentionClient
from attention_client._models import Model
from attention_client._results import AttendResult
from attention_client._specs import ScoresSpec, WeightsSpec
from attention_client.cli._analyze import analyze
from attention_client.cli._attention import attention
from attention_client.cli._explore import explore
from attention_client.cli._files import FileError, save_arrays
from attention_client.cli._show import check_show, show_lines
from attention_client.cli._table import ANY, UNTOLD, facts, table

Window = tuple[int | None, int | None]


def models(client: AttentionClient, args: Namespace) -> Iterator[str]:
    """Yields a table of the server's models."""
    header = (
        "model version query key value output heads kv_heads head_dim scale softcap causal window "
        "positions"
    )
    rows = [
        (
            model.name,
            model.version,
            model.query_dim or ANY,
            model.key_dim or ANY,
            model.value_dim or ANY,
            model.output_dim or ANY,
            model.defaults.num_heads or ANY,
            model.defaults.num_kv_heads or ANY,
            _own(model, model.head_dim),
            _own(model, model.defaults.scale),
            _softcap(model),
            model.defaults.causal,
            _sides(model.defaults.window),
            model.positions,
        )
        for model in client.list_models()
    ]
    yield from table(header.upper().split(), rows)


def info(client: AttentionClient, args: Namespace) -> Iterator[str]:
    """Yields what is known of one model or, without a name, of the server."""
    if args.model is not None:
        yield from facts(_model_facts(client.get_model(args.model, args.model_version)))
        return
    server = client.server_info()
    limits = server.limits
    yield from facts(
        [
            ("server", args.server),
            ("version", server.version),
            ("providers", ", ".join(server.providers)),
            ("largest message", f"{limits.message_bytes:,} bytes"),
            ("largest on a stream", f"{limits.stream_bytes:,} bytes"),
            ("largest batch", f"{limits.batch:,}"),
            ("longest query and key", f"{limits.length:,}"),
            ("most work", f"{limits.work:,} (batch * heads * query_len * kv_len)"),
            ("most waiting", f"{limits.waiting_requests:,} requests"),
            ("most kept in memory", f"{limits.waiting_bytes:,} bytes"),
            ("time to drain", f"{limits.drain_seconds:g} s"),
        ]
    )


def attend(client: AttentionClient, args: Namespace) -> Iterator[str]:
    """Yields what came of one request, and saves its arrays where that is asked for."""
    if args.out is not None and not args.out.parent.is_dir():
        raise FileError(f"{args.out.parent}: no such directory")
    check_show(args)
    result = client.attend(
        **attention(args),
        output=not args.no_output,
        weights=_weights(args),
        scores=_scores(args),
        projections=args.projections,
        head_outputs=args.head_outputs,
        log_sum_exp=args.log_sum_exp,
        dtype=args.dtype,
    )
    yield from _result_lines(result)
    if args.show is not None:
        yield from show_lines(result, args)
    if args.out is not None:
        rows = np.asarray(result.fully_masked_rows)
        save_arrays(args.out, {**result.arrays(), "fully_masked_rows": rows})
        yield f"saved to {args.out}"


COMMANDS: Mapping[str, Callable[[AttentionClient, Namespace], Iterator[str]]] = MappingProxyType(
    {
        "models": models,
        "info": info,
        "attend": attend,
        "analyze": analyze,
        "explore": explore,
    }
)


def _weights(args: Namespace) -> bool | WeightsSpec:
    """Returns which weights are asked for; a selection and --show ask for them too."""
    spec = WeightsSpec(args.weights_heads, args.weights_queries, args.average_heads, args.top_k)
    return bool(args.weights or args.show is not None) if spec == WeightsSpec() else spec


def _scores(args: Namespace) -> bool | ScoresSpec:
    spec = ScoresSpec(args.scores_heads, args.scores_queries)
    return bool(args.scores) if spec == ScoresSpec() else spec


def _model_facts(model: Model) -> list[tuple[str, object]]:
    defaults = model.defaults
    return [
        ("model", model.name),
        ("version", model.version),
        ("query_dim", model.query_dim or ANY),
        ("key_dim", model.key_dim or ANY),
        ("value_dim", model.value_dim or ANY),
        ("output_dim", model.output_dim or ANY),
        ("num_heads", defaults.num_heads or ANY),
        ("num_kv_heads", defaults.num_kv_heads or ANY),
        ("head_dim", _own(model, model.head_dim)),
        ("value_head_dim", _own(model, model.value_head_dim)),
        ("scale", _own(model, defaults.scale, "1 / sqrt(head_dim)")),
        ("softcap", _softcap(model)),
        ("causal", defaults.causal),
        ("window", _window_text(defaults.window)),
        ("positions", model.positions),
        ("outputs", ", ".join(model.outputs)),
        *((f"source.{key}", value) for key, value in sorted(model.source.items())),
    ]


def _own(model: Model, number: float, otherwise: str = ANY) -> str | int:
    """Returns a number of a model; ``otherwise`` where the request says it."""
    if model.whole:
        return UNTOLD
    if not model.query_dim:
        return otherwise
    return number if isinstance(number, int) else f"{number:.6g}"


def _softcap(model: Model) -> str:
    return UNTOLD if model.whole else _bound(model.defaults.softcap)


def _bound(softcap: float) -> str:
    return f"{softcap:.6g}" if softcap else "none"


def _result_lines(result: AttendResult) -> Iterator[str]:
    applied, execution = result.applied, result.execution
    whole = execution.path == "whole"
    yield from facts(
        [
            ("model", f"{result.model}, version {result.model_version}"),
            ("heads", f"{applied.num_heads}, of keys and values {applied.num_kv_heads}"),
            ("scale", UNTOLD if whole else f"{applied.scale:.6g}"),
            ("softcap", UNTOLD if whole else _bound(applied.softcap)),
            ("causal", applied.causal),
            ("window", _window_text(applied.window)),
            ("fully masked rows", result.fully_masked_rows),
            ("computed by", f"{execution.provider}, {execution.path}"),
            ("computed in", f"{execution.compute_us / 1e3:.3f} ms"),
            ("waited", f"{execution.queue_us / 1e3:.3f} ms"),
        ]
    )
    arrays = result.arrays()
    if arrays:
        yield ""
        rows = [
            (name, " x ".join(map(str, array.shape)), array.dtype) for name, array in arrays.items()
        ]
        yield from table(("ARRAY", "SHAPE", "TYPE"), rows)


def _sides(window: Window | None) -> str:
    """Returns a window as ``--window`` takes it."""
    if window is None:
        return "none"
    return ",".join("none" if side is None else str(side) for side in window)


def _window_text(window: Window | None) -> str:
    if window is None:
        return "no limit"
    left, right = ("no limit" if side is None else str(side) for side in window)
    return f"{left} before, {right} after"
