"""The page *A dashboard*: what its programs show in Chromium is what the page says."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import sys
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask
from flask import request
from playwright.sync_api import Page
from support.browser import Windows
from support.pages import blocks
from support.pages import DOCS
from support.pages import write_templates
from support.servers import flask_run
from support.servers import program
from support.servers import serve
from support.servers import Server

from flask_push import Push
from flask_push.testing import read_events

APP, ORDER, PLOT = blocks(DOCS["dashboard"], "python")
(PLOT_JS,) = blocks(DOCS["dashboard"], "js")


@pytest.fixture
def server(tmp_path: Path) -> cabc.Iterator[Server]:
    # Each disk is nearly full, and a value ends sooner.
    code = APP.replace("> 90", "> -1").replace("ttl=10", "ttl=3") + f"\n\n{PLOT}"
    (tmp_path / "dash.py").write_text(code)
    write_templates(tmp_path, DOCS["dashboard"])
    with serve(flask_run, tmp_path, app=str(tmp_path / "dash.py")) as server:
        yield server


@contextlib.contextmanager
def feed(directory: Path) -> cabc.Iterator[None]:
    command = [sys.executable, "-m", "flask", "--app", "dash", "feed"]
    with program(command, cwd=directory, env={**os.environ}):
        yield


def shows(page: Page, *names: str) -> None:
    page.wait_for_function(
        "names => [...document.querySelectorAll('dt')].map(({ innerText }) => innerText)"
        ".sort().join() == names",
        arg=",".join(sorted(names)),
    )


def test_a_page_shows_the_values_until_they_are_no_longer_measured(
    server: Server, windows: Windows, tmp_path: Path
) -> None:
    first = windows.open(server.url)
    with feed(tmp_path):
        shows(first, "load", "disk")
        first.wait_for_function("document.querySelectorAll('li').length == 1")
        later = windows.open(server.url)
        shows(later, "load", "disk")
        (text,) = later.locator("dt:text-is('disk') + dd").all_inner_texts()
        assert 0 <= float(text) <= 100
    for page in first, later:
        shows(page)
    assert first.locator("li").all_inner_texts() == ["The disk is nearly full."]


@pytest.fixture
def app() -> cabc.Iterator[tuple[Flask, Push, dict[str, t.Any]]]:
    app = Flask("page", instance_path="/nonexistent")
    app.testing = True
    push = Push(app)
    yield app, push, {"app": app, "push": push, "request": request}
    push._services().close()


def test_a_number_is_set_when_it_changes(
    app: tuple[Flask, Push, dict[str, t.Any]],
) -> None:
    flask, push, names = app
    rows: list[t.Any] = []
    names["db"] = SimpleNamespace(session=SimpleNamespace(add=rows.append))
    names["db"].session.commit = lambda: None
    names["db"].session.scalar = lambda chosen: len(rows)
    names |= {"Order": lambda **row: row, "select": lambda what: what}
    names["Order"].id = None
    names["func"] = SimpleNamespace(count=lambda column: column)
    exec(ORDER, names)
    for _ in range(3):
        assert flask.test_client().post("/orders", data={"what": "tea"}).status_code == 204
    assert push.items("metrics").events["orders"].json == 3


def test_a_plot_begins_with_the_newest_values(
    app: tuple[Flask, Push, dict[str, t.Any]],
) -> None:
    flask, push, names = app
    exec(PLOT, names)
    for value in range(400):
        push.publish("load", value)
    with flask.test_client().get("/load/stream") as response:
        values = [event.json for event in read_events(response, 300)]
    assert values == [*range(100, 400)]


def test_a_page_plots_what_comes(server: Server, windows: Windows, tmp_path: Path) -> None:
    page = windows.open(server.url)
    code = f"window.plot = (value) => (window.plotted ??= []).push(value);\n{PLOT_JS}"
    page.add_script_tag(content=code, type="module")
    publish = "from dash import push\nfor value in 0.5, 0.7: push.publish('load', value)"
    with program([sys.executable, "-c", publish], cwd=tmp_path):
        page.wait_for_function("window.plotted?.join() == '0.5,0.7'")
