"""The engine: models by name, each tried before it is taken."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from attention_server.domain.errors import RequestError
from attention_server.domain.model import SDPA, Model, ModelKey
from attention_server.domain.request import AttendResult, Task
from attention_server.engine.attention import Attention
from attention_server.engine.attention_graphs import AttentionGraphs
from attention_server.engine.first_requests import (
    check_layer,
    check_output,
    check_sight,
    first_requests,
)
from attention_server.engine.layers import Layer, ProjectingLayer, SdpaLayer
from attention_server.engine.model_unusable import ModelUnusable
from attention_server.engine.providers import Runtime
from attention_server.engine.whole import WholeLayer
from attention_service.manifest import MODEL_FILE

__all__ = ["Engine", "ModelUnusable"]

_LONGEST_REASON = 300
_LONGEST_SAYING = 2000
# "/somewhere/model.h:46 void onnxruntime::Load(const std::string&) ", also without the signature.
_SOURCE_LOCATION = re.compile(r"\S+\.(?:cc|h):\d+ (?:[\w ]*\S*::\S*\([^()]*\) )?")


_Attend = Callable[[Task], AttendResult]
"""Computes a request to one model."""


class Engine:
    """Computes requests. Holds the models, and nothing of any request."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._graphs = AttentionGraphs(runtime)
        self._models: dict[ModelKey, _Attend] = {SDPA.key: self._in_stages(SdpaLayer(runtime))}

    @property
    def providers(self) -> tuple[str, ...]:
        """ONNX Runtime's names of the execution providers in use, in order of preference."""
        return self._runtime.providers

    def load(self, model: Model, files: Mapping[str, bytes]) -> None:
        """Takes a model, having run it at two sizes.

        Args:
            model: What the model says of itself.
            files: The content of each file by its name.

        Raises:
            ModelUnusable: It cannot be run, or gives something else than the model says.
        """
        self._models[model.key] = self._tried(model, files)

    def check(self, model: Model, files: Mapping[str, bytes]) -> None:
        """Does what ``load`` does, and keeps nothing of it.

        Raises:
            ModelUnusable: As ``load`` does.
        """
        self._tried(model, files)

    def _tried(self, model: Model, files: Mapping[str, bytes]) -> _Attend:
        attend: _Attend
        try:
            if model.whole:
                attend = WholeLayer(self._runtime, files[MODEL_FILE], model).attend
                for request in first_requests(model):
                    attend(Task(request, _always_wanted))
                    check_sight(request, lambda request: attend(Task(request, _always_wanted)))
            else:
                rotates = model.positions == "rotary"
                layer = ProjectingLayer(self._runtime, files, rotates=rotates)
                attend = self._in_stages(layer)
                for request in first_requests(model):
                    check_layer(model, layer, request)
                    check_output(model, request, attend(Task(request, _always_wanted)))
        except ModelUnusable:
            raise
        except RequestError as error:  # its own scale overflows, say
            raise ModelUnusable(error.message) from error
        except Exception as error:
            # ONNX Runtime raises classes of its own for each way in which a model can be wrong.
            raise ModelUnusable(f"ONNX Runtime does not run it: {_in_one_line(error)}") from error
        return attend

    def _in_stages(self, layer: Layer) -> _Attend:
        return lambda task: Attention(self._runtime, self._graphs, layer, task).compute()

    def run(self, tasks: Sequence[Task]) -> Iterator[AttendResult | RequestError]:
        """Yields the answer of each task, in order, as it is done, or why it has none.

        Raises:
            ModelUnusable: A model gives what its manifest does not say: the server's fault, not the
                request's, as is all that ONNX Runtime raises. The tasks after it have no answer.
        """
        for task in tasks:
            try:
                yield self._models[task.request.model](task)
            except RequestError as error:
                yield error


def _always_wanted() -> None:
    """Stands for the checkpoint of a request that nobody can give up."""


def _in_one_line(error: Exception) -> str:
    """Returns what ONNX Runtime says, without the places in its own sources where it says so.

    It quotes names from the file: as long as they like, and with whatever characters.
    """
    said = " ".join(str(error)[:_LONGEST_SAYING].split())
    said = _SOURCE_LOCATION.sub("", said).encode("unicode_escape").decode()
    return said[:_LONGEST_REASON] or type(error).__name__
