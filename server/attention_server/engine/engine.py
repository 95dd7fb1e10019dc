"""The engine: layers by name, and attention over them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

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
# "/somewhere/model.h:46 void onnxruntime::Load(const std::string&) ", also without the signature.
_SOURCE_LOCATION = re.compile(r"\S+\.(?:cc|h):\d+ (?:[\w ]*\S*::\S*\([^()]*\) )?")


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
        """Takes a model's stages and runs them once.

        Args:
            model: What the model says of itself.
            files: The content of each stage by its file name.

        Raises:
            ModelUnusable: The stages cannot be run, or give other sizes than the model says.
        """
        try:
            layer = ProjectingLayer(self._runtime, files)
            request = _smallest_request(model)
            # First: attention over other heads than the model says would mean nothing.
            _check_heads(model, layer.project(request))
            _check_output(model, self._attend(layer, Task(request, _always_wanted)))
        except ModelUnusable:
            raise
        except RequestError as error:  # its own scale overflows, say
            raise ModelUnusable(error.message) from error
        except Exception as error:
            # ONNX Runtime raises classes of its own for each way in which a model can be wrong.
            raise ModelUnusable(f"ONNX Runtime does not run it: {_in_one_line(error)}") from error
        self._layers[model.key] = layer

    def run(self, tasks: Sequence[Task]) -> Iterator[AttendResult | RequestError]:
        """Yields the answer of each task, in order, as it is done, or why it has none."""
        for task in tasks:
            try:
                yield self._attend(self._layers[task.request.model], task)
            except RequestError as error:
                yield error

    def _attend(self, layer: Layer, task: Task) -> AttendResult:
        return Attention(self._runtime, self._graphs, layer, task).compute()


def _smallest_request(model: Model) -> AttendRequest:
    """Returns a request of two queries and three keys: different, so that sizes show."""
    return AttendRequest(
        model=model.key,
        query=np.ones((1, 2, model.query_dim), np.float32),
        key=np.ones((1, 3, model.key_dim), np.float32),
        value=np.ones((1, 3, model.value_dim), np.float32),
        mask=Mask(kv_lengths=np.array([3]), query_lengths=np.array([2])),
        settings=model.defaults,
        outputs=Outputs(projections=True, head_outputs=True),
    )


def _always_wanted() -> None:
    """Stands for the checkpoint of a request that nobody can give up."""


def _check_heads(model: Model, heads: Heads) -> None:
    settings = model.defaults
    _check_size("query_heads", heads.query.shape, (1, settings.num_heads, 2, model.head_dim))
    _check_size("key_heads", heads.key.shape, (1, settings.num_kv_heads, 3, model.head_dim))
    _check_size(
        "value_heads", heads.value.shape, (1, settings.num_kv_heads, 3, model.value_head_dim)
    )


def _check_output(model: Model, result: AttendResult) -> None:
    assert result.output is not None, "an output is what requests ask for unless they say otherwise"
    _check_size("output", result.output.shape, (1, 2, model.output_dim))


def _check_size(name: str, given: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if given != expected:
        raise ModelUnusable(
            f"its manifest says {name} {list(expected)}, but it gives {list(given)}"
        )


def _in_one_line(error: Exception) -> str:
    """Returns what ONNX Runtime says, without the places in its own sources where it says so."""
    said = _SOURCE_LOCATION.sub("", " ".join(str(error).split()))
    return said[:_LONGEST_REASON] or type(error).__name__
