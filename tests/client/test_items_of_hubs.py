"""Python reads the items of real hubs, while streams end and hubs are killed."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import random
import threading
import typing as t
from pathlib import Path

import pytest
from support.pages import blocks
from support.pages import DOCS
from support.servers import gunicorn
from support.servers import serve
from support.servers import Server
from support.servers import until

import flask_push
from flask_push import Event
from flask_push import Publisher
from flask_push.client import Source

LOOP = next(code for code in blocks(DOCS["listen"], "python") if "push:unset" in code)
URL = "http://127.0.0.1:5000/prices"


class Script:
    """The script of the page *Listen*, which keeps the current items in a dictionary.

    Its ``flask_push`` is this object, which sees what the script gets.
    """

    def __init__(self, url: str) -> None:
        assert URL in LOOP
        self.source: Source
        self.events: list[Event] = []
        #: The items that it showed last.
        self.shown: dict[str, str] | None = None
        code = LOOP.replace(URL, url)
        names = {"flask_push": self, "show": self._show}
        self._thread = threading.Thread(target=exec, args=(code, names))

    def __enter__(self) -> Script:
        self._thread.start()
        until(lambda: hasattr(self, "source"))
        return self

    def __exit__(self, *_: object) -> None:
        self.source.close()
        self._thread.join(20)
        assert not self._thread.is_alive()

    @contextlib.contextmanager
    def connect(self, url: str, **options: t.Any) -> cabc.Iterator[cabc.Iterator[Event]]:
        with flask_push.connect(url, **options) as self.source:
            yield self._take()

    def _take(self) -> cabc.Iterator[Event]:
        for event in self.source:
            self.events.append(event)
            yield event

    def _show(self, prices: dict[str, str]) -> None:
        self.shown = dict(prices)

    def counts(self, *types: str) -> list[int]:
        found = [event.type for event in self.events]
        return [found.count(type) for type in types]

    def reconnect(self) -> None:
        before = self.source._socket
        until(lambda: self.source._socket not in (None, before))


@pytest.fixture
def store(tmp_path: Path) -> cabc.Iterator[Publisher]:
    publisher = Publisher(f"sqlite://{tmp_path}/store.db", timeout=20)
    yield publisher
    publisher.close()


@pytest.fixture
def server(store: Publisher, tmp_path: Path) -> cabc.Iterator[Server]:
    url = f"sqlite://{tmp_path}/store.db"
    with serve(gunicorn, tmp_path, PUSH_BROKER_URL=url, PUSH_RETRY=0.5) as server:
        yield server


def has(store: Publisher) -> dict[str, str]:
    return {name: event.data for name, event in store.items("p").events.items()}


def test_a_script_has_all_items_while_streams_end_and_the_server_is_killed(
    store: Publisher, server: Server
) -> None:
    with Script(f"{server.url}/stream?channel=p&lifetime=0.5") as script:
        choose = random.Random(7)
        for number in range(200):
            name = f"i{choose.randrange(20)}"
            if choose.random() < 0.3:
                store.unset("p", name)
            else:
                store.set("p", name, number)
            if number == 80:
                until(lambda: script.shown)
                server.kill_without_readers()
            elif number == 120:
                server.start()
            elif number % 20 == 0 and not 80 < number < 120:
                script.reconnect()
        until(lambda: script.shown == has(store))
    newest: dict[object, int] = {}
    for event in script.events:
        if event.item and event.type == "message":
            # No item becomes older.
            assert int(event.data) >= newest.get(event.item, 0)
            newest[event.item] = int(event.data)


def test_a_script_that_reconnects_gets_only_what_has_changed(
    store: Publisher, server: Server
) -> None:
    store.publish_many(Event("p", n, item=f"i{n}") for n in range(300))
    with Script(f"{server.url}/stream?channel=p&lifetime=0.5") as script:
        until(lambda: script.shown)
        for number in range(4):
            script.reconnect()
            store.set("p", "i0", f"new {number}")
            store.unset("p", f"i{number + 1}")
            until(lambda: script.shown == has(store))
    assert script.counts("push:items", "push:whole", "push:unset") == [1, 1, 4]
    assert script.counts("message") == [304]


def test_a_script_that_was_away_for_too_long_gets_all_items_again(
    store: Publisher, server: Server
) -> None:
    """The store has forgotten the first unset, and no event says that the item is gone."""
    store.publish_many(Event("p", n, item=f"i{n}") for n in range(3))
    with Script(f"{server.url}/stream?channel=p") as script:
        until(lambda: script.shown)
        server.kill_without_readers()
        store.unset("p", "i0")
        names = [f"j{n}" for n in range(1100)]
        store.publish_many(Event("p", "", item=name) for name in names)
        store.unset("p", *names)
        store.set("p", "i1", "new")
        server.start()
        until(lambda: script.shown == has(store) == {"i1": "new", "i2": "2"})
    assert script.counts("push:items", "push:whole") == [2, 2]


def test_a_script_learns_that_there_are_no_items(store: Publisher, server: Server) -> None:
    with Script(f"{server.url}/stream?channel=p") as script:
        until(lambda: script.shown == {})
        store.publish("p", "an event")
        store.set("p", "a", 1)
        until(lambda: script.shown == {"a": "1"})
        store.unset("p", "a")
        until(lambda: script.shown == {})
    assert script.counts("push:items", "push:whole", "push:unset") == [1, 1, 1]


def test_the_next_script_with_the_last_id_gets_all_items(
    store: Publisher, server: Server
) -> None:
    store.publish_many(Event("p", n, item=f"i{n}") for n in range(3))
    url = f"{server.url}/stream?channel=p"
    with flask_push.connect(url) as source:
        assert [next(source).type for _ in range(2)] == ["push:items", "message"]
    store.publish("p", "an event")
    with flask_push.connect(url, last_id=source.last_id) as source:
        found = [next(source) for _ in range(6)]
    assert [event.data for event in found if event.type == "message"][:3] == ["0", "1", "2"]
    assert sorted(event.type for event in found) == [
        *["message"] * 4,
        *["push:items", "push:whole"],
    ]
    assert "an event" in [event.data for event in found]
