"""The engine: layers by name, and attention over them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from attention_server.domain.errors import RequestError
from attention_server.domain.model import SDPA, Model, ModelKey
from attention_server.domain.request import AttendRequest, AttendResult, Mask, Outputs, Task
from attention_server.engine.attention import Attention
from attention_server.engine.attention_graphs import AttentionGraphs
from attention_server.engine.layers import Heads, Layer, ProjectingLayer, SdpaLayer
from attention_server.engine.providers import Runtime

__all__ = ["Engine", "ModelUnusable"]

_LONGEST_REASON = 300
_LONGEST_SAYING = 2000
# "/somewhere/model.h:46 void onnxruntime::Load(const std::string&) ", also without the signature.
_SOURCE_LOCATION = re.compile(r"\S+\.(?:cc|h):\d+ (?:[\w ]*\S*::\S*\([^()]*\) )?")


class _Sizes(NamedTuple):
    batch: int
    query_len: int
    kv_len: int


# All different, so that each shows; twice, for a graph may have been made for one size alone.
_TRIED_SIZES = (_Sizes(batch=1, query_len=2, kv_len=3), _Sizes(batch=2, query_len=3, kv_len=5))


class ModelUnusable(Exception):
    """A model that ONNX Runtime does not take or that does not do what its manifest says."""


class Engine:
    """Computes requests. Holds the layers, and nothing of any request."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._graphs = AttentionGraphs(runtime)
        self._layers: dict[ModelKey, Layer] = {SDPA.key: SdpaLayer(runtime)}

    @property
    def providers(self) -> tuple[str, ...]:
        """ONNX Runtime's names of the execution providers in use, in order of preference."""
        return self._runtime.providers

    def load(self, model: Model, files: Mapping[str, bytes]) -> None:
        """Takes a model's stages, having run them at two sizes.

        Args:
            model: What the model says of itself.
            files: The content of each stage by its file name.

        Raises:
            ModelUnusable: The stages cannot be run, or give other sizes than the model says.
        """
        self._layers[model.key] = self._tried(model, files)

    def check(self, model: Model, files: Mapping[str, bytes]) -> None:
        """Does what ``load`` does, and keeps nothing of it.

        Raises:
            ModelUnusable: As ``load`` does.
        """
        self._tried(model, files)

    def _tried(self, model: Model, files: Mapping[str, bytes]) -> Layer:
        try:
            layer = ProjectingLayer(self._runtime, files)
            for sizes in _TRIED_SIZES:
                request = _request(model, sizes)
                # First: attention over other heads than the model says would mean nothing.
                _check_heads(model, sizes, layer.project(request))
                result = self._attend(layer, Task(request, _always_wanted))
                _check_output(model, sizes, result)
        except ModelUnusable:
            raise
        except RequestError as error:  # its own scale overflows, say
            raise ModelUnusable(error.message) from error
        except Exception as error:
            # ONNX Runtime raises classes of its own for each way in which a model can be wrong.
            raise ModelUnusable(f"ONNX Runtime does not run it: {_in_one_line(error)}") from error
        return layer

    def run(self, tasks: Sequence[Task]) -> Iterator[AttendResult | RequestError]:
        """Yields the answer of each task, in order, as it is done, or why it has none."""
        for task in tasks:
            try:
                yield self._attend(self._layers[task.request.model], task)
            except RequestError as error:
                yield error

    def _attend(self, layer: Layer, task: Task) -> AttendResult:
        return Attention(self._runtime, self._graphs, layer, task).compute()


def _request(model: Model, sizes: _Sizes) -> AttendRequest:
    """Returns a request of ones."""
    batch, query_len, kv_len = sizes
    return AttendRequest(
        model=model.key,
        query=np.ones((batch, query_len, model.query_dim), np.float32),
        key=np.ones((batch, kv_len, model.key_dim), np.float32),
        value=np.ones((batch, kv_len, model.value_dim), np.float32),
        mask=Mask(kv_lengths=np.full(batch, kv_len), query_lengths=np.full(batch, query_len)),
        settings=model.defaults,
        outputs=Outputs(projections=True, head_outputs=True),
    )


def _always_wanted() -> None:
    """Stands for the checkpoint of a request that nobody can give up."""


def _check_heads(model: Model, sizes: _Sizes, heads: Heads) -> None:
    settings = model.defaults
    batch, query_len, kv_len = sizes
    kv_heads = (batch, settings.num_kv_heads, kv_len)
    _check_size(
        "query_heads", heads.query.shape, (batch, settings.num_heads, query_len, model.head_dim)
    )
    _check_size("key_heads", heads.key.shape, (*kv_heads, model.head_dim))
    _check_size("value_heads", heads.value.shape, (*kv_heads, model.value_head_dim))


def _check_output(model: Model, sizes: _Sizes, result: AttendResult) -> None:
    assert result.output is not None, "an output is what requests ask for unless they say otherwise"
    _check_size("output", result.output.shape, (sizes.batch, sizes.query_len, model.output_dim))


def _check_size(name: str, given: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if given != expected:
        raise ModelUnusable(
            f"its manifest says {name} {list(expected)}, but it gives {list(given)}"
        )


def _in_one_line(error: Exception) -> str:
    """Returns what ONNX Runtime says, without the places in its own sources where it says so.

    It quotes names from the file: as long as they like, and with whatever characters.
    """
    said = " ".join(str(error)[:_LONGEST_SAYING].split())
    said = _SOURCE_LOCATION.sub("", said).encode("unicode_escape").decode()
    return said[:_LONGEST_REASON] or type(error).__name__
