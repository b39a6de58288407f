"""Tests of follow.js for every browser. The modules of each browser import them."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from functools import partial

import pytest
from playwright.sync_api import Page

from support.browser import Windows
from support.run_wire_server import RunWireServer
from support.servers import until

#: The tests and fixtures that a module of tests imports.
__all__ = [
    "runs",
    "test_a_page_that_is_cut_off_at_any_byte_gets_the_rest",
    "test_a_server_that_is_deployed_is_asked_again",
]

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
    # It waits no longer than the server's retry.
    page.evaluate("void (Math.random = () => 0)")
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
    page = follow(runs, windows, options)
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
