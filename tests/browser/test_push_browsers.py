"""push.js and follow.js in Firefox and WebKit: what tests in Chromium can't show."""

from __future__ import annotations

import collections.abc as cabc
from pathlib import Path

import pytest
from support import compressed
from support import push_js
from support.follow_js import *  # noqa: F403
from support.push_js import *  # noqa: F403
from support.push_js_disconnects import *  # noqa: F403
from support.push_js_pages import *  # noqa: F403
from support.servers import Server
from support.servers import status
from support.servers import until
from support.webdriver import Browser
from support.webdriver import Firefox
from support.webdriver import firefox
from support.webdriver import Tabs
from support.webdriver import WebKit
from support.webdriver import webkit


@pytest.fixture(scope="module", params=[firefox, webkit])
def browser(request: pytest.FixtureRequest) -> cabc.Iterator[Browser]:
    with request.param() as browser:
        yield browser


@pytest.fixture
def windows(browser: Browser) -> cabc.Iterator[Tabs]:
    tabs = Tabs(browser)
    yield tabs
    tabs.close()
    assert tabs.errors == []


@pytest.mark.parametrize("share", push_js.WAYS)
def test_leaving_a_page_ends_its_stream_and_a_cached_page_misses_nothing(
    share: bool | str, server: Server, browser: Browser, windows: Tabs
) -> None:
    page = windows.open(f"{server.url}/ping")
    push_js.listen(page, "a", share=share)
    push_js.is_open(page)
    push_js.say(server, "a", 1)
    push_js.receives(page, 1)
    page.goto(f"{server.url}/pid")
    # WebKit suspends the worker with its last page, before it can notice the page's end.
    if not (isinstance(browser, WebKit) and share is True):
        until(lambda: status(server.directory)["streams"] == 0)
    push_js.say(server, "a", 2, 3)
    page.go_back()
    if isinstance(browser, Firefox):
        # This browser caches no page that had a stream or a lock when the user left it.
        assert page.evaluate("typeof received") == "undefined"
    else:
        # The same page, from the back-forward cache: it still has its events.
        push_js.receives(page, 1, 2, 3)


def test_a_refusal_ends_an_eventsource_and_not_push_js(
    server: Server, windows: Tabs
) -> None:
    page = windows.open(f"{server.url}/ping")
    page.evaluate("window.source = new EventSource('/stream?status=503')")
    push_js.listen(page, "a", url="/stream?status=503", share=False)
    page.wait_for_function("source.readyState == EventSource.CLOSED")
    page.wait_for_function("push.state == 'waiting' && push.reason.status == 503")


@pytest.mark.parametrize(
    ("chance", "waits"),
    [(0.5, [1000, 2000, 4000, 8000, 15000, 15000]), (0, [500] * 6)],
)
def test_push_js_waits_longer_each_time_with_jitter_and_never_below_retry(
    chance: float, waits: list[int], server: Server, windows: Tabs
) -> None:
    page = windows.open(f"{server.url}/ping")
    # The clock stands still, and timers fire at once.
    page.evaluate(
        """chance => {
            Math.random = () => chance;
            Date.now = () => 0;
            const set = setTimeout;
            window.setTimeout = (then, wait) => set(then, wait / 100);
        }""",
        chance,
    )
    push_js.listen(page, "a", url="/stream?status=503", share=False, base=None)
    found = (
        "states.filter(([state]) => state == 'waiting').map(([_, {retryAt}]) => retryAt)"
    )
    page.wait_for_function(f"{found}.length >= 6")
    assert page.evaluate(found)[:6] == waits


def test_a_compressed_stream_is_read_at_once(windows: Tabs, tmp_path: Path) -> None:
    with compressed.compressing(tmp_path) as server:
        compressed.test_a_browser_reads_a_compressed_stream_at_once_and_reconnects(
            server, windows, tmp_path
        )
