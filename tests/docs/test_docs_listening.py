"""The page *Listen on the server*: what its code does is what the page says."""

from __future__ import annotations

import collections.abc as cabc
import sqlite3
import threading
import typing as t
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask
from support.listeners import in_thread
from support.listeners import take
from support.pages import blocks
from support.pages import DOCS
from support.servers import until

from flask_push import Listener
from flask_push import Publisher
from flask_push import Push

LOOP, ALONE, SEEN, STOP = blocks(DOCS["listen-on-the-server"], "python")


class Page(t.NamedTuple):
    """An app with the page's code, and what it has printed and listened to."""

    names: dict[str, t.Any]
    app: Flask
    push: Push
    printed: list[tuple[t.Any, ...]]
    listeners: list[Listener]

    def run(self, code: str) -> None:
        exec(code, self.names)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> cabc.Iterator[Page]:
    monkeypatch.chdir(tmp_path)
    app = Flask("page", instance_path=str(tmp_path))
    app.testing = True
    push, printed = Push(app), list[tuple[t.Any, ...]]()
    listeners: list[Listener] = []
    listen = push.listen

    def note(*channels: str, **options: t.Any) -> Listener:
        listeners.append(listen(*channels, **options))
        return listeners[-1]

    monkeypatch.setattr(push, "listen", note)
    names = {"app": app, "push": push, "sqlite3": sqlite3, "threading": threading}
    names |= {"closing": closing, "current_user": SimpleNamespace(id=7)}
    names |= {"print": lambda *words: printed.append(words)}
    yield Page(names, app, push, printed, listeners)
    for listener in listeners:
        listener.close()
    push._services().close()


def test_the_loop_gets_each_event_until_it_is_closed(page: Page) -> None:
    thread = in_thread(lambda: page.run(LOOP))
    until(lambda: page.listeners)
    page.push.set("orders", "x", 0, type="other")
    page.push.publish("orders", {"n": 1})
    page.push.publish("orders", {"n": 2})
    until(lambda: len(page.printed) == 2)
    assert page.printed == [("orders", {"n": 1}), ("orders", {"n": 2})]
    page.listeners[0].close()
    thread.join(20)
    assert not thread.is_alive()


def test_a_publisher_listens_until_no_event_comes(page: Page) -> None:
    publisher = Publisher("memory:")

    class Scripted:
        """It has one event, and a timeout that is over at once."""

        def __init__(self, url: str) -> None:
            assert url == "redis://127.0.0.1:6379/0"

        def listen(self, channel: str, timeout: float) -> cabc.Iterator[t.Any]:
            assert timeout == 60
            with publisher.listen(channel, timeout=20) as events:
                publisher.publish(channel, "x")
                yield from (event for event in take(events, 3) if event.data == "x")

    page.names["Publisher"] = Scripted
    page.run(ALONE)
    assert page.printed == [("x",)]


def seen() -> list[str]:
    with closing(sqlite3.connect("seen.db")) as db:
        return [user for (user,) in db.execute("SELECT user FROM seen WHERE at > 1e9")]


def forget() -> None:
    with closing(sqlite3.connect("seen.db")) as db, db:
        db.execute("DELETE FROM seen")


def test_the_table_has_who_was_last_seen(page: Page) -> None:
    page.run(SEEN)
    text = DOCS["listen-on-the-server"]
    (table,) = [line for line in text.split("`") if line.startswith("CREATE TABLE")]
    with closing(sqlite3.connect("seen.db")) as db, db:
        db.execute(table)
    thread = in_thread(
        lambda: page.app.test_cli_runner().invoke(args=["last-seen"]) and None
    )
    until(lambda: page.listeners)
    page.app.test_client().get("/")
    until(lambda: seen() == ["7"])
    forget()
    position = page.push.position()
    page.app.test_client().get("/")
    assert page.push.position() == position, "the same value is not sent"
    page.push.unset("active", 7)
    until(lambda: seen() == ["7"])
    page.listeners[0].close()
    thread.join(20)
    assert not thread.is_alive()


@pytest.mark.parametrize("early", [True, False])
def test_a_page_stops_a_worker(page: Page, early: bool) -> None:
    page.run(STOP)
    client, done = page.app.test_client(), list[int]()

    def step() -> None:
        done.append(1)
        if len(done) == 3 and not early:
            assert client.post("/jobs/9/stop").status_code == 204

    def steps() -> cabc.Iterator[cabc.Callable[[], None]]:
        while True:
            yield step

    if early:
        assert client.post("/jobs/9/stop").status_code == 204
    # It has steps without end.
    page.names["work"]("9", steps())
    assert early or len(done) >= 3
