"""push.js in Firefox and WebKit: what is not asked of Chromium alone, and what differs."""

from __future__ import annotations

import collections.abc as cabc
from pathlib import Path

import pytest
import test_gzip
import test_push_js as push_js
import test_push_pages as pages
from servers import Server
from servers import status
from servers import until
from webdriver import Browser
from webdriver import Firefox
from webdriver import firefox
from webdriver import Tabs
from webdriver import WebKit
from webdriver import webkit

server = push_js.server
running = pages.running
way = push_js.way

test_heard_once = push_js.test_what_is_published_is_heard_once_by_each_page
test_iterated = push_js.test_events_can_be_iterated
test_closed = push_js.test_closing_it_ends_the_stream
test_granted = push_js.test_a_view_that_grants_less_is_an_error_of_the_page
test_killed = push_js.test_nothing_is_lost_when_the_server_is_killed
test_refused = push_js.test_what_the_view_refuses_is_final_and_named
test_cut = push_js.test_a_network_that_is_cut_costs_nothing
test_held_back = push_js.test_where_a_stream_is_held_back_it_polls
test_silent = push_js.test_a_stream_that_falls_silent_is_begun_anew
test_sleep = push_js.test_after_sleep_it_goes_on_where_it_was
test_in_cache = (
    push_js.test_a_page_in_the_back_forward_cache_has_no_stream_and_misses_nothing
)
test_came_back = push_js.test_who_comes_back_from_the_cache_gets_what_others_had
test_ten_tabs = push_js.test_ten_tabs_have_one_stream_and_requests_go_on
test_lost = push_js.test_what_the_store_has_lost_is_told_to_the_page
test_since = push_js.test_a_page_begins_where_its_data_ends
test_loaded_later = push_js.test_a_transport_that_could_not_be_loaded_is_loaded_later
test_loaded_shared = push_js.test_pages_share_a_transport_that_was_loaded
test_classic = push_js.test_the_classic_script_does_the_same
test_redirected = pages.test_a_redirect_to_a_page_is_final_and_named
test_never_right = pages.test_a_request_that_can_never_be_right_is_not_made_again
test_frame = pages.test_in_a_frame_that_may_share_nothing_it_has_a_connection_of_its_own
test_worker = pages.test_it_runs_in_a_worker
test_behind_worker = pages.test_behind_a_service_worker_that_hands_all_on_nothing_is_lost


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
def test_a_page_that_is_left_ends_its_stream_and_misses_nothing_if_it_is_kept(
    share: bool | str, server: Server, browser: Browser, windows: Tabs, tmp_path: Path
) -> None:
    page = windows.open(f"{server.url}/ping")
    push_js.listen(page, "a", share=share)
    push_js.is_open(page)
    push_js.say(server, "a", 1)
    push_js.hears(page, 1)
    page.goto(f"{server.url}/pid")
    # WebKit's worker falls asleep with its last page, before it hears that it is gone.
    if not (isinstance(browser, WebKit) and share is True):
        until(lambda: status(tmp_path)["streams"] == 0)
    push_js.say(server, "a", 2, 3)
    page.go_back()
    if isinstance(browser, Firefox):
        # It keeps no page that had a stream or a lock when it was left.
        assert page.evaluate("typeof heard") == "undefined"
    else:
        # The same page, out of the back-forward cache: it knows what it has heard.
        push_js.hears(page, 1, 2, 3)


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
def test_it_waits_longer_each_time_by_chance_and_never_below_retry(
    chance: float, waits: list[int], server: Server, windows: Tabs
) -> None:
    page = windows.open(f"{server.url}/ping")
    # The clock stands still, and timers fly.
    page.evaluate(
        """chance => {
            Math.random = () => chance;
            Date.now = () => 0;
            const set = setTimeout;
            window.setTimeout = (then, wait) => set(then, wait / 100);
        }""",
        chance,
    )
    push_js.listen(page, "a", url="/stream?status=503", share=False)
    found = (
        "states.filter(([state]) => state == 'waiting').map(([_, {retryAt}]) => retryAt)"
    )
    page.wait_for_function(f"{found}.length >= 6")
    assert page.evaluate(found)[:6] == waits


def test_a_compressed_stream_is_read_at_once(windows: Tabs, tmp_path: Path) -> None:
    with test_gzip.compressing(tmp_path) as server:
        test_gzip.test_a_browser_reads_it_at_once_and_comes_back(server, windows, tmp_path)
