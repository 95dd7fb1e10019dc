"""The page's program, called as the page calls it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import examples.demo

__all__ = ["DEMO", "SENTENCE", "Answer", "call", "post"]

DEMO = Path(examples.demo.__path__[0])
SENTENCE = "今天天气真好，我想出去玩"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)


def call(
    page: str, path: str, content: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Returns the answer to a request with these headers, and no others that matter."""
    connection = http.client.HTTPConnection(urlsplit(page).netloc, timeout=60)
    method = "GET" if content is None else "POST"
    connection.request(method, path, content, dict(headers or {}))
    response = connection.getresponse()
    answer = Answer(response.status, response.headers, response.read())
    connection.close()
    return answer


def post(page: str, path: str, content: object) -> Answer:
    """Returns the answer to what the page itself would send; bytes go as they are."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return call(page, path, body, {"Origin": page})
