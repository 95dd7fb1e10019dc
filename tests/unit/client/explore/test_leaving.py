from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import grpc

from attention_client.explore.app import Explorer
from attention_client.explore.serving import serving
from attention_client.explore.texts import open_texts
from attention_service.v1 import attention_pb2 as pb
from tests.unit.client.explore.called import DEMO, SENTENCE


def test_work_that_nobody_waits_for_is_given_up(serve: Callable[..., str]) -> None:
    arrived, given_up = threading.Event(), threading.Event()

    def get_model(_: Any, context: grpc.ServicerContext) -> pb.GetModelResponse:
        outputs = [pb.OUTPUT_WEIGHTS, pb.OUTPUT_SCORES]
        defaults = pb.AttentionSettings(num_heads=4, num_kv_heads=4)
        return pb.GetModelResponse(model=pb.Model(name="m", outputs=outputs, defaults=defaults))

    def attend(_: Any, context: grpc.ServicerContext) -> pb.AttendResponse:
        context.add_callback(given_up.set)
        arrived.set()
        given_up.wait(20)
        return pb.AttendResponse()

    def attend_stream(_: Any, context: grpc.ServicerContext) -> None:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "no streams")

    def info(_: Any, context: grpc.ServicerContext) -> pb.GetServerInfoResponse:
        return pb.GetServerInfoResponse()

    server = serve(
        GetModel=get_model, Attend=attend, AttendStream=attend_stream, GetServerInfo=info
    )
    explorer = Explorer(server, folder=DEMO, texts=open_texts(DEMO))
    body = json.dumps({"model": "m", "input": {"text": SENTENCE}}).encode()
    with serving(explorer.app()) as page:
        host = urlsplit(page).netloc
        head = f"POST /api/attend HTTP/1.1\r\nHost: {host}\r\nOrigin: {page}\r\n"
        with socket.create_connection(("127.0.0.1", int(host.partition(":")[2]))) as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert arrived.wait(20)
        assert given_up.wait(10)
