"""The page *From polling*: each of its views and scripts does what the page says."""

from __future__ import annotations

import collections.abc as cabc
import json
import os
import typing as t
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page
from support.browser import Windows
from support.pages import blocks
from support.pages import DOCS
from support.servers import flask_run
from support.servers import kill_hubs
from support.servers import serve
from support.servers import Server
from support.servers import until

from flask_push.testing import captured
from flask_push.testing import read_events

BEFORE, ITEMS, CHANGED, EVENTS, LONG, LOOK = blocks(DOCS["from-polling"], "python")
OLD_JS, ITEMS_JS, CHANGED_JS, EVENTS_JS = blocks(DOCS["from-polling"], "js")

#: What the page's code takes from an app.
AROUND = """
import os
from types import SimpleNamespace
from flask import Flask, jsonify, request
from flask_push import Push

app = Flask("polled", instance_path=os.environ.get("INSTANCE"))
app.config.from_prefixed_env()
push = Push(app)
tickets, entries_, orders_ = [], [], []
current_user = None

def add(name):
    tickets.append(name)

def count_waiting():
    return len(tickets)

def is_open():
    return True

def store(form):
    kind = orders_ if "order" in form else entries_
    kind.append(SimpleNamespace(id=len(kind) + 1, text=form["text"]))
    return kind[-1]

def newest_entries():
    return entries_[-50:]

def orders_of(user):
    return [order.text for order in orders_]

@app.get("/")
def index():
    return "<!DOCTYPE html><title>Polling</title>"

@app.get("/log")
def log():
    return requests_
requests_ = []

@app.after_request
def note(response):
    requests_.append([request.path, response.status_code])
    return response
"""
CODE = AROUND + "\n".join([BEFORE, ITEMS, CHANGED, EVENTS, LONG])


@pytest.fixture
def server(tmp_path: Path) -> cabc.Iterator[Server]:
    (tmp_path / "polled.py").write_text(CODE)
    config: dict[str, t.Any] = {"PUSH_RETRY": 0.5}
    with serve(flask_run, tmp_path, app="polled", cwd=tmp_path, **config) as server:
        yield server


def open_page(server: Server, windows: Windows, script: str) -> Page:
    page = windows.open(server.url)
    page.evaluate(
        """() => {
            window.shown = [];
            const copy = v => v instanceof Map ? [...v.values()] : v;
            window.show = value => shown.push(copy(value));
            // The position of a store that is no more, and then none.
            const positions = ['aaaaa-1', ''];
            window.position = () => positions.shift();
        }"""
    )
    page.add_script_tag(content=script, type="module")
    return page


def shows(page: Page, expected: t.Any) -> None:
    page.wait_for_function(
        "text => JSON.stringify(shown.at(-1)) == text", arg=jsonified(expected)
    )


def jsonified(value: t.Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def add(server: Server, path: str, **form: str) -> None:
    body = urlencode(form).encode()
    kind = "application/x-www-form-urlencoded"
    assert server.request("POST", path, body, **{"Content-Type": kind})[0] == 204


def paths(server: Server) -> list[list[t.Any]]:
    found: list[list[t.Any]] = json.loads(server.get("/log"))
    return found


def test_the_page_that_polls_shows_the_answer(server: Server, windows: Windows) -> None:
    script = OLD_JS.replace("5000", "50")
    shows(open_page(server, windows, script), {"open": True, "waiting": 0})


def test_a_page_of_items_gets_them_and_asks_for_nothing(
    server: Server, windows: Windows
) -> None:
    add(server, "/tickets", name="Ann")
    page = open_page(server, windows, ITEMS_JS)
    shows(page, {"waiting": 1})
    add(server, "/tickets", name="Ben")
    shows(page, {"waiting": 2})
    assert "/status" not in [path for path, _ in paths(server)]


def test_a_page_fetches_what_has_changed(server: Server, windows: Windows) -> None:
    page = open_page(server, windows, CHANGED_JS)
    shows(page, [])
    add(server, "/orders", order="1", text="tea")
    shows(page, ["tea"])
    # Nothing of the answer has changed, and the browser gets no second copy of it.
    server_says = "/orders", 304
    other = open_page(server, windows, CHANGED_JS)
    shows(other, ["tea"])
    other.evaluate("fetch('/orders', { cache: 'no-cache' })")
    until(lambda: [*server_says] in paths(server))


def test_a_list_that_grows_is_whole(server: Server, windows: Windows) -> None:
    add(server, "/entries", text="one")
    page = open_page(server, windows, EVENTS_JS)
    shows(page, ["one"])
    add(server, "/entries", text="two")
    shows(page, ["one", "two"])
    # What is added while the page is away, it gets, too.
    kill_hubs(server.cwd)
    add(server, "/entries", text="three")
    shows(page, ["one", "two", "three"])


def test_a_page_that_gets_a_gap_loads_again(server: Server, windows: Windows) -> None:
    add(server, "/entries", text="one")
    script = EVENTS_JS.replace("${position}", "${window.position()}")
    page = open_page(server, windows, script)
    page.wait_for_function("shown.length == 2")
    assert page.evaluate("shown") == [["one"], ["one"]]


# Without a browser.


@pytest.fixture
def names() -> cabc.Iterator[dict[str, t.Any]]:
    names: dict[str, t.Any] = {}
    os.environ.pop("INSTANCE", None)
    exec(CODE, names)
    names["app"].testing = True
    yield names
    names["push"]._services_of(names["app"]).close()


def test_a_view_that_waits_is_a_stream(names: dict[str, t.Any]) -> None:
    client = names["app"].test_client()
    with client.get("/wait") as response:
        client.post("/entries", data={"text": "one"})
        (event,) = read_events(response, 1)
    client.post("/entries", data={"text": "two"})
    asked = {"Last-Event-ID": event.id}
    with client.get("/wait?poll=1", headers=asked) as response:
        assert [e.json["text"] for e in read_events(response, 1)] == ["two"]


def test_one_process_looks_for_all_and_sets_what_is_different(
    names: dict[str, t.Any],
) -> None:
    class Enough(Exception):
        pass

    def sleep(seconds: float) -> None:
        if not counts:
            raise Enough

    counts = [1, 1, 2, 2, 2]
    names["time"] = SimpleNamespace(sleep=sleep)
    names["count_waiting"] = lambda: counts.pop(0)
    exec(LOOK, names)
    with captured(names["push"]) as changes:
        result = names["app"].test_cli_runner().invoke(args=["watch-queue"])
    assert isinstance(result.exception, Enough)
    assert [change.data for change in changes] == ["1", "2"]
