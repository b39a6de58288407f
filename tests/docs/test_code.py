"""The code in the docs: it is Python, and it does what the pages say."""

from __future__ import annotations

import collections.abc as cabc
import gc
import importlib
import json
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import expect
from playwright.sync_api import Page
from support.browser import chromium
from support.browser import Windows
from support.doc_pages import README
from support.pages import blocks
from support.pages import commands
from support.pages import DOCS
from support.pages import hello
from support.pages import write_templates
from support.servers import flask_run
from support.servers import program
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import until

from flask_push.testing import read_events

# The code.

PYTHON = [
    pytest.param(block, id=f"{name} {n}")
    for name, text in {"README": README, **DOCS}.items()
    for n, block in enumerate(blocks(text, "python"), 1)
]


def is_app_with_stream(code: str) -> bool:
    """Others have their tests beside those of their page."""
    return "Flask(__name__)" in code and '("/stream")' in code


APPS = [param for param in PYTHON if is_app_with_stream(str(param.values[0]))]


@pytest.mark.parametrize("code", PYTHON)
def test_python_is_python(code: str) -> None:
    # A part of a view may return.
    compile(f"def part():\n{textwrap.indent(code, '    ')}", "docs", "exec")


@pytest.mark.parametrize("code", APPS)
def test_an_app_that_is_whole_does_what_it_says(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs_app.py").write_text(code)
    write_templates(tmp_path, "\n".join(DOCS.values()))
    monkeypatch.syspath_prepend(tmp_path)
    app: Flask = importlib.import_module("docs_app").app
    try:
        do_what_it_says(app)
    finally:
        del app, sys.modules["docs_app"]
        # Its hub ends with it.
        gc.collect()
    assert "flask-push" not in [thread.name for thread in threading.enumerate()]


def do_what_it_says(app: Flask) -> None:
    app.testing = True
    client = app.test_client()
    rules = [str(rule) for rule in app.url_map.iter_rules() if not rule.arguments]
    assert "/stream" in rules
    with client.get("/stream") as response:
        if response.status_code == 401:
            with client.session_transaction() as session:
                session["user"] = 1
            response = client.get("/stream")
        (opened,) = read_events(response, 1, own=True)
        assert opened.type == "push:open"
        if "/say" in rules:
            assert client.post("/say", data={"text": "hi"}).status_code == 204
            (event,) = read_events(response, 1)
            assert json.loads(event.data) == {"text": "hi"}
        response.close()
    for rule in {"/", "/history"} & {*rules}:
        assert client.get(rule).status_code == 200


@pytest.fixture
def server(tmp_path: Path) -> cabc.Iterator[Server]:
    with serve(flask_run, tmp_path, app=str(hello(tmp_path))) as server:
        yield server


def test_the_first_five_minutes_go_as_they_are_told(server: Server) -> None:
    told = [command for block in commands(DOCS["start"]) for command in block]
    assert "flask --app hello run" in told
    say, listen = (
        command.replace("127.0.0.1:5000", f"127.0.0.1:{server.port}").split()
        for command in told
        if command.startswith("curl")
    )
    with program(listen) as curl:
        assert curl.stdout is not None
        lines = iter(curl.stdout.readline, b"")
        assert b"event: push:open\n" in lines
        subprocess.run(say, check=True, capture_output=True)
        assert b'data: {"text": "hi"}\n' in lines


def test_the_first_page_shows_in_two_windows_what_is_said_in_one(
    server: Server, tmp_path: Path
) -> None:
    def listening() -> int:
        found = status(tmp_path / "instance", "push-hello")
        return int(found.get("streams", 0) - found.get("behind", 0))

    def say(text: str, page: Page) -> None:
        page.get_by_label("Text").fill(text)
        with page.expect_response(f"{server.url}/say") as answer:
            page.keyboard.press("Enter")
        # Then it is stored, and a window that does not show it has lost it.
        assert answer.value.status == 204, server.log

    with chromium() as browser:
        windows = Windows(browser)
        pages = [windows.open(server.url) for _ in range(2)]
        # What is said before they listen, they need not show.
        until(lambda: listening() == 2)
        say("hi <b>", pages[0])
        for page in pages:
            expect(page.locator("li")).to_have_text("hi <b>")
        # "Stop the server, start it again, and say something. Both windows show it."
        server.stop()
        server.start()
        say("again", pages[1])
        for page in pages:
            expect(page.locator("li")).to_have_text(["hi <b>", "again"])
        windows.close()
        assert windows.errors == []


def test_the_reader_in_python_reads(server: Server) -> None:
    (code,) = [code for code in blocks(DOCS["wire"], "python") if "HTTPConnection" in code]
    command = [sys.executable, "-u", "-c", code.replace("5000", str(server.port))]
    with program(command, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline().startswith(" push:open")
        say = ["curl", "-sd", "text=hi", f"{server.url}/say"]
        subprocess.run(say, check=True)
        assert reader.stdout.readline() == 'chat message {"text": "hi"}\n'


def test_the_tests_of_the_page_about_tests_pass(tmp_path: Path) -> None:
    """Each against the app that the docs have for it."""
    *code, contract = blocks(DOCS["testing"], "python")
    (conftest,) = (block for block in code if "pytest_plugins" in block)
    tests = "\n".join(block for block in code if block != conftest)
    most = tests.count("def test_") - 1
    for page, chosen, count in (
        ("start", "not strangers", most),
        ("authorize", "strangers", 1),
    ):
        (directory := tmp_path / page).mkdir()
        hello(directory, page)
        (directory / "conftest.py").write_text(conftest)
        assert passed(directory, tests, chosen) == count
    assert passed(tmp_path, contract, "order_of_the_caller") == 1


def passed(directory: Path, tests: str, chosen: str) -> int:
    """How many tests there were, all of which passed."""
    (directory / "test_it.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-qW", "error", "-k", chosen, "test_it.py"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    return int(re.findall(r"^(\d+) passed", done.stdout, re.MULTILINE)[0])
