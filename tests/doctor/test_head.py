"""What the doctor finds in the head of a response, or where there is none."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import socket
import sys
from pathlib import Path

import pytest
from support.certificates import certificate as certificate
from support.doctors import Ask
from support.doctors import ask as ask
from support.doctors import canned
from support.doctors import ill
from support.doctors import impatient as impatient
from support.servers import free_port
from support.servers import gunicorn
from support.servers import serve
from support.servers import Server

from flask_push._doctor.finding import problem


def test_each_kind_of_refusal_has_its_own_problem(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path) as server:
        for query, name in {
            "/stream?status=401": "denied",
            "/stream?status=403": "denied",
            "/stream?redirect=/ping": "denied",
            "/stream?status=500": "failed",
            "/stream?status=503": "away",
            "/stream?status=410": "gone",
            "/nowhere": "missing",
            "/ping": "type",
        }.items():
            said = ask(server.url + query)
            assert said.wrong == [name], query
            assert said.code == 1
        assert "--header" in problem("denied", status=403, more="").cures[0]
        assert ask(f"{server.url}/stream").wrong == ["failed"], "a stream of no channel"


def test_headers_are_sent_with_each_request(ask: Ask) -> None:
    with canned(lambda request: b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n") as it:
        said = ask("--header", "Cookie: session=x", it.url, PUSH_BROKER_URL="memory:")
    assert "denied" in said
    assert it.requests and all(b"\r\nCookie: session=x\r\n" in r for r in it.requests)


def test_a_missing_server_is_found(ask: Ask) -> None:
    said = ask(f"http://127.0.0.1:{free_port()}/stream")
    assert said.wrong == ["unreachable"]
    assert "Connection refused" in said["unreachable"].what


def test_a_server_without_tls_is_found(ask: Ask) -> None:
    with canned(lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n") as it:
        said = ask(it.url.replace("http:", "https:"), PUSH_BROKER_URL="memory:")
    assert ill(said) == ["tls"]
    assert said["tls"].cures[0].startswith("http://")


def test_a_server_that_sends_nothing_is_found(ask: Ask, impatient: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        said = ask(f"http://127.0.0.1:{sock.getsockname()[1]}/stream")
    assert said.wrong == ["silent"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "it closed the connection"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "what came is not HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000, "its head has more than 65,536 bytes"),
    ],
)
def test_a_server_that_does_not_answer_in_http_is_found(
    ask: Ask, answer: bytes, why: str
) -> None:
    with canned(lambda _: answer) as it:
        said = ask(it.url, PUSH_BROKER_URL="memory:")
    assert ill(said) == ["no-http"]
    assert said["no-http"].what.endswith(f"HTTP/1.1: {why}.")


def wsgiref(app: str, port: int) -> list[str]:
    code = (
        "from wsgiref.simple_server import make_server;"
        f"from {app} import app; make_server('127.0.0.1', {port}, app).serve_forever()"
    )
    return [sys.executable, "-c", code]


def test_a_relay_is_found_with_its_reason(tmp_path: Path, ask: Ask) -> None:
    with serve(wsgiref, tmp_path, app="apps.relayed") as server:
        said = ask("--quick", f"{server.url}/stream?channel=a")
        assert said.wrong == ["relayed"]
        assert said.code == 0
        assert "does not give us the client's socket" in said["relayed"].what
        assert said["resume"].level == "ok", "though this server can do one thing at a time"


def test_a_server_that_ends_tls_itself_is_found(
    tmp_path: Path, ask: Ask, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    names = [f"--{name}file={certificate}/{name}" for name in ("cert", "key")]
    url = f"https://localhost:{port}/stream?channel=a"

    def command(app: str, _: int, *more: str) -> list[str]:
        return [*gunicorn(app, port, "--threads=8", *names, *more)]

    with serve_tls(command, tmp_path, port):
        said = ask("--quick", url)
        assert said.wrong == ["certificate"]
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert"))
        said = ask("--quick", url)
        assert said.wrong == ["http1", "relayed"], said
        assert "TLS ends in this server" in said["relayed"].what


@contextlib.contextmanager
def serve_tls(
    command: cabc.Callable[..., list[str]], directory: Path, port: int
) -> cabc.Iterator[None]:
    class TLS(Server):
        def answers(self) -> bool:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                return True
            return False

    env = {"INSTANCE": str(directory)}
    server = TLS(command("apps.basic", port), port, directory / "log", env)
    try:
        yield
    finally:
        server.kill()
        from support.servers import end_hubs

        end_hubs(directory)
