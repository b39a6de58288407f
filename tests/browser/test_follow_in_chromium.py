"""follow.js in Chromium, with its own ``EventSource`` and with the script that sends
headers. The server is one of the tests, which can cut a connection at each byte."""

from __future__ import annotations

import typing as t

import pytest
from support.browser import Windows
from support.follow_js import *  # noqa: F403
from support.follow_js import end_of
from support.follow_js import follow
from support.follow_js import has
from support.follow_js import way
from support.run_wire_server import RunWireServer
from support.servers import until


@way
def test_a_page_gets_an_answer_from_its_first_word_to_its_end(
    options: dict[str, t.Any], runs: RunWireServer, windows: Windows
) -> None:
    runs.begin()
    runs.write("Hel")
    page = follow(runs, windows, options)
    has(page, "Hel")
    runs.write("lo", " ", "wörld\n")
    runs.progress(1, 2, "writing")
    runs.end("done")
    end = {"run": "r1", "key": "k1", "status": "done", "attempt": 1, "text": ""}
    assert end_of(page) == end
    assert page.evaluate("[text, texts.length]") == ["Hello wörld\n", 4]
    progress = {"done": 1, "total": 2, "text": "writing"}
    assert page.evaluate("said") == ["queued", "running", progress, "done"]
    (request,) = runs.requests
    assert request["method"] == options.get("method", "GET")
    assert request.get("x-who") == options.get("headers", {}).get("X-Who")
    assert request["visible"] == "1" and "last_event_id" not in request


@way
def test_nothing_under_way_is_null(
    options: dict[str, t.Any], runs: RunWireServer, windows: Windows
) -> None:
    page = follow(runs, windows, options)
    assert end_of(page) is None
    assert windows.errors == []


@way
@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_an_error_with_the_status(
    options: dict[str, t.Any], status: int, runs: RunWireServer, windows: Windows
) -> None:
    with runs.refusing(status):
        page = follow(runs, windows, options)
        assert end_of(page) == [status, f"the view answered {status}"]


@way
def test_a_login_page_is_an_error_with_its_address(
    options: dict[str, t.Any], runs: RunWireServer, windows: Windows
) -> None:
    with runs.refusing(302, Location="/login"):
        page = follow(runs, windows, options)
        status, message = end_of(page)
    assert (status, message) == (200, f"redirected to {runs.url}/login")
    # The browser's EventSource writes the reason to the console, too.
    windows.errors = [one for one in windows.errors if "MIME type" not in one]


@way
def test_the_next_attempt_replaces_the_one_before(
    options: dict[str, t.Any], runs: RunWireServer, windows: Windows
) -> None:
    runs.begin()
    runs.write("old")
    page = follow(runs, windows, options)
    has(page, "old")
    with runs.refusing(503):
        runs.cut()
        until(lambda: len(runs.requests) > 1)
        runs.end("lost")
        runs.enter()
        runs.write("new")
    has(page, "new")
    runs.end("failed", "Row 3 is empty.")
    end = end_of(page)
    assert [end[name] for name in ("status", "attempt", "text")] == [
        *("failed", 2, "Row 3 is empty."),
    ]
    assert page.evaluate("said") == ["queued", "running", "restart", "running", "failed"]


def test_the_classic_script_follows_too(runs: RunWireServer, windows: Windows) -> None:
    runs.begin()
    page = windows.open(f"{runs.url}/")
    page.add_script_tag(url="/push/follow.classic.js")
    page.evaluate(
        """() => {
            window.said = [];
            const options = {types: ["step"]};
            window.run = FlaskPush.follow("/follow", (data) => said.push(data), options);
            run.ended.then(({status}) => said.push(status));
        }"""
    )
    until(lambda: runs.requests)
    runs.write("1")
    runs.say("step", '{"n": 2}')
    runs.end("done")
    page.wait_for_function("said.at(-1) == 'done'")
    assert page.evaluate("said") == [{"n": 2}, "done"]


def test_close_ends_the_connection(runs: RunWireServer, windows: Windows) -> None:
    runs.begin()
    page = follow(runs, windows, {})
    page.wait_for_function("said.length == 2")
    page.evaluate("run.close()")
    runs.write("a")
    runs.end("done")
    # A second follow has all of it, and the first one nothing more.
    page.evaluate("window.first = {text, said}")
    assert page.evaluate("[first.text, first.said.length]") == ["", 2]
    assert len(runs.requests) == 1
