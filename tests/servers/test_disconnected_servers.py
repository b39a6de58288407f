"""Streams are disconnected on real servers, and so are those of views that were running."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import typing as t
from pathlib import Path

import pytest
from support.asgi_servers import SERVERS
from support.reader import HttpReader
from support.redises import Redis
from support.servers import flask_run
from support.servers import gunicorn
from support.servers import serve
from support.servers import Server
from support.servers import until

Start = cabc.Callable[[Path], contextlib.AbstractContextManager[Server]]


def started(
    command: cabc.Callable[..., list[str]],
    *more: str,
    app: str = "apps.logins",
    **config: t.Any,
) -> Start:
    return lambda path: serve(command, path, *more, app=app, PUSH_RETRY=0.5, **config)


@contextlib.contextmanager
def on_redis(path: Path) -> cabc.Iterator[Server]:
    redis = Redis(path)
    try:
        with serve(
            gunicorn, path, "-w", "4", app="apps.logins", PUSH_BROKER_URL=redis.url
        ) as server:
            yield server
    finally:
        redis.kill()


STARTS: dict[str, Start] = {
    "gunicorn": started(gunicorn, "-w", "4"),
    "threads": started(gunicorn, "-w", "4", PUSH_HUB="thread"),
    "gthread": started(gunicorn, "-w", "2", "--threads", "4"),
    "several hubs": started(gunicorn, "-w", "4", PUSH_HUB_PROCESSES=2),
    "flask run": started(flask_run),
    # By default it keeps a connection for five seconds after the response.
    "asgi": started(
        SERVERS["uvicorn"], "--timeout-keep-alive", "0", app="apps.logins_asgi"
    ),
    "redis": on_redis,
}


@pytest.fixture(params=STARTS, ids=lambda name: name.replace(" ", "-"))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> cabc.Iterator[Server]:
    with STARTS[request.param](tmp_path) as server:
        yield server


def disconnect(server: Server, **selectors: str) -> str:
    status, _, body = server.request("POST", "/disconnect", json.dumps(selectors).encode())
    assert status == 200, (status, server.log)
    return body.decode()


def types(reader: HttpReader) -> list[str]:
    return [event.type for event in reader.events if event.type.startswith("push:")]


def is_disconnected(reader: HttpReader, reason: str = "") -> bool:
    """It ended with the reason as its last event."""
    reader.read_to_end()
    last = reader.events[-1]
    return (last.type, json.loads(last.data)) == ("push:disconnect", {"reason": reason})


def held(server: Server, file: Path, *channels: str, **query: str) -> HttpReader:
    """A stream whose view runs for as long as the file is there."""
    reader = server.stream(*channels, held=str(file), **query)
    until(file.exists)
    return reader


def test_the_streams_that_are_named_end_and_no_others(
    server: Server, tmp_path: Path
) -> None:
    ada = server.open_stream("a", user="ada", session="one")
    other = server.open_stream("a", user="ada", session="two")
    bob = server.open_stream("a", "b", user="bob", session="three")
    visitor = server.open_stream("a", "b")
    server.publish("a", "1")
    for reader in ada, other, bob, visitor:
        assert reader.read_data(1) == ["1"]

    disconnect(server, session="one", reason="logged out")
    server.publish("a", "2")
    assert is_disconnected(ada, "logged out") and ada.data == ["1"]
    assert other.read_data(2) == ["1", "2"]

    disconnect(server, user="ada", reason="removed")
    server.publish("a", "3")
    assert is_disconnected(other, "removed") and other.data == ["1", "2"]
    assert bob.read_data(3) == ["1", "2", "3"]

    disconnect(server, user="bob", channel="b")
    server.publish("a", "4")
    assert is_disconnected(bob) and bob.data == ["1", "2", "3"]
    assert visitor.read_data(4) == ["1", "2", "3", "4"], "it goes on"
    assert types(visitor) == ["push:open"] and not visitor.ended

    again = server.open_stream("a", user="ada", session="two", last_id=other.last_id)
    assert again.read_data(2) == ["3", "4"], "it resumes exactly"
    late = server.stream("a", user="ada", session="one")
    assert is_disconnected(late, "logged out"), "the session stays disconnected"


def test_a_view_that_was_running_is_asked_again(server: Server, tmp_path: Path) -> None:
    """It has granted the stream before the call, and returns it afterwards."""
    first = server.open_stream("a", user="ada")
    late = held(server, tmp_path / "late", "a", user="ada")
    other = held(server, tmp_path / "other", "a", user="bob")
    disconnect(server, user="ada", reason="removed")
    server.publish("a", "after")
    assert is_disconnected(first, "removed")
    for name in "late", "other":
        (tmp_path / name).unlink()
    # Nothing was disconnected that names this one. It begins at the store's position.
    other.opened()
    late.read_to_end()
    assert late.data == [] and "push:open" not in types(late)
    again = server.open_stream("a", user="ada", last_id=first.last_id)
    assert again.read_data(1) == ["after"]
    server.publish("a", "more")
    assert again.read_data(2) == ["after", "more"]
    assert other.read_data(1)[-1] == "more"


def test_a_poll_of_a_view_that_was_running_reads_nothing(
    server: Server, tmp_path: Path
) -> None:
    first = server.open_stream("a", user="ada")
    first_id = first.last_id
    poll = held(server, tmp_path / "poll", "a", user="ada", poll="1", last_id=first_id)
    disconnect(server, user="ada")
    server.publish("a", "after")
    assert is_disconnected(first)
    (tmp_path / "poll").unlink()
    poll.read_to_end()
    assert poll.data == []

    def reads() -> list[str]:
        query = {"user": "ada", "poll": "1", "last_id": first_id}
        return server.stream("a", **query).read_to_end().data

    assert until(reads) == ["after"]
