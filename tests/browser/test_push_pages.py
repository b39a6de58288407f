"""push.js in a real browser: where subscriptions begin, and how a refused page is notified;
in frames and workers, and behind a service worker."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from playwright.sync_api import Page
from support.browser import Windows
from support.push_js import is_open
from support.push_js import listen
from support.push_js import open_pages
from support.push_js import receives
from support.push_js import running as running
from support.push_js import say
from support.push_js import server as server
from support.push_js import way as way
from support.push_js import WAYS
from support.push_js_pages import *  # noqa: F403
from support.push_js_pages import NAMES
from support.push_js_pages import stop
from support.push_js_pages import TRANSPORTS
from support.push_js_pages import works
from support.servers import Server
from support.servers import status

LATER = "name => void push.subscribe(name, data => received.push(data))"
OPENED = "states.filter(([state]) => state == 'open').length"


def open_each_way(server: Server, windows: Windows, *channels: str) -> list[Page]:
    pages = [windows.open(f"{server.url}/ping") for _ in WAYS]
    for page, share in zip(pages, WAYS, strict=True):
        is_open(listen(page, *channels, share=share))
    return pages


def grow_old(server: Server, windows: Windows) -> None:
    """Wait much longer than a page waits for an answer, however busy the machine is."""
    for page in [windows.open(f"{server.url}/ping") for _ in range(3)]:
        is_open(listen(page, "elsewhere", share=False))


# Where a subscription begins.


def test_a_later_subscription_gets_only_later_events(
    server: Server, windows: Windows
) -> None:
    pages = open_each_way(server, windows, "a")
    say(server, "b", "old", "older")
    grow_old(server, windows)
    for page in pages:
        page.evaluate(LATER, "b")
    # The connection need not have the channel for events that are published from now on.
    say(server, "b", "new")
    for page in pages:
        receives(page, "new")
        page.evaluate(LATER, "a")
    say(server, "a", "of two")
    for page in pages:
        receives(page, "new", "of two", "of two")


def test_events_that_are_not_stored_reach_a_later_subscription(
    server: Server, windows: Windows
) -> None:
    pages = open_each_way(server, windows, "a")
    say(server, "c", "the store goes on")
    for page in pages:
        page.evaluate(LATER, "b")
    for page in pages:
        page.wait_for_function(f"{OPENED} >= 2 && push.state == 'open'")
    say(server, "b", "not kept", "not kept", store=False)
    say(server, "b", "kept")
    for page in pages:
        receives(page, "not kept", "not kept", "kept")


def test_a_page_that_takes_over_the_connection_gets_no_old_events(
    server: Server, windows: Windows
) -> None:
    first, second = open_pages(windows, server.url, 2)
    is_open(listen(first, "a", share="lock"))
    say(server, "a", *range(20))
    receives(first, *range(20))
    is_open(listen(second, "a", share="lock"))
    first.close()
    # It opens once through the first page, and once by itself.
    second.wait_for_function(f"{OPENED} >= 2 && push.state == 'open'")
    say(server, "a", "new")
    receives(second, "new")


def test_each_subscription_can_have_its_own_since(server: Server, windows: Windows) -> None:
    pages = open_each_way(server, windows, "a")
    since = server.get("/position")
    say(server, "a", 1, 2)
    for page in pages:
        receives(page, 1, 2)
        script = "since => void push.subscribe('a', n => received.push(-n), {since})"
        page.evaluate(script, since)
    say(server, "a", 3)
    for page in pages:
        page.wait_for_function("received.length >= 6")
        received = page.evaluate("received")
        assert [n for n in received if n > 0] == [1, 2, 3]
        assert [-n for n in received if n < 0] == [1, 2, 3]


# Refusals.


def test_a_redirect_to_a_stream_is_followed(server: Server, windows: Windows) -> None:
    url = f"/stream?redirect={quote('/stream?only=a')}"
    for transport in TRANSPORTS:
        page = windows.open(f"{server.url}/ping")
        is_open(listen(page, "a", url=url, transport=transport, share=False))
        say(server, "a", 1)
        receives(page, 1)


@pytest.mark.parametrize("share", [True, "lock"])
def test_a_refused_page_is_notified_and_a_new_page_tries_again(
    share: bool | str, server: Server, windows: Windows
) -> None:
    for page in open_pages(windows, server.url, 2):
        listen(page, "a", url="/stream?status=401", share=share)
        page.wait_for_function("push.state == 'closed' && push.reason.status == 401")


def test_many_channels_are_requested_by_post(server: Server, windows: Windows) -> None:
    pages = [windows.open(f"{server.url}/ping") for _ in WAYS]
    for page, share in zip(pages, WAYS, strict=True):
        is_open(listen(page, *NAMES, url="/choose", share=share))
    assert status(server.directory)["channels"] == len(NAMES)
    say(server, NAMES[0], 1)
    say(server, NAMES[-1], 2)
    for page in pages:
        receives(page, 1, 2)
    # It reconnects by POST too, and resumes.
    stop(server)
    for page in pages:
        page.wait_for_function("push.state != 'open'")
    server.start()
    say(server, NAMES[1], 3)
    for page in pages:
        receives(page, 1, 2, 3)


def test_the_error_for_a_view_without_post_names_the_remedy(
    server: Server, windows: Windows
) -> None:
    page = windows.open(f"{server.url}/ping")
    listen(page, *NAMES, share=False)
    page.wait_for_function("push.state == 'closed' && push.reason.status == 405")
    assert page.evaluate("push.reason.message") == (
        'the view needs methods=["GET", "POST"]'
    )


# Frames, workers and service workers.


def test_push_js_runs_in_a_service_worker(server: Server, windows: Windows) -> None:
    kind = "ServiceWorker"
    page = works(kind, server, windows, "extras.js", f"{server.url}/stream")
    receives(page, "open")
    say(server, "a", 1)
    receives(page, "open", 1)
