"""push.js in a real browser, on real servers that are killed, disconnected and paused."""

from __future__ import annotations

import typing as t

import pytest
from playwright.sync_api import Page
from support.browser import Windows
from support.push_js import *  # noqa: F403
from support.push_js import hurry
from support.push_js import is_open
from support.push_js import listen
from support.push_js import open_pages
from support.push_js import receives
from support.push_js import say
from support.push_js import WAYS
from support.servers import kill_hubs
from support.servers import Server
from support.servers import status
from support.servers import until


def crash(page: Page) -> None:
    """Crash the page's process. The command then gets no answer."""
    cdp: t.Any = page.context.new_cdp_session(page)
    other = next(other for other in page.context.pages if other is not page)
    crashed: list[Page] = []
    page.on("crash", lambda page: crashed.append(page))
    task = cdp._loop.create_task(cdp._impl_obj.send("Page.crash", {}, None))
    while not crashed:
        other.evaluate("1")
    task.cancel()


# Which callbacks receive which events.


def test_a_page_may_have_many_callbacks_types_and_channels(
    server: Server, windows: Windows
) -> None:
    page = is_open(listen(windows.open(f"{server.url}/ping"), "a"))
    page.evaluate("""() => {
        const sub = push.subscribe("b.c d", null, {parse: "text"});
        sub.on("edit", (data, event) => received.push([data, event.type, event.channel]));
        window.off = push.subscribe("a", () => { throw new Error("mine") });
        window.again = push.subscribe("a", data => received.push("again " + data));
        addEventListener("error", event => {
            received.push(event.message);
            event.preventDefault();
        });
    }""")
    page.wait_for_function("states.length >= 4 && push.state == 'open'")
    server.publish("b.c d", "{not JSON", type="edit")
    receives(page, ["{not JSON", "edit", "b.c d"])
    say(server, "a", 1)
    first = [["{not JSON", "edit", "b.c d"], 1, "Uncaught Error: mine", "again 1"]
    receives(page, *first)
    page.evaluate("off.unsubscribe(); again.unsubscribe()")
    server.publish("a", "{not JSON")
    say(server, "a", 2)
    page.wait_for_function("received.at(-1) == 2")
    received = page.evaluate("received")
    assert received[:4] == first and received[4].startswith("SyntaxError: not JSON on a: ")
    assert len(received) == 6


# Staying connected.


# Pages that the browser freezes, or that crash.


@pytest.mark.parametrize("share", WAYS)
def test_a_page_that_was_frozen_misses_nothing(
    share: bool | str, server: Server, windows: Windows
) -> None:
    profile = windows.profile()
    pages = [windows.open(f"{server.url}/ping", profile) for _ in range(2)]
    for page in pages:
        is_open(listen(page, "a", share=share))
    frozen, other = pages
    cdp = profile.new_cdp_session(frozen)
    cdp.send("Page.setWebLifecycleState", {"state": "frozen"})
    say(server, "a", *range(20))
    if share != "lock":
        receives(other, *range(20))
    cdp.send("Page.setWebLifecycleState", {"state": "active"})
    for page in pages:
        receives(page, *range(20))


@pytest.mark.parametrize("share", WAYS)
def test_a_page_that_crashes_costs_the_others_nothing(
    share: bool | str, server: Server, windows: Windows
) -> None:
    pages = open_pages(windows, server.url, 3)
    for n, page in enumerate(pages):
        is_open(listen(hurry(page, 5), "a", f"of {n}", share=share))
    say(server, "a", 1)
    for page in pages:
        receives(page, 1)
    crash(pages[0])
    for n in range(2, 12):
        say(server, "a", n)
    for page in pages[1:]:
        receives(page, *range(1, 12))
    until(lambda: status(server.directory)["streams"] == (1 if share else 2))


def test_channels_of_a_crashed_page_are_no_longer_requested(
    server: Server, windows: Windows
) -> None:
    pages = open_pages(windows, server.url, 2)
    for n, page in enumerate(pages):
        is_open(listen(page, "a", f"of {n}"))
    until(lambda: status(server.directory)["channels"] == 3)
    # Not the page in whose process the worker runs.
    crash(pages[1])
    kill_hubs(server.directory)
    until(lambda: status(server.directory).get("channels") == 2)


@pytest.mark.parametrize("share", WAYS)
def test_a_connection_that_is_probed_stays_open(
    share: bool | str, server: Server, windows: Windows
) -> None:
    page = windows.open(f"{server.url}/ping")
    # A fiftieth of the time between two probes.
    page.evaluate("""() => {
        const wait = setInterval;
        window.asked = 0;
        window.setInterval = (ask, time) => wait(() => { asked += 1; ask(); }, time / 50);
    }""")
    is_open(listen(page, "a", share=share))
    states = page.evaluate("states.length")
    page.wait_for_function("asked >= 8")
    assert page.evaluate("states.length") == states


def test_push_js_waits_while_offline_and_reconnects_at_once_when_online(
    server: Server, windows: Windows
) -> None:
    profile = windows.profile()
    page = listen(
        windows.open(f"{server.url}/ping", profile),
        "a",
        share=False,
        base=10**9,
        cap=10**9,
    )
    is_open(page)
    say(server, "a", 1)
    receives(page, 1)
    profile.set_offline(True)
    server.kill_without_readers()
    page.wait_for_function("push.state == 'waiting'")
    server.start()
    say(server, "a", 2)
    profile.set_offline(False)
    receives(page, 1, 2)
