"""The engine: models by name, each tried before it is taken."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from attention_server.domain.batch import join, split
from attention_server.domain.errors import RequestError
from attention_server.domain.model import SDPA, Model, ModelKey
from attention_server.domain.request import AttendRequest, AttendResult, Manner, Outputs, Task
from attention_server.engine.attention import Attention
from attention_server.engine.attention_graphs import AttentionGraphs
from attention_server.engine.cores import WORTH_EVERY_CORE, multiply_adds
from attention_server.engine.first_requests import (
    check_layer,
    check_output,
    check_same,
    check_sight,
    first_requests,
)
from attention_server.engine.layers import Layer, ProjectingLayer, SdpaLayer
from attention_server.engine.merged import MergedLayer
from attention_server.engine.merged_graph import merged_graph
from attention_server.engine.model_unusable import ModelUnusable
from attention_server.engine.providers import CPU, Runtime
from attention_server.engine.whole import WholeLayer
from attention_service.manifest import MODEL_FILE

__all__ = ["Engine", "ModelUnusable"]

_LONGEST_REASON = 300
_LONGEST_SAYING = 2000
# "/somewhere/model.h:46 void onnxruntime::Load(const std::string&) ", also without the signature.
_SOURCE_LOCATION = re.compile(r"\S+\.(?:cc|h):\d+ (?:[\w ]*\S*::\S*\([^()]*\) )?")


# Heads may be narrow and embeddings wide. One head of 1, few multiply-adds: the largest weights of
# 2,800 tokens take 100 ms, in which nobody would be listened to; of 512 tokens 3 ms.
_MOST_NUMBERS_BRIEF = 1 << 18

_ALONE = Manner()

_Attend = Callable[[Task], AttendResult]
"""Computes a request to one model."""


class Engine:
    """Computes requests. Holds the models, and nothing of any request.

    On the CPU it has each model twice: with sessions of all threads, and of one, for a session's
    threads are counted when it is made. Weights too are in memory twice, as ONNX Runtime packs them
    for its matrix products; of one array that both share, unpacked, products of few tokens take
    half as long again.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._models = {SDPA.key: SDPA}
        single = runtime.single_threaded()
        self._one_core = _Computing(single)
        self._every_core = self._one_core
        if single != runtime:
            self._every_core = _Computing(runtime, self._one_core.graphs)

    @property
    def providers(self) -> tuple[str, ...]:
        """ONNX Runtime's names of the execution providers in use, in order of preference."""
        return self._every_core.runtime.providers

    def load(self, model: Model, files: Mapping[str, bytes]) -> None:
        """Takes a model, having run it at two sizes.

        Args:
            model: What the model says of itself.
            files: The content of each file by its name.

        Raises:
            ModelUnusable: It cannot be run, or gives something else than the model says.
        """
        for computing, attend in self._tried(model, files):
            computing.attend[model.key] = attend
        self._models[model.key] = model

    def check(self, model: Model, files: Mapping[str, bytes]) -> None:
        """Does what ``load`` does, and keeps nothing of it.

        Raises:
            ModelUnusable: As ``load`` does.
        """
        self._tried(model, files)

    def _tried(self, model: Model, files: Mapping[str, bytes]) -> list[tuple[_Computing, _Attend]]:
        try:
            merged = self._every_core.merged_graph(model, files)
            return [
                (computing, computing.tried(model, files, merged))
                for computing in dict.fromkeys((self._every_core, self._one_core))
            ]
        except ModelUnusable:
            raise
        except RequestError as error:  # its own scale overflows, say
            raise ModelUnusable(error.message) from error
        except Exception as error:
            # ONNX Runtime raises classes of its own for each way in which a model can be wrong.
            raise ModelUnusable(f"ONNX Runtime does not run it: {_in_one_line(error)}") from error

    def run(
        self, tasks: Sequence[Task], manner: Manner = _ALONE
    ) -> Iterator[AttendResult | Exception]:
        """Yields the answer of each task, in order, as it is done, or why it has none.

        That is a RequestError; any other exception is the server's fault: ModelUnusable where a
        model gives what its manifest does not say, and whatever ONNX Runtime raises.
        """
        together = self._together(tasks, manner.every_core) if manner.together else {}
        for index, task in enumerate(tasks):
            if index in together:
                yield together.pop(index)
            else:
                yield self._alone(task, manner.every_core)

    def _alone(self, task: Task, every_core: bool) -> AttendResult | Exception:
        try:
            return self._attend(task, every_core)
        except Exception as error:  # noqa: BLE001 - a fault costs no other task its answer
            return error

    def _together(
        self, tasks: Sequence[Task], every_core: bool
    ) -> dict[int, AttendResult | Exception]:
        """Returns the answers by the place of their task.

        Empty where what was computed has none for all: then one may be refused alone, and the
        others are to be answered.
        """
        answers: dict[int, AttendResult | Exception] = {}
        wanted: dict[int, AttendRequest] = {}
        for index, task in enumerate(tasks):
            try:
                task.checkpoint()
                wanted[index] = task.request
            except RequestError as error:
                answers[index] = error
        if len(wanted) > 1:
            requests = list(wanted.values())
            try:
                joined = self._attend(Task(join(requests), _always_wanted), every_core)
            except Exception:  # noqa: BLE001 - whoever is at fault will show alone
                return answers
            answers.update(zip(wanted, split(joined, requests), strict=True))
        return answers

    def is_brief(self, request: AttendRequest) -> bool:
        """Returns whether computing takes hardly longer than having another thread do it."""
        model = self._models[request.model]
        return (
            self._every_core.runtime.provider == CPU
            and not model.whole  # nobody knows what such a graph does
            and multiply_adds(model, request) < WORTH_EVERY_CORE
            and _numbers_looked_at(request) <= _MOST_NUMBERS_BRIEF
        )

    def _attend(self, task: Task, every_core: bool) -> AttendResult:
        request = task.request
        worth_it = (
            every_core and multiply_adds(self._models[request.model], request) >= WORTH_EVERY_CORE
        )
        computing = self._every_core if worth_it else self._one_core
        return computing.attend[request.model](task)


class _Computing:
    """Every model as sessions of one runtime.

    Args:
        runtime: ONNX Runtime.
        one_core: Graphs of one thread, for runs that are better done side by side.
    """

    def __init__(self, runtime: Runtime, one_core: AttentionGraphs | None = None) -> None:
        self.runtime = runtime
        self.graphs = AttentionGraphs(runtime)
        self._one_core = one_core
        self.attend: dict[ModelKey, _Attend] = {SDPA.key: self._in_stages(SdpaLayer(runtime))}

    def merged_graph(self, model: Model, files: Mapping[str, bytes]) -> bytes | None:
        """Returns a model as one graph; None for one that is served in stages alone."""
        attention = self.graphs.for_merging
        biased = model.positions == "relative_bias"
        if attention is None or model.whole or biased or model.defaults.softcap:
            return None
        try:
            return merged_graph(files, attention)
        except Exception:  # noqa: BLE001 - what is wrong with a stage will show when it is tried
            return None

    def tried(self, model: Model, files: Mapping[str, bytes], merged: bytes | None) -> _Attend:
        """Returns what computes requests to a model, having run it at two sizes.

        Args:
            model: What the model says of itself.
            files: The content of each file by its name.
            merged: All of it as one graph; None for none.
        """
        attend: _Attend
        if model.whole:
            attend = WholeLayer(self.runtime, files[MODEL_FILE], model).attend
            for request in first_requests(model):
                attend(Task(request, _always_wanted))
                check_sight(request, lambda request: attend(Task(request, _always_wanted)))
            return attend
        rotates = model.positions == "rotary"
        layer = ProjectingLayer(self.runtime, files, rotates=rotates)
        attend = self._in_stages(layer)
        for request in first_requests(model):
            check_layer(model, layer, request)
            check_output(model, request, attend(Task(request, _always_wanted)))
        layer_in_one = None if merged is None else self._merged(model, merged, attend)
        if layer_in_one is None:
            return attend
        return lambda task: layer_in_one.attend(task) or attend(task)

    def _merged(self, model: Model, graph: bytes, in_stages: _Attend) -> MergedLayer | None:
        """Returns the layer in one graph, where that gives what its stages give."""
        try:
            merged = MergedLayer(self.runtime, graph, rotates=model.positions == "rotary")
            for request in first_requests(model):
                task = Task(replace(request, outputs=Outputs()), _always_wanted)
                check_same(merged.attend(task), in_stages(task))
        except Exception:  # noqa: BLE001 - its stages serve, which were tried
            return None
        return merged

    def _in_stages(self, layer: Layer) -> _Attend:
        return lambda task: Attention(
            self.runtime, self.graphs, self._one_core, layer, task
        ).compute()


def _numbers_looked_at(request: AttendRequest) -> int:
    """Returns how many scores, embeddings and pairs of relations a request has."""
    heads, given = request.settings.num_heads, (request.query, request.key, request.value)
    scores: int = request.batch * heads * request.query_len * request.kv_len
    related = sum(map(len, (request.outputs.analysis or {}).values())) * heads
    return scores + sum(array.size for array in given) + related


def _always_wanted() -> None:
    """Stands for the checkpoint of a request that nobody can give up."""


def _in_one_line(error: Exception) -> str:
    """Returns what ONNX Runtime says, without the places in its own sources where it says so.

    It quotes names from the file: as long as they like, and with whatever characters.
    """
    said = " ".join(str(error)[:_LONGEST_SAYING].split())
    said = _SOURCE_LOCATION.sub("", said).encode("unicode_escape").decode()
    return said[:_LONGEST_REASON] or type(error).__name__
