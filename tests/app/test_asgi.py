"""Streams on ASGI servers: they take no thread, and work as on other servers."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import itertools
import json
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import h2.connection
import h2.events
import httpx
import pytest
from flask import Flask
from support.asgi_clients import Client
from support.asgi_servers import app as app
from support.asgi_servers import BIN
from support.asgi_servers import go_on
from support.asgi_servers import reached
from support.asgi_servers import SERVERS
from support.certificates import make_certificate
from support.coroutines import run
from support.servers import free_port
from support.servers import ROOT
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import until

from flask_push.asgi import PushASGI

Start = cabc.Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> cabc.Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def start(name: str, *more: str, app: str = "apps.asgi", **config: t.Any) -> Server:
            context = serve(SERVERS[name], tmp_path, *more, app=app, **config)
            return stack.enter_context(context)

        yield start


def state(server: Server) -> dict[str, t.Any]:
    found: dict[str, t.Any] = json.loads(server.get("/state"))
    hub = status(server.log_path.parent)
    found["hub"] = f"{hub.get('streams')} connections, {hub.get('behind')} behind"
    return found


def assert_clean(server: Server) -> None:
    assert not re.search("error|traceback|exception|warn", server.log, re.I), server.log


@pytest.mark.parametrize("name", SERVERS)
def test_thirty_streams_get_every_event_and_take_none_of_four_threads(
    name: str, start: Start
) -> None:
    server = start(name)
    readers = [server.stream("a", "b").opened() for _ in range(30)]
    found = state(server)
    assert found["asgi"] == "<PushASGI [30 streams]>"
    assert "30 connections, 0 behind" in found["hub"]
    # Theirs, the main one, and the one at the hub's door. Granian has some of its own.
    assert found["threads"] <= 4 + 1 + 1 + (name == "granian") * 4
    slow = [threading.Thread(target=server.get, args=["/slow"]) for _ in range(3)]
    for thread in slow:
        thread.start()
    assert server.get("/ping") == "pong"
    assert all(thread.is_alive() for thread in slow)
    for thread in slow:
        thread.join()
    for n in range(20):
        server.publish("ab"[n % 2], f"{n}")
    for reader in readers:
        assert reader.read_data(20) == [str(n) for n in range(20)]
        assert not reader.gaps
    assert_clean(server)


@pytest.mark.parametrize("name", SERVERS)
def test_the_response_is_finished_like_any_other(name: str, start: Start) -> None:
    server = start(name)
    before = int(server.get("/torn-down"))
    reader = server.stream("a").opened()
    assert reader.status == 200
    headers = reader.headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-store, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert "session=" in headers["set-cookie"]
    assert headers["x-after-request"] == "yes"
    assert "date" in headers
    assert headers["transfer-encoding"] == "chunked"
    assert not headers.keys() & {"content-length", "connection"}
    # While its stream is open. Each request for the count makes one more.
    asked = itertools.count(1)
    until(lambda: int(server.get("/torn-down")) == before + 1 + next(asked))


@pytest.mark.parametrize("name", SERVERS)
def test_a_response_that_is_not_a_stream_is_sent_as_usual(name: str, start: Start) -> None:
    server = start(name)
    status, headers, body = server.request("HEAD", "/stream?channel=a")
    assert (status, body) == (200, b"")
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    for status_ in 401, 403, 404:
        assert server.request("GET", f"/stream?channel=a&status={status_}")[0] == status_
    status, headers, _ = server.request("GET", "/stream?channel=a&redirect=/ping")
    assert (status, headers["Location"]) == (302, "/ping")
    status, headers, body = server.request("GET", "/stream?channel=a&poll=1")
    assert status == 200 and b"push:open" in body and "Connection" not in headers
    until(lambda: state(server)["asgi"] == "<PushASGI [0 streams]>")
    assert_clean(server)


@pytest.mark.parametrize("name", SERVERS)
def test_a_browser_that_disconnects_is_noticed_at_once(name: str, start: Start) -> None:
    # No heartbeat would notice it.
    server = start(name, PUSH_HEARTBEAT=3600)
    server.stream("a").opened().close()
    until(lambda: "[0 streams]" in state(server)["asgi"])
    until(lambda: state(server)["descriptors"] == state(server)["descriptors"])
    before = state(server)["descriptors"]
    readers = [server.stream("a").opened() for _ in range(20)]
    assert state(server)["descriptors"] >= before + 20
    for reader in readers:
        reader.close()
    until(lambda: "[0 streams]" in state(server)["asgi"])
    until(lambda: state(server)["hub"].startswith("0 c"))
    # Each of the threads may have opened some of its own.
    until(lambda: state(server)["descriptors"] < before + 15)
    assert_clean(server)


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
def test_streams_end_with_their_server(
    name: str, with_signal: signal.Signals, start: Start
) -> None:
    server = start(name)
    readers = [server.stream("a").opened() for _ in range(5)]
    server.publish("a", "the last")
    took = server.stop(with_signal)
    assert took < 20, "gunicorn would wait thirty seconds for requests to end"
    for reader in readers:
        reader.read_to_end()
        assert reader.data == ["the last"]
        if (name, with_signal) != ("gunicorn", signal.SIGINT):
            assert reader.body.endswith(b"0\r\n\r\n"), "an end, and not a cut"
    assert_clean(server)


def test_a_wrapper_with_one_thread_answers_others_and_refuses_streams(
    start: Start,
) -> None:
    # It closes an idle connection after a second.
    server = start("uvicorn", "--timeout-keep-alive", "1", app="apps.one_thread")
    for _ in range(3):
        reader = server.stream("a").read_to_end()
        assert reader.status == 200 and not reader.events
        assert b":\nretry: " in reader.body
        assert "PushASGI" in reader.headers["x-push-relay"]
    assert server.get("/ping") == "pong"
    server.publish("a", "1", "2")
    # A poll ends at once, so it does not occupy the only thread.
    polled = server.stream("a", poll="1", last="9").read_to_end()
    assert polled.data == ["1", "2"]
    lines = server.log.splitlines()
    (line,) = [line for line in lines if "stream" in line and "HTTP" not in line]
    assert "Refused to relay a stream" in line and "flask_push.asgi.PushASGI" in line


def test_a_server_with_a_limit_of_requests_ends_its_streams(start: Start) -> None:
    server = start("uvicorn", "--limit-max-requests", "4")
    readers = [server.stream("a").opened() for _ in range(3)]
    # The server does not count requests whose client disconnects after its answer.
    with contextlib.suppress(httpx.TransportError):
        with httpx.Client(base_url=server.url) as client:
            for _ in range(1000):
                assert client.get("/ping").text == "pong"
    for reader in readers:
        reader.read_to_end()
    assert server.process.wait(20) == 0


@pytest.mark.parametrize("name", SERVERS)
def test_a_slow_browser_falls_behind_and_misses_nothing(name: str, start: Start) -> None:
    server = start(name)
    slow = server.stream("a", receive_buffer=100_000).opened()
    for n in range(30):
        server.publish("a", f"{n} " + "x" * 500_000)
    until(lambda: "1 behind" in state(server)["hub"])
    data = b""
    while b"data: 29 xx" not in data[-600_000:]:
        data += slow.sock.recv(2**20)
    assert re.findall(rb"^data: (\d+) ", data, re.M) == [b"%d" % n for n in range(30)]
    until(lambda: "0 behind" in state(server)["hub"])
    assert_clean(server)


def test_http_2_works_without_configuration(start: Start) -> None:
    # No heartbeat would notice that a stream was closed.
    server = start("hypercorn", PUSH_HEARTBEAT=3600)
    path = "/stream?channel=a"
    pairs = {":method": "GET", ":scheme": "http", ":authority": "localhost", ":path": path}
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    for stream in 1, 3:
        connection.send_headers(stream, list(pairs.items()), end_stream=True)
    heads: dict[int, dict[bytes, bytes]] = {}
    bodies = {1: b"", 3: b""}
    with socket.create_connection(("127.0.0.1", server.port), 20) as sock:

        def read_until(data: bytes, stream: int) -> None:
            while data not in bodies[stream]:
                sock.sendall(connection.data_to_send())
                for event in connection.receive_data(sock.recv(65536)):
                    if isinstance(event, h2.events.ResponseReceived):
                        heads[event.stream_id] = dict(t.cast(t.Any, event.headers))
                    elif isinstance(event, h2.events.DataReceived):
                        bodies[event.stream_id] += event.data

        for stream in 1, 3:
            read_until(b"push:open", stream)
            assert heads[stream][b":status"] == b"200"
            assert not heads[stream].keys() & {b"connection", b"transfer-encoding"}
        # A page that closes one of its two.
        connection.reset_stream(1)
        sock.sendall(connection.data_to_send())
        until(lambda: "[1 streams]" in state(server)["asgi"])
        server.publish("a", "hi")
        read_until(b"data: hi\n\n", 3)
    until(lambda: "[0 streams]" in state(server)["asgi"])
    assert_clean(server)


class SecureServer(Server):
    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> t.Any:
        url = f"https://127.0.0.1:{self.port}{path}"
        try:
            answer = httpx.request(method, url, content=body, headers=headers, verify=False)
        except httpx.TransportError as error:
            raise OSError from error
        return answer.status_code, answer.headers, answer.content


def test_tls_works_without_configuration(tmp_path: Path) -> None:
    key, certificate = str(tmp_path / "key"), str(tmp_path / "certificate")
    make_certificate(Path(certificate), Path(key))
    port = free_port()
    more = ["--ssl-keyfile", key, "--ssl-certfile", certificate]
    command = SERVERS["uvicorn"]("apps.asgi", port, *more)
    env = {"INSTANCE": str(tmp_path)}
    server = SecureServer(command, port, tmp_path / "server.log", env)
    try:
        context = ssl.create_default_context(cafile=certificate)
        context.check_hostname = False
        with socket.create_connection(("127.0.0.1", port)) as plain:
            with context.wrap_socket(plain) as sock:
                sock.sendall(b"GET /stream?channel=a HTTP/1.1\r\nHost: localhost\r\n\r\n")
                data = b""
                while b"push:open" not in data:
                    data += sock.recv(65536)
                server.publish("a", "hi")
                while b"data: hi\n\n" not in data:
                    data += sock.recv(65536)
        until(lambda: "[0 streams]" in state(server)["asgi"])
        assert_clean(server)
    finally:
        server.kill()


# The wrapper alone, with a server that is a few functions.


def connections(app: Flask) -> str:
    found = re.search(r"\d+ connections", app.test_client().get("/hub").text)
    return found[0] if found else ""


def test_cancelling_a_request_ends_its_stream(app: Flask) -> None:
    async def scene() -> None:
        asgi, client = PushASGI(app), Client()
        task = asyncio.create_task(asgi(client.scope, client.receive, client.send))
        await client.opened()
        assert repr(asgi) == "<PushASGI [1 streams]>"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert repr(asgi) == "<PushASGI [0 streams]>"

    run(scene())
    until(lambda: connections(app) == "0 connections")


def test_a_view_that_ends_after_its_request_leaves_nothing_behind(app: Flask) -> None:
    reached.clear()
    go_on.clear()

    async def scene() -> None:
        asgi, client = PushASGI(app), Client("/later")
        task = asyncio.create_task(asgi(client.scope, client.receive, client.send))
        assert await asyncio.to_thread(reached.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        # The view's thread still talks to this loop.
        await asyncio.to_thread(asgi._asgi.executor.shutdown)

    run(scene())
    until(lambda: connections(app) == "0 connections")


def test_a_browser_that_disconnects_raises_no_error(app: Flask) -> None:
    async def scene() -> None:
        for leaves in "send", "receive":
            asgi, client = PushASGI(app), Client()
            task = asyncio.create_task(asgi(client.scope, client.receive, client.send))
            await client.opened()
            if leaves == "receive":
                client.left.set()
            else:
                client.fails = True
                app.extensions["push"].publish("a", "x")
            await asyncio.wait_for(task, 20)

    with app.app_context():
        run(scene())
    until(lambda: connections(app) == "0 connections")


def test_an_error_of_the_server_is_raised(app: Flask) -> None:
    async def scene() -> None:
        client = Client("/hub")
        client.fails = True
        with pytest.raises(OSError, match="the client is gone"):
            await PushASGI(app)(client.scope, client.receive, client.send)

    run(scene())


def test_headers_of_the_connection_are_left_to_the_server(app: Flask) -> None:
    async def scene() -> None:
        client = Client("/headers")
        asgi = PushASGI(app)
        await asyncio.wait_for(asgi(client.scope, client.receive, client.send), 20)
        names = {name for name, _ in client.sent[0]["headers"]}
        assert b"x" in names
        assert not names & {b"connection", b"content-length"}
        assert client.sent[-1]["more_body"] is False
        assert all(message["more_body"] for message in client.sent[1:-1])

    run(scene())


def test_websockets_are_refused_and_lifespans_are_answered(app: Flask) -> None:
    async def scene() -> None:
        client = Client(type="websocket")
        await PushASGI(app)(client.scope, client.receive, client.send)
        assert client.sent == [{"type": "websocket.close", "code": 1000}]
        client = Client(type="lifespan")
        messages = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> dict[str, t.Any]:
            return {"type": next(messages)}

        await PushASGI(app)(client.scope, receive, client.send)
        said = [message["type"] for message in client.sent]
        assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    run(scene())


def test_without_a2wsgi_the_error_names_the_package_to_install() -> None:
    code = "import sys; sys.modules['a2wsgi'] = None; import flask_push.asgi"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'flask-push[asgi]'" in process.stderr.splitlines()[-1]


# The page.

PAGE = (ROOT / "docs" / "asgi.md").read_text()


COMMANDS = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)


PROGRAM = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)[0]


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith("pip")])
def test_each_command_of_the_page_serves_the_app_of_the_page(
    command: str, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(PROGRAM)
    port = free_port()
    name, *words = shlex.split(command)
    words += (
        ["--port", str(port)]
        if name in ("uvicorn", "granian")
        else ["-b", f"127.0.0.1:{port}"]
    )
    if name == "gunicorn":
        words.append("--no-control-socket")
    server = Server([str(BIN / name), *words], port, tmp_path / "log", {}, tmp_path)
    try:
        reader = server.stream().opened()
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert server.request("POST", "/say", b"text=hi", **form)[0] == 204
        assert json.loads(reader.read_data(1)[0]) == {"text": "hi"}
        stalled = server.stream(receive_buffer=4096).opened()
        for _ in range(10):
            server.request("POST", "/say", b"text=" + b"x" * 400_000, **form)
        if name == "hypercorn" and sys.version_info >= (3, 12):
            # It waits for browsers that do not read, as the page says.
            reader.close()
            stalled.close()
        assert server.stop() < 10, stalled
    finally:
        server.kill()


def test_the_page_has_every_server_that_is_tested() -> None:
    assert {command.split()[0] for command in COMMANDS} == {*SERVERS, "pip"}
