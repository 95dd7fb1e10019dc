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
from attention_server.engine.layers import Layer, ProjectingLayer, SdpaLayer
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
            _check_sizes(model, self._attend(layer, Task(_smallest_request(model), _always_wanted)))
        except ModelUnusable:
            raise
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


def _check_sizes(model: Model, result: AttendResult) -> None:
    settings = model.defaults
    expected = {
        "output": (1, 2, model.output_dim),
        "query_heads": (1, settings.num_heads, 2, model.head_dim),
        "key_heads": (1, settings.num_kv_heads, 3, model.head_dim),
        "value_heads": (1, settings.num_kv_heads, 3, model.value_head_dim),
    }
    tensors = result.tensors()
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise ModelUnusable(
                f"its manifest says {name} {list(shape)}, but it gives {list(tensors[name].shape)}"
            )


def _in_one_line(error: Exception) -> str:
    """Returns what ONNX Runtime says, without the places in its own sources where it says so."""
    said = _SOURCE_LOCATION.sub("", " ".join(str(error).split()))
    return said[:_LONGEST_REASON] or type(error).__name__
