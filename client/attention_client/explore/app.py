"""The page's routes: its files, and the calls that it makes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from attention_client._awaiting import AsyncAttentionClient
from attention_client._results import AttendResult
from attention_client.errors import (
    AttentionError,
    DeadlineExceededError,
    InvalidRequestError,
    ServerUnavailableError,
)
from attention_client.explore.answers import archive, described, shown
from attention_client.explore.asking import Ask
from attention_client.explore.code import code_for
from attention_client.explore.errors import ExploreError
from attention_client.explore.guard import Guard
from attention_client.explore.question import Question, embedded, question
from attention_client.explore.texts import Texts
from attention_client.explore.uploads import LARGEST_UPLOAD, Uploads
from attention_client.viz import page as viewer

__all__ = ["Example", "Explorer"]

_T = TypeVar("_T")

_LARGEST_QUESTION = 1 << 20  # bytes of JSON
_KINDS = {".css": "text/css", ".html": "text/html", ".js": "text/javascript"}


@dataclass(frozen=True)
class Example:
    """A text that stands in the page from the start."""

    text: str
    token: int
    """Index of the token that is chosen."""


class Explorer:
    """Answers the page, by asking a server.

    Args:
        server: "host:port" of the server.
        folder: Where texts get tokens and embeddings from.
        texts: What lies there.
        example: What stands in the page from the start.
        timeout: Seconds that a call has.

    Raises:
        ValueError: An address or a timeout that is none.
    """

    def __init__(
        self,
        server: str,
        *,
        folder: Path | None = None,
        texts: Texts | None = None,
        example: Example | None = None,
        timeout: float = 30.0,
    ) -> None:
        self._server = server
        self._folder = folder
        self._texts = texts
        self._example = example
        self._uploads = Uploads()
        self._timeout = timeout
        self._client = AsyncAttentionClient(server, timeout=timeout)
        self._is_lost = False  # the server, when it was last asked

    def app(self) -> Starlette:
        """Returns the application."""
        return Starlette(
            routes=[
                *(Route(path, _sent(content, kind)) for path, content, kind in _files()),
                Route("/api/start", self._start),
                Route("/api/models", self._models),
                Route("/api/attend", self._attend, methods=["POST"]),
                Route("/api/data", self._data, methods=["POST"]),
                Route("/api/code", self._code, methods=["POST"]),
                Route("/api/uploads", self._upload, methods=["POST"]),
            ],
            middleware=[Middleware(Guard)],
            exception_handlers={
                ExploreError: _refused,
                AttentionError: _refused,
                ServerUnavailableError: self._lost,
                ClientDisconnect: _left,
                Exception: _failed,
            },
            lifespan=self._closing,
        )

    @contextlib.asynccontextmanager
    async def _closing(self, _: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self._client.close()

    async def _connected(self) -> AsyncAttentionClient:
        """Returns a client; a new one, which tries at once, where the last found no server.

        The old one's channel would wait up to 5 s before it tries to connect again.
        """
        if self._is_lost:
            self._is_lost = False
            old, self._client = (
                self._client,
                AsyncAttentionClient(self._server, timeout=self._timeout),
            )
            await old.close()
        return self._client

    async def _lost(self, request: Request, error: Exception) -> Response:
        self._is_lost = True
        return _refused(request, error)

    async def _start(self, request: Request) -> Response:
        """Says what the page can do before any server is asked."""
        texts, example = self._texts, self._example
        return JSONResponse(
            {
                "server": self._server,
                "text": texts and {"width": texts.width, "note": texts.note},
                "folder": texts and str(self._folder),
                "example": example and {"text": example.text, "token": example.token},
            }
        )

    async def _models(self, request: Request) -> Response:
        models = await (await self._connected()).list_models()
        return JSONResponse([described(model) for model in models])

    async def _attend(self, request: Request) -> Response:
        asked, result = await self._answer(request)
        return JSONResponse(await run_in_threadpool(shown, asked, result))

    async def _data(self, request: Request) -> Response:
        content = await run_in_threadpool(archive, *await self._answer(request))
        return Response(content, media_type="application/zip")

    async def _code(self, request: Request) -> Response:
        ask = await _asked(request)
        code = code_for(
            ask,
            await self._question(ask),
            server=self._server,
            folder=self._folder,
            uploads=self._uploads,
        )
        return PlainTextResponse(code)

    async def _upload(self, request: Request) -> Response:
        content = await _body(request, LARGEST_UPLOAD)
        file = Path(request.query_params.get("file", "")).name or "array.npy"
        number, upload = await run_in_threadpool(self._uploads.add, file, content)
        arrays = [
            {"name": name, "shape": array.shape, "dtype": str(array.dtype)}
            for name, array in upload.arrays.items()
        ]
        return JSONResponse({"upload": number, "file": file, "arrays": arrays})

    async def _answer(self, request: Request) -> tuple[Question, AttendResult]:
        ask = await _asked(request)
        return await _while_there(request, self._ask_server(ask))

    async def _ask_server(self, ask: Ask) -> tuple[Question, AttendResult]:
        asked = await self._question(ask)
        client = await self._connected()
        return asked, await client.attend(ask.model, **asked.given)

    async def _question(self, ask: Ask) -> Question:
        given = await run_in_threadpool(embedded, ask, self._texts, self._uploads)
        client = await self._connected()
        return question(ask, given, await client.get_model(ask.model, ask.version or None))


async def _asked(request: Request) -> Ask:
    body = await _body(request, _LARGEST_QUESTION)
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ExploreError("the request must be JSON") from error
    return Ask.read(content)


async def _body(request: Request, largest: int) -> bytes:
    """Returns the request's body, as long as it is no larger; of a larger one reads no more."""
    pieces, size = [], 0
    async for piece in request.stream():
        pieces.append(piece)
        size += len(piece)
        if size > largest:
            raise ExploreError(f"larger than {largest >> 20} MiB")
    return b"".join(pieces)


async def _while_there(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """Returns what comes of ``work``, which is given up where the page no longer waits for it.

    Raises:
        ClientDisconnect: Nobody waits.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(request.receive())  # the body is read: nothing else can come
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


def _files() -> Iterator[tuple[str, str, str]]:
    """Yields path, content and kind of each file of the page."""
    yield "/viewer.js", viewer.script(), "text/javascript"
    yield "/viewer.css", viewer.style(), "text/css"
    for file in resources.files(__package__).joinpath("web").iterdir():
        path = "/" if file.name == "index.html" else f"/{file.name}"
        kind = _KINDS.get(Path(file.name).suffix)
        if kind is not None:
            yield path, file.read_text(encoding="utf-8"), kind


def _sent(content: str, kind: str) -> Callable[[Request], Response]:
    return lambda _: Response(content, media_type=kind)


def _refused(request: Request, error: Exception) -> Response:
    if isinstance(error, ServerUnavailableError):
        status = 503
    elif isinstance(error, DeadlineExceededError):
        status = 504
    elif isinstance(error, ExploreError | InvalidRequestError):
        status = 422
    else:
        status = 502
    return JSONResponse({"error": str(error)}, status_code=status)


def _left(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


def _failed(request: Request, error: Exception) -> Response:
    message = "the page's own program failed; the terminal that it was started in says more"
    return JSONResponse({"error": message}, status_code=500)
