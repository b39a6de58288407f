"""The page *Items*: what its code does is what the page says."""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t
from types import SimpleNamespace
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.pages import blocks
from support.pages import DOCS

from flask_push import Event
from flask_push import Push
from flask_push.testing import read_events

PAGE = DOCS["items"]

APP, SET, UNSET, READ, TYPING, FLAG, TOGETHER, FASTEST, PACED = blocks(PAGE, "python")

ANN = SimpleNamespace(id=7, name="Ann")


class Flag:
    """A row. Its class has the columns."""

    on: bool = False
    version: int = 0


class Rows:
    """The database of an app, with one row. It counts the versions of the row."""

    def __init__(self) -> None:
        self.session = self
        self.version = 0
        self.after_commit: cabc.Callable[[], object] = bool

    def get_one(self, kind: type[Flag], name: str) -> Flag:
        self.flag = kind()
        return self.flag

    def commit(self) -> None:
        self.version += self.flag.version
        self.flag.version = self.version
        self.after_commit()


class Written(t.NamedTuple):
    """What the page's code has defined, and what it needs."""

    names: dict[str, t.Any]
    client: FlaskClient

    @property
    def push(self) -> Push:
        push = self.names["push"]
        assert isinstance(push, Push)
        return push

    def run(self, code: str) -> None:
        exec(code, self.names)

    def items(self, channel: str) -> dict[str, t.Any]:
        events = self.push.items(channel).events
        return {name: event.data for name, event in events.items()}


@pytest.fixture
def page() -> cabc.Iterator[Written]:
    names: dict[str, t.Any] = {"__name__": "docs_items", "Event": Event, "db": Rows()}
    names |= {"current_user": ANN, "user": ANN, "Flag": Flag}
    names |= {"seat": SimpleNamespace(id=UUID(int=7))}
    names |= {"sample": lambda: {"cpu": 0.5, "disk": 0.25}}
    exec(APP, names)
    app = names["app"]
    assert isinstance(app, Flask)
    app.testing = True
    for view in TYPING, FLAG:
        exec(view, names)
    yield Written(names, app.test_client())
    names["push"]._services().close()


def test_prices_are_set_and_removed(page: Written) -> None:
    assert page.client.post("/prices/AAPL", data={"price": "187.2"}).status_code == 204
    assert page.client.post("/prices/MSFT", data={"price": "412.9"}).status_code == 204
    assert json.loads(page.items("prices")["AAPL"]) == {"price": 187.2}
    page.run(READ)
    assert page.names["prices"] == {"AAPL": 187.2, "MSFT": 412.9}
    assert page.names["found"].position == page.push.position()
    assert page.client.post("/prices/AAPL/remove").status_code == 204
    assert [*page.items("prices")] == ["MSFT"]


def test_items_are_set_and_unset_as_the_page_names_them(page: Written) -> None:
    page.run(SET)
    assert page.items("seats") == {str(UUID(int=7)): "taken"}
    assert page.push.items("build").events["status"].type == "alarm"
    page.push.set("prices", "GOOG", 1)
    assert [*page.items("prices")] == ["AAPL", "GOOG"]
    one, every = UNSET.splitlines()
    page.run(one)
    assert [*page.items("prices")] == ["GOOG"]
    page.run(every)
    assert page.items("prices") == {}


def test_the_same_value_with_a_ttl_only_prolongs_it(page: Written) -> None:
    def typed() -> str:
        assert page.client.post("/typing").status_code == 204
        return page.push.items("typing").events["7"].id

    assert typed() == typed()
    assert page.items("typing") == {"7": "Ann"}


def test_the_newest_version_of_a_row_stays(page: Written) -> None:
    """The first request calls ``set`` after the second one."""
    rows = page.names["db"]

    def overtaken() -> None:
        rows.after_commit = bool
        assert page.client.post("/flags/beta", data={"on": "0"}).status_code == 204

    rows.after_commit = overtaken
    assert page.client.post("/flags/beta", data={"on": "1"}).status_code == 204
    event = page.push.items("flags").events["beta"]
    assert (event.json, event.version) == (False, 2)


def test_the_stream_of_values_that_change_often_has_a_pause(page: Written) -> None:
    page.run(PACED)
    page.run(FASTEST)
    with page.names["app"].test_request_context():
        assert page.names["metrics_stream"]().stream_.every == 0.5
    with page.client.get("/metrics/stream") as response:
        events = read_events(response, 2)
    assert {event.item: event.data for event in events} == page.items("metrics")


def test_events_and_items_are_stored_together(page: Written) -> None:
    page.run(TOGETHER)
    (paid,) = page.push.history("orders", 9).events
    assert page.items("stock") == {"chair": "3"} and page.items("baskets") == {"7": "empty"}
    assert paid.id < page.push.items("stock").events["chair"].id
    page.run(FASTEST)
    assert page.items("metrics") == {"cpu": "0.5", "disk": "0.25"}
