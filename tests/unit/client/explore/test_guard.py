from __future__ import annotations

import socket
from urllib.parse import urlsplit

import pytest

from tests.unit.client.explore.called import call


def test_page_is_served_under_a_policy_that_lets_nothing_else_in(page: str) -> None:
    answer = call(page, "/")

    assert answer.status == 200
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("host", ["attacker.example", "127.0.0.1.attacker.example", ""])
def test_a_name_that_was_bent_to_this_machine_is_refused(page: str, host: str) -> None:
    port = urlsplit(page).port
    answer = call(page, "/api/start", headers={"Host": f"{host}:{port}"})

    assert answer.status == 403
    assert answer.json["error"].startswith("this page is known as 127.0.0.1 or localhost")


@pytest.mark.parametrize("origin", [None, "null", "http://attacker.example", "http://127.0.0.1:1"])
def test_another_page_cannot_ask(page: str, origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": origin}
    answer = call(page, "/api/attend", b"{}", headers)

    assert (answer.status, answer.json) == (403, {"error": "only this page itself may ask"})


def test_localhost_is_a_name_of_the_page_too(page: str) -> None:
    host = f"localhost:{urlsplit(page).port}"
    headers = {"Host": host, "Origin": f"http://{host}"}

    assert call(page, "/api/start", headers=headers).status == 200
    assert call(page, "/api/attend", b"{}", headers).status == 422


def test_only_the_loopback_interface_is_listened_on(page: str) -> None:
    others = {
        str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
    } - {"127.0.0.1"}
    port = urlsplit(page).port
    assert port is not None
    for address in others or {"127.0.0.2"}:  # on Linux all of 127/8 is this machine
        with socket.socket() as caller:
            assert caller.connect_ex((address, port))
