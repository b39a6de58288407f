"""follow.js in Chromium, with its own ``EventSource`` and with the script that sends
headers. The server is one of the tests, which can cut a connection at each byte."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from functools import partial

import pytest
from playwright.sync_api import Page
from support.browser import Windows
from support.run_wire_server import RunWireServer
from support.servers import until

FOLLOW = """async options => {
    const {follow} = await import("/push/follow.js");
    Object.assign(window, {text: "", said: [], texts: []});
    window.run = follow("/follow", (data, {type, id}) => {
        text += data;
        texts.push(data);
    }, {parse: "text", ...options});
    run.on("restart", () => { said.push("restart"); text = ""; });
    run.on("status", ({status}) => said.push(status));
    run.on("progress", (progress) => said.push(progress));
    run.on("gap", ({reason}) => said.push(reason));
    run.ended.then(
        (end) => window.end = end,
        ({status, message}) => window.end = [status, message],
    );
}"""

#: With an ``EventSource``, and with a ``fetch``.
WAYS: list[dict[str, t.Any]] = [{}, {"headers": {"X-Who": "me"}, "method": "POST"}]
way = pytest.mark.parametrize("options", WAYS, ids=["EventSource", "fetch"])


@pytest.fixture
def runs() -> cabc.Iterator[RunWireServer]:
    server = RunWireServer()
    yield server
    server.close()


def follow(runs: RunWireServer, windows: Windows, options: dict[str, t.Any]) -> Page:
    page = windows.open(f"{runs.url}/")
    page.evaluate(FOLLOW, options)
    return page


def has(page: Page, text: str) -> None:
    page.wait_for_function("expected => text == expected", arg=text)


def has_asked(runs: RunWireServer, page: Page, count: int) -> bool:
    """Whether it has asked so often, or needs no more."""
    return len(runs.requests) >= count or bool(page.evaluate("!!window.end"))


def end_of(page: Page) -> t.Any:
    page.wait_for_function("window.end !== undefined")
    return page.evaluate("end")


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
def test_a_page_that_is_cut_off_at_any_byte_gets_the_rest(
    options: dict[str, t.Any], runs: RunWireServer, windows: Windows
) -> None:
    """Each connection ends after some bytes more than the one before."""
    words = [f"{n} " for n in range(40)]
    runs.begin()
    runs.write(*words[:30])
    for word in words[30:]:
        runs.write(word)
    runs.end("done")
    assert runs.record is not None
    # So that the first connection finds a run, and the others the rest of it.
    over, runs.record = runs.record, runs.record._replace(status="running")
    runs.most = 97
    page = windows.open(f"{runs.url}/")
    # Nothing is to wait for between two connections.
    page.evaluate("Math.random = () => 0")
    page.evaluate(FOLLOW, options)
    for count in range(1, 60):
        asked = partial(has_asked, runs, page, count)
        until(asked)
        if page.evaluate("!!window.end"):
            break
        runs.most += 211
    runs.record = over
    assert end_of(page)["status"] == "done"
    assert page.evaluate("texts") == words
    assert len(runs.requests) > 3


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
    # The browser's EventSource writes why to the console, too.
    windows.errors = [one for one in windows.errors if "MIME type" not in one]


@way
def test_a_server_that_is_deployed_is_asked_again(
    options: dict[str, t.Any], runs: RunWireServer, windows: Windows
) -> None:
    runs.begin()
    runs.write("a")
    page = follow(runs, windows, options)
    has(page, "a")
    with runs.refusing(502, Retry_After="0"):
        count = len(runs.requests)
        runs.cut()
        runs.write("b")
        until(lambda: len(runs.requests) > count + 1)
    runs.end("stopped")
    assert end_of(page)["status"] == "stopped"
    assert page.evaluate("text") == "ab"


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
