"""push.js in a real browser: where subscriptions begin, and what a page is told when it is
refused; in frames and workers, and behind a service worker."""

from __future__ import annotations

import collections.abc as cabc
import os
import signal
from pathlib import Path
from urllib.parse import quote

import pytest
import test_push_js as push_js
from browser import Windows
from playwright.sync_api import Page
from servers import gunicorn
from servers import hubs
from servers import serve
from servers import Server
from servers import status
from servers import until
from test_push_js import hears
from test_push_js import is_open
from test_push_js import listen
from test_push_js import open_pages
from test_push_js import say
from test_push_js import WAYS

server = push_js.server
way = push_js.way

TRANSPORTS = ["eventsource", "fetch"]
LATER = "name => void push.subscribe(name, data => heard.push(data))"
OPENED = "states.filter(([state]) => state == 'open').length"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[Server]:
    """A server for tests that do not stop it."""
    directory = tmp_path_factory.mktemp("running")
    with serve(gunicorn, directory, "-w", "3", PUSH_RETRY=0.5, PUSH_HEARTBEAT=1) as server:
        yield server


def open_each_way(server: Server, windows: Windows, *channels: str) -> list[Page]:
    pages = [windows.open(f"{server.url}/ping") for _ in WAYS]
    for page, share in zip(pages, WAYS, strict=True):
        is_open(listen(page, *channels, share=share))
    return pages


def grow_old(server: Server, windows: Windows) -> None:
    """Wait much longer than an answer takes to a page, however busy the machine is."""
    for page in [windows.open(f"{server.url}/ping") for _ in range(3)]:
        is_open(listen(page, "elsewhere", share=False))


# Where a subscription begins.


def test_a_later_subscription_is_given_what_comes_after_it(
    running: Server, windows: Windows
) -> None:
    pages = open_each_way(running, windows, "a")
    say(running, "b", "old", "older")
    grow_old(running, windows)
    for page in pages:
        page.evaluate(LATER, "b")
    # The line need not have the channel for what is published from now on.
    say(running, "b", "new")
    for page in pages:
        hears(page, "new")
        page.evaluate(LATER, "a")
    say(running, "a", "of two")
    for page in pages:
        hears(page, "new", "of two", "of two")


def test_events_that_are_not_kept_come_to_a_later_subscription(
    running: Server, windows: Windows
) -> None:
    pages = open_each_way(running, windows, "a")
    say(running, "c", "the store goes on")
    for page in pages:
        page.evaluate(LATER, "b")
    for page in pages:
        page.wait_for_function(f"{OPENED} >= 2 && push.state == 'open'")
    say(running, "b", "not kept", "not kept", store=False)
    say(running, "b", "kept")
    for page in pages:
        hears(page, "not kept", "not kept", "kept")


def test_a_page_that_takes_over_the_connection_is_given_nothing_old(
    running: Server, windows: Windows
) -> None:
    first, second = open_pages(windows, running.url, 2)
    is_open(listen(first, "a", share="lock"))
    say(running, "a", *range(20))
    hears(first, *range(20))
    is_open(listen(second, "a", share="lock"))
    first.close()
    # Once by the first page, and once by itself.
    second.wait_for_function(f"{OPENED} >= 2 && push.state == 'open'")
    say(running, "a", "new")
    hears(second, "new")


def test_each_subscription_may_have_a_since_of_its_own(
    running: Server, windows: Windows
) -> None:
    pages = open_each_way(running, windows, "a")
    since = running.get("/position")
    say(running, "a", 1, 2)
    for page in pages:
        hears(page, 1, 2)
        script = "since => void push.subscribe('a', n => heard.push(-n), {since})"
        page.evaluate(script, since)
    say(running, "a", 3)
    for page in pages:
        page.wait_for_function("heard.length >= 6")
        heard = page.evaluate("heard")
        assert [n for n in heard if n > 0] == [1, 2, 3]
        assert [-n for n in heard if n < 0] == [1, 2, 3]


# What a page is told.


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_redirect_to_a_page_is_final_and_named(
    transport: str, running: Server, windows: Windows
) -> None:
    page = windows.open(f"{running.url}/ping")
    elsewhere = f"http://localhost:{running.port}/ping"
    for to, said in ("/ping", f"to {running.url}/ping"), (elsewhere, ""):
        url = f"/stream?redirect={quote(to)}"
        listen(page, "a", url=url, transport=transport, share=False)
        page.wait_for_function("push.state == 'closed' && push.reason.message")
        assert page.evaluate("push.reason.message") == f"redirected {said}".strip()
    # The browser notes what was in its way, and no more once the page is closed.
    page.close()
    assert all("CORS" in said or "MIME type" in said for said in windows.errors)
    windows.errors.clear()


def test_a_redirect_to_a_stream_is_none(running: Server, windows: Windows) -> None:
    url = f"/stream?redirect={quote('/stream?only=a')}"
    for transport in TRANSPORTS:
        page = windows.open(f"{running.url}/ping")
        is_open(listen(page, "a", url=url, transport=transport, share=False))
        say(running, "a", 1)
        hears(page, 1)


def test_a_request_that_can_never_be_right_is_not_made_again(
    running: Server, windows: Windows
) -> None:
    page = windows.open(f"{running.url}/ping")
    for transport in TRANSPORTS:
        for code in 400, 414, 431:
            url = f"/stream?status={code}"
            listen(page, "a", url=url, transport=transport, share=False)
            page.wait_for_function("push.state == 'closed' && push.reason.status")
            assert page.evaluate("push.reason.status") == code


@pytest.mark.parametrize("share", [True, "lock"])
def test_a_page_that_was_refused_hears_of_it_and_a_new_one_asks_again(
    share: bool | str, running: Server, windows: Windows
) -> None:
    for page in open_pages(windows, running.url, 2):
        listen(page, "a", url="/stream?status=401", share=share)
        page.wait_for_function("push.state == 'closed' && push.reason.status == 401")


NAMES = [f"a channel with a long name {n}" for n in range(90)]


def stop(server: Server, directory: Path) -> None:
    server.kill_without_readers()
    for pid in hubs(directory):
        os.kill(pid, signal.SIGKILL)


def test_many_channels_are_asked_for_by_post(
    server: Server, windows: Windows, tmp_path: Path
) -> None:
    pages = [windows.open(f"{server.url}/ping") for _ in WAYS]
    for page, share in zip(pages, WAYS, strict=True):
        is_open(listen(page, *NAMES, url="/choose", share=share))
    assert status(tmp_path)["channels"] == len(NAMES)
    say(server, NAMES[0], 1)
    say(server, NAMES[-1], 2)
    for page in pages:
        hears(page, 1, 2)
    # And again, from where it was.
    stop(server, tmp_path)
    for page in pages:
        page.wait_for_function("push.state != 'open'")
    server.start()
    say(server, NAMES[1], 3)
    for page in pages:
        hears(page, 1, 2, 3)


def test_a_view_that_takes_no_post_is_named_with_the_remedy(
    running: Server, windows: Windows
) -> None:
    page = windows.open(f"{running.url}/ping")
    listen(page, *NAMES, share=False)
    page.wait_for_function("push.state == 'closed' && push.reason.status == 405")
    assert page.evaluate("push.reason.message") == (
        'the view needs methods=["GET", "POST"]'
    )


# Where it runs.


def test_in_a_frame_that_may_share_nothing_it_has_a_connection_of_its_own(
    running: Server, windows: Windows
) -> None:
    page = windows.open(f"{running.url}/ping")
    page.evaluate(
        """url => {
            window.heard = [];
            addEventListener("message", ({data}) => heard.push(data));
            const frame = document.createElement("iframe");
            frame.sandbox = "allow-scripts";
            frame.srcdoc = `<script src="${url}/push/push.classic.js"><\\/script><script>
                const push = FlaskPush.connect("${url}/stream?allow=*");
                const post = data => parent.postMessage(data, "*");
                push.on("state", state => state == "open" && post(state));
                push.subscribe("a", post);
            <\\/script>`;
            document.body.append(frame);
        }""",
        running.url,
    )
    hears(page, "open")
    say(running, "a", 1)
    hears(page, "open", 1)


# It may be open before there is a port.
IN_WORKER = """
import {{connect}} from "/push/{script}";
const push = connect("{url}");
const post = data => {{ for (const port of ports) port.postMessage(data) }};
const add = event => {{
    ports.push(...event.ports);
    if (push.state == "open") post("open");
}};
push.on("state", state => state == "open" && post(state));
push.subscribe("a", post);
"""
PORTS = {
    "Worker": "const ports = [self];\n",
    "SharedWorker": "const ports = []; onconnect = event => add(event);\n",
    "ServiceWorker": "const ports = []; onmessage = event => add(event);\n",
}
# It is kept: a browser may end a worker that nothing refers to.
BEGIN = {
    "Worker": """
        window.kept = new Worker(url, {type: "module"});
        kept.onmessage = hear""",
    "SharedWorker": """
        window.kept = new SharedWorker(url, {type: "module"});
        kept.port.onmessage = hear""",
    "ServiceWorker": """
        await navigator.serviceWorker.register(url, {type: "module"});
        const {active} = await navigator.serviceWorker.ready;
        const {port1, port2} = window.kept = new MessageChannel();
        port1.onmessage = hear;
        active.postMessage("", [port2])""",
}


def works(kind: str, server: Server, windows: Windows, script: str, url: str) -> Page:
    page = windows.open(f"{server.url}/ping")
    text = PORTS[kind] + IN_WORKER.format(script=script, url=url)
    page.evaluate(
        f"""async url => {{
            window.heard = [];
            const hear = ({{data}}) => heard.push(data);
            {BEGIN[kind]};
        }}""",
        f"/script.js?text={quote(text)}",
    )
    return page


def test_it_runs_in_a_worker(server: Server, windows: Windows, tmp_path: Path) -> None:
    kinds = ["Worker", "SharedWorker"]
    pages = [works(kind, server, windows, "push.js", "/stream") for kind in kinds]
    for page in pages:
        hears(page, "open")
    say(server, "a", 1)
    for page in pages:
        hears(page, "open", 1)
    stop(server, tmp_path)
    server.start()
    say(server, "a", 2)
    for page in pages:
        hears(page, "open", 1, "open", 2)


def test_it_runs_in_a_service_worker(running: Server, windows: Windows) -> None:
    kind = "ServiceWorker"
    page = works(kind, running, windows, "extras.js", f"{running.url}/stream")
    hears(page, "open")
    say(running, "a", 1)
    hears(page, "open", 1)


def test_behind_a_service_worker_that_hands_all_on_nothing_is_lost(
    running: Server, windows: Windows
) -> None:
    # Pages of this origin have the worker from now on: it is not that of the other tests.
    page = windows.open(f"http://localhost:{running.port}/ping")
    text = """
        onactivate = event => event.waitUntil(clients.claim());
        onfetch = event => event.respondWith(fetch(event.request));
    """
    page.evaluate(
        """async url => {
            const {serviceWorker} = navigator;
            const there = new Promise(done => serviceWorker.oncontrollerchange = done);
            await serviceWorker.register(url);
            await there;
        }""",
        f"/script.js?text={quote(text)}",
    )
    # Each stream ends after a moment.
    is_open(listen(page, "a", url="/stream?lifetime=0.3", share=False, base=100))
    count = 0

    def go_on() -> bool:
        nonlocal count
        say(running, "a", count)
        count += 1
        ends: int = page.evaluate("states.filter(([state]) => state == 'waiting').length")
        return ends >= 2

    until(go_on, 60)
    hears(page, *range(count))
