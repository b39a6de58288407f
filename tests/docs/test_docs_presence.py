"""The page *Who is online*: what its code does is what the page says."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Page
from support.browser import Windows
from support.listeners import in_thread
from support.pages import blocks
from support.pages import DOCS
from support.servers import gunicorn
from support.servers import serve
from support.servers import Server
from support.servers import until

from flask_push import Push
from flask_push.testing import read_events

PUSH_JS, HIDDEN, COUNT, PLAIN = blocks(DOCS["presence"], "js")
VIEW, READ, NOTICE, INFO, MATCH, *TESTS = blocks(DOCS["presence"], "python")


class Written(t.NamedTuple):
    """What the page's code has defined, and what it needs."""

    names: dict[str, t.Any]
    push: Push
    client: FlaskClient

    def run(self, code: str) -> None:
        exec(code, self.names)


@pytest.fixture
def page() -> cabc.Iterator[Written]:
    app = Flask("page", instance_path="/nonexistent")
    app.testing = True
    push = Push(app)
    names: dict[str, t.Any] = {"app": app, "push": push, "read_events": read_events}
    names |= {"current_user": SimpleNamespace(id=7, name="Ann")}
    names |= {"login_required": lambda view: view, "may": lambda user, name: name != "x"}
    exec(VIEW, names)
    yield Written(names, push, app.test_client())
    push._services().close()


def test_users_are_present_where_the_view_shows_them(page: Written) -> None:
    sent: list[str] = []
    page.names["send_mail"] = sent.append
    page.run(READ)
    assert sent == ["You have a new comment"] and page.names["names"] == []
    with page.client.get("/stream?channel=group:7&channel=x"):
        page.run(READ)
        assert len(sent) == 1 and page.names["names"] == ["Ann"]
        assert page.push.presence("x").count == 0


@pytest.mark.parametrize("code", TESTS, ids=["there", "herself"])
def test_the_tests_of_an_app_pass(page: Written, code: str) -> None:
    before = {*page.names}
    page.run(code)
    (test,) = (page.names[name] for name in page.names.keys() - before)
    test(page.client)


def test_a_command_notices_who_comes_and_not_who_is_there(page: Written) -> None:
    noticed: list[tuple[str, ...]] = []
    page.names["greet"] = lambda *user: noticed.append(user)
    page.names["store_last_seen"] = lambda user: noticed.append((user,))
    listeners = []
    listen = page.push.listen

    def note(*channels: str, **options: t.Any) -> t.Any:
        listeners.append(listen(*channels, **options))
        return listeners[-1]

    page.push.listen = note  # type: ignore[method-assign]
    user = page.names["current_user"]
    with page.client.get("/stream?channel=group:7"):
        assert page.push.presence("group:7").count == 1
        thread = in_thread(lambda: page.run(NOTICE))
        until(lambda: listeners and listeners[0]._items.word)
        user.id, user.name = 8, "Ben"
        with page.client.get("/stream?channel=group:7"):
            until(lambda: noticed)
        until(lambda: len(noticed) == 2)
    until(lambda: len(noticed) == 3)
    listeners[0].close()
    thread.join(20)
    assert noticed == [("8", "Ben"), ("8",), ("7",)]


def test_what_changes_of_a_user_is_an_item(page: Written) -> None:
    page.run(INFO)
    assert page.push.items("group:7").events["7"].data == "busy"


def test_many_users_are_counted_and_not_listed(page: Written) -> None:
    page.names["visitor_id"] = iter("abb").__next__
    page.run(MATCH)
    with (
        page.client.get("/match/7/stream"),
        page.client.get("/match/7/stream"),
        page.client.get("/match/7/stream") as response,
    ):
        until(lambda: page.push.presence("match:7").count == 2)
        assert page.push.presence("match:7").members == {}
        (event,) = read_events(response, 1)
        while event.json["count"] == 1:
            (event,) = read_events(response, 1, timeout=20)
        assert (event.type, event.channel) == ("push:count", "match:7")
        assert event.json == {"channel": "match:7", "count": 2}


# In a browser.


@pytest.fixture
def server(tmp_path: Path) -> cabc.Iterator[Server]:
    config: dict[str, t.Any] = {"PUSH_PRESENCE_GRACE": 0.5, "PUSH_RETRY": 0.5}
    with serve(gunicorn, tmp_path, "-w", "2", app="apps.online", **config) as server:
        yield server


def shows(page: Page, *users: str) -> None:
    """Expect that the page shows these users now."""
    page.wait_for_function("users => drawn.at(-1) == users", arg=",".join(users))


@pytest.mark.parametrize(
    ("code", "kind"), [(PLAIN, "text/javascript"), (PUSH_JS, "module")]
)
def test_each_page_shows_who_is_online(
    server: Server, windows: Windows, code: str, kind: str
) -> None:
    def open_page(user: str) -> Page:
        page = windows.open(f"{server.url}/login/{user}")
        page.evaluate(
            """() => {
                window.drawn = [];
                const names = m => m instanceof Map ? [...m.values()].map(i => i.name) : m;
                window.draw = m => drawn.push(names(m).sort().join());
            }"""
        )
        page.add_script_tag(content=code, type=kind)
        return page

    ann = open_page("ann")
    shows(ann, "Ann")
    ben = open_page("ben")
    shows(ann, "Ann", "Ben")
    shows(ben, "Ann", "Ben")
    second = open_page("ben")
    shows(second, "Ann", "Ben")
    ben.close()
    open_page("carl")
    shows(ann, "Ann", "Ben", "Carl")
    second.close()
    shows(ann, "Ann", "Carl")
    drawn = ["Ann", "Ann,Ben", "Ann,Ben,Carl", "Ann,Carl"]
    # The page may have all members before its own user is stored.
    assert ann.evaluate("drawn.filter(names => names)") == drawn
