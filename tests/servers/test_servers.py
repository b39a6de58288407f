"""Streams on real servers: the worker is free, the response is Flask's, nothing leaks."""

from __future__ import annotations

import collections.abc as cabc
import http.client
import itertools
import os
import re
import signal
import socket
import time
import typing as t
from pathlib import Path

import pytest
from support.measures import descriptors
from support.measures import memory
from support.measures import threads
from support.measures import workers
from support.packages import environment
from support.packages import install
from support.reader import HttpReader
from support.servers import flask_run
from support.servers import gunicorn
from support.servers import hubs
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import TESTS
from support.servers import until

SERVERS: dict[str, tuple[cabc.Callable[..., list[str]], list[str]]] = {
    "flask run": (flask_run, []),
    "flask run, one thread": (flask_run, ["--without-threads"]),
    "flask run, debugger and reloader": (flask_run, ["--debug"]),
    "gunicorn sync": (gunicorn, []),
    "gunicorn sync, four workers": (gunicorn, ["-w", "4"]),
    "gunicorn sync, preloaded": (gunicorn, ["-w", "2", "--preload"]),
    "gunicorn gthread": (gunicorn, ["--threads", "4"]),
    "gunicorn gthread, two workers": (gunicorn, ["-w", "2", "--threads", "2"]),
}
ONE_WORKER = ["flask run", "gunicorn sync", "gunicorn gthread"]


@pytest.fixture
def start(tmp_path: Path) -> cabc.Iterator[cabc.Callable[..., Server]]:
    contexts = []

    def start(name: str, **config: t.Any) -> Server:
        command, more = SERVERS[name]
        contexts.append(serve(command, tmp_path, *more, **config))
        return contexts[-1].__enter__()

    yield start
    for context in contexts:
        context.__exit__(None, None, None)


Start = cabc.Callable[..., Server]


def quiet(pid: int) -> bool:
    """Whether no connection is opened or closed for a moment."""
    before = os.listdir(f"/proc/{pid}/fd")
    time.sleep(0.1)
    return before == os.listdir(f"/proc/{pid}/fd")


def open_what_stays(server: Server, pids: list[int]) -> None:
    """Let a worker and the hub open what they keep, and wait until they are quiet."""
    server.publish("a", "opens the store")
    reader = server.stream("a", last=1).opened()
    # The worker rings the bell of the hub, which is there only now.
    server.publish("a", "opens the bell")
    reader.read_data(2)
    reader.close()
    # A worker looks once a second for the files that a hub makes.
    since = time.monotonic()
    while time.monotonic() < since + 2:
        server.stream("a").opened().close()
        time.sleep(0.1)
    until(lambda: all(quiet(pid) for pid in pids))


def assert_clean(server: Server) -> None:
    """The server has logged no problem."""
    assert not re.search("error|traceback|exception|warn(?!ing: this)", server.log, re.I), (
        server.log
    )


@pytest.mark.parametrize("name", SERVERS)
def test_every_stream_gets_every_event_and_the_worker_is_free(
    name: str, start: Start
) -> None:
    server = start(name)
    readers = [server.stream("a", "b").opened() for _ in range(12)]
    assert server.get("/ping") == "pong"
    for n in range(20):
        server.publish("ab"[n % 2], f"{n}")
    for reader in readers:
        assert reader.read_data(20) == [str(n) for n in range(20)]
        reader.close()
    assert server.get("/ping") == "pong"
    assert_clean(server)


@pytest.mark.parametrize("name", SERVERS)
def test_the_response_is_finished_like_any_other(name: str, start: Start) -> None:
    server = start(name)
    reader = server.stream("a").opened()
    assert reader.status == 200
    headers = reader.headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-store, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert headers["connection"] == "close"
    assert "session=" in headers["set-cookie"]
    assert headers["x-after-request"] == "yes"
    assert "date" in headers
    assert not headers.keys() & {"content-length", "transfer-encoding"}
    reader.close()


@pytest.mark.parametrize("name", ONE_WORKER)
def test_a_request_is_torn_down_while_its_stream_is_open(name: str, start: Start) -> None:
    server = start(name)
    before = int(server.get("/torn-down"))
    readers = [server.stream("a").opened() for _ in range(3)]
    # Each request for the count makes one more.
    asked = itertools.count(1)
    until(lambda: int(server.get("/torn-down")) == before + len(readers) + next(asked))
    for reader in readers:
        reader.close()


@pytest.mark.parametrize("name", SERVERS)
def test_a_response_that_is_not_a_stream_is_sent_as_usual(name: str, start: Start) -> None:
    server = start(name)
    status, headers, body = server.request("HEAD", "/stream?channel=a")
    assert (status, body) == (200, b"")
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert server.request("GET", "/stream?channel=a&status=403")[0] == 403
    assert server.request("GET", "/stream?channel=a&status=404")[0] == 404
    status, headers, _ = server.request("GET", "/stream?channel=a&redirect=/ping")
    assert (status, headers["Location"]) == (302, "/ping")
    assert server.get("/ping") == "pong"
    assert_clean(server)


@pytest.mark.parametrize("name", ONE_WORKER)
def test_a_browser_that_disconnects_is_noticed_at_once(name: str, start: Start) -> None:
    # No heartbeat would notice it.
    server = start(name, PUSH_HUB="thread", PUSH_HEARTBEAT=3600)
    (worker,) = workers(server)
    open_what_stays(server, [worker])
    before = descriptors(worker)
    readers = [server.stream("a").opened() for _ in range(20)]
    assert descriptors(worker) > before + 10
    for reader in readers:
        reader.close()
    until(lambda: descriptors(worker) <= before)


@pytest.mark.parametrize("name", ONE_WORKER)
@pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
def test_streams_of_a_thread_end_with_their_server(
    name: str, with_signal: signal.Signals, start: Start
) -> None:
    server = start(name, PUSH_HUB="thread")
    (worker,) = workers(server)
    server.publish("a", "the first use opens files")
    server.stream("a").opened().close()
    until(lambda: quiet(worker))
    before = descriptors(worker)
    readers = [server.stream("a").opened() for _ in range(5)]
    # A signal that arrives while gunicorn starts a thread for a request can hang it.
    # Something of the first stream may still have been open for a second.
    until(lambda: descriptors(worker) - before in (4, 5))
    took = server.stop(with_signal)
    assert took < 20, "gunicorn would wait thirty seconds for requests to end"
    for reader in readers:
        reader.read_to_end()
        if name != "flask run" or with_signal == signal.SIGINT:
            # Flask's development server does not handle SIGTERM, so it is killed.
            assert re.search(rb"\n\nretry: \d+\n\Z", reader.body), reader.body
    assert len({reader.parser.retry for reader in readers}) > 1, "jittered"
    assert_clean(server)


def test_saving_a_file_reloads_the_app_and_the_stream_resumes(tmp_path: Path) -> None:
    app = tmp_path / "shop.py"
    app.write_text("from apps.basic import app\n")
    with serve(flask_run, tmp_path, "--debug", app=str(app), PUSH_HUB="thread") as server:
        reader = server.stream("a").opened()
        server.publish("a", "1")
        reader.read_data(1)
        before = server.get("/pid")
        app.write_text("from apps.basic import app\n# saved\n")
        reader.read_to_end()
        assert re.search(rb"\n\nretry: \d+\n\Z", reader.body)
        until(lambda: is_up(server) and server.get("/pid") != before)
        server.publish("a", "2")
        again = server.stream("a", last_id=reader.last_id)
        assert again.read_data(1) == ["2"]
        assert again.gaps == []


def is_up(server: Server) -> bool:
    try:
        return server.get("/ping") == "pong"
    except (OSError, http.client.HTTPException):
        return False


# Starts a hub in uWSGI's master, which then forks workers, without Python's hooks.
WARMED_UP = """
from apps.basic import app
app.test_client().get("/stream?channel=a").close()
"""


def test_workers_that_are_forked_without_pythons_hooks_share_nothing(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    (tmp_path / "warm.py").write_text(WARMED_UP)

    def uwsgi(_: str, port: int) -> list[str]:
        words = ["--http-socket", f"127.0.0.1:{port}", "--master", "-p", "2"]
        return ["uwsgi", *words, "--enable-threads", "-w", "warm:app"]

    packages = install(pytestconfig, "pyuwsgi==2.0.30.post1")
    env = environment(packages, tmp_path, TESTS)
    with serve(uwsgi, tmp_path, env=env) as server:
        readers = [server.stream("a").opened() for _ in range(20)]
        server.publish("a", "x")
        for reader in readers:
            assert reader.read_data(1) == ["x"]
        assert int(server.get("/pid")) != server.process.pid
        # The master, and each worker that has had a stream.
        assert status(tmp_path)["processes"] in (2, 3)
        assert len(hubs(tmp_path)) == 1


@pytest.mark.parametrize("name", ONE_WORKER)
def test_clients_that_misbehave_do_not_disturb_others(name: str, start: Start) -> None:
    server = start(name)
    good = server.stream("a").opened()
    pipelined = server.stream("a")
    pipelined.sock.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
    pipelined.opened()
    garbage = server.stream("a").opened()
    garbage.sock.sendall(b"\0\xff" * 1000)
    flood = server.stream("a").opened()
    with pytest.raises(OSError):
        for _ in range(100):
            flood.sock.sendall(b"x" * 100_000)
    half_closed = server.stream("a").opened()
    half_closed.sock.shutdown(socket.SHUT_WR)
    half_closed.read_to_end()
    old = server.stream("a", version="1.0").opened()
    server.publish("a", "1")
    assert good.read_data(1) == ["1"]
    assert pipelined.read_data(1) == ["1"]
    assert garbage.read_data(1) == ["1"]
    assert old.read_data(1) == ["1"]
    assert b"pong" not in pipelined.body and b"HTTP/1" not in pipelined.body
    for reader in good, pipelined, garbage, flood, half_closed, old:
        reader.close()
    assert_clean(server)


@pytest.mark.parametrize("hub", ["process", "thread"])
def test_one_sync_worker_holds_a_thousand_streams(hub: str, start: Start) -> None:
    server = start("gunicorn sync", PUSH_HUB=hub)
    (worker,) = workers(server)
    open_what_stays(server, [worker])
    before = descriptors(worker), threads(worker)
    readers: list[HttpReader] = []
    for _ in range(1000):
        readers.append(server.stream("a"))
    for reader in readers:
        reader.opened()
    assert threads(worker) == before[1]
    server.publish("a", *map(str, range(10)))
    for reader in readers:
        assert reader.read_data(10) == [str(n) for n in range(10)]
    for reader in readers:
        reader.close()
    until(lambda: descriptors(worker) <= before[0])
    assert_clean(server)


@pytest.mark.parametrize("hub", ["process", "thread"])
def test_nothing_is_left_of_ten_thousand_streams(
    hub: str, start: Start, tmp_path: Path
) -> None:
    server = start("gunicorn sync", PUSH_HUB=hub)
    (worker,) = workers(server)
    server.stream("a").opened().close()
    pids = [worker, *hubs(tmp_path)]
    open_what_stays(server, pids)
    before = {pid: (descriptors(pid), threads(pid)) for pid in pids}
    sizes: list[list[int]] = []
    for _ in range(20):
        readers = [server.stream("a", f"user:{n}") for n in range(500)]
        for reader in readers:
            reader.opened()
        server.publish("a", "x")
        for reader in readers:
            assert reader.read_data(1) == ["x"]
            reader.close()
        server.readers.clear()
        for pid in pids:
            until(lambda pid=pid: descriptors(pid) <= before[pid][0])  # type: ignore[misc]
            assert threads(pid) <= before[pid][1]
        sizes.append([memory(pid) for pid in pids])
    for second, last in zip(sizes[1], sizes[-1], strict=True):
        assert last < second + 2 * 2**20, sizes
