"""A worker listens, on real servers, while it answers requests and its hub is killed."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import os
import signal
import sys
import typing as t
from pathlib import Path

import pytest
from support.asgi_servers import SERVERS
from support.servers import flask_run
from support.servers import gunicorn
from support.servers import hubs
from support.servers import program
from support.servers import serve
from support.servers import Server
from support.servers import TESTS
from support.servers import until

Start = cabc.Callable[[Path], contextlib.AbstractContextManager[Server]]


def started(command: cabc.Callable[..., list[str]], *more: str, **config: t.Any) -> Start:
    return lambda path: serve(command, path, *more, app="apps.listeners", **config)


STARTS: dict[str, Start] = {
    "gunicorn": started(gunicorn),
    "gevent": started(gunicorn, "-k", "gevent"),
    "thread": started(gunicorn, PUSH_HUB="thread"),
    "gevent and thread": started(gunicorn, "-k", "gevent", PUSH_HUB="thread"),
    "several hubs": started(gunicorn, PUSH_HUB_PROCESSES=3),
    "flask run": started(flask_run),
    "asgi": started(SERVERS["uvicorn"]),
}


@pytest.fixture(params=STARTS, ids=lambda name: name.replace(" ", "-"))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> cabc.Iterator[Server]:
    with STARTS[request.param](tmp_path) as server:
        yield server


def received(server: Server) -> list[list[str]]:
    found: list[list[str]] = json.loads(server.get("/received"))
    return found


def is_received(server: Server, *ids: str) -> bool:
    """Whether the worker has got these events, once and in order, and no gap."""
    rows = received(server)
    own = [type for type, *_ in rows if type.startswith("push:")]
    assert own[:2] == ["push:items", "push:whole"][: len(own)]
    assert "push:gap" not in own, rows
    return [id for type, id, _ in rows if type == "message"] == [*ids]


def test_a_worker_listens_while_its_hub_is_killed_until_a_view_closes_it(
    server: Server, tmp_path: Path
) -> None:
    browser = server.stream("a").opened()
    assert server.request("POST", "/listen?channel=a&channel=b")[0] == 200
    until(lambda: received(server), what="its stream begins")
    ids = [server.publish(channel, "x") for channel in "aabab" * 4]
    until(lambda: is_received(server, *ids))
    assert len(browser.read_data(12)) == 12
    for pid in hubs(tmp_path):
        os.kill(pid, signal.SIGKILL)
    ids += [server.publish(channel, "y") for channel in "bab"]
    until(lambda: is_received(server, *ids))
    assert server.request("POST", "/close")[2] == b"ended"
    server.publish("a", "z")
    assert is_received(server, *ids)
    # The worker goes on, and ends when it has to, although it listens again.
    assert server.request("POST", "/listen?channel=a")[0] == 200
    until(lambda: len(received(server)) == len(ids) + 4)
    server.stream("a").opened()
    server.stop()
    assert "Traceback" not in server.log, server.log


def test_a_command_of_the_app_uses_the_hub_of_the_workers(tmp_path: Path) -> None:
    with started(gunicorn)(tmp_path) as server:
        server.stream("a").opened()
        command = [sys.executable, "-m", "flask", "--app", "apps.listeners", "listen", "a"]
        env = {**os.environ, **server.env}
        with program(command, cwd=TESTS, env=env, text=True) as process:
            assert process.stdout is not None
            lines = iter(process.stdout)
            assert [next(lines).split()[0] for _ in "12"] == ["push:items", "push:whole"]
            assert len(hubs(tmp_path)) == 1
            server.publish("a", "1", "end")
            assert [*lines] == ["message 1\n", "message end\n"]
            assert process.wait(20) == 0
