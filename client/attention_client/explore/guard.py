"""What keeps other sites out of a page on this machine, and the page to itself."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard"]

_NAMES = ("127.0.0.1", "localhost")
"""Names that the page goes by. Any other comes from a site whose name was bent to this machine."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Passes on what the page itself asks; every answer comes under a strict policy.

    Args:
        app: What answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refused = _refusal(scope) if scope["type"] == "http" else None
        app = self._app if refused is None else JSONResponse({"error": refused}, status_code=403)
        await app(scope, receive, send_with_headers)


def _refusal(scope: Scope) -> str | None:
    """Returns why a request is refused: not asked by name, or sent by another page."""
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    if host.rpartition(":")[0] not in _NAMES:
        return f"this page is known as {' or '.join(_NAMES)} alone, with its port"
    if scope["method"] == "POST" and headers.get("origin") != f"http://{host}":
        return "only this page itself may ask"
    return None
