"""Tests of push.js for every browser. The modules of each browser import them."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import select
import socket
import threading
import typing as t

import pytest
from playwright.sync_api import Page

from support.browser import Windows
from support.servers import gunicorn
from support.servers import kill_hubs
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import until

#: The tests and fixtures that a module of tests imports.
__all__ = [
    "running",
    "server",
    "way",
    "test_no_event_is_lost_when_the_network_is_cut",
    "test_a_page_begins_where_its_data_ends",
    "test_a_page_in_the_back_forward_cache_has_no_stream_and_misses_nothing",
    "test_a_stream_that_falls_silent_is_reconnected",
    "test_a_transport_that_failed_to_load_is_loaded_later",
    "test_a_page_gets_an_error_if_the_view_grants_fewer_channels",
    "test_after_sleep_a_page_resumes_where_it_was",
    "test_close_ends_the_stream",
    "test_events_can_be_iterated",
    "test_nothing_is_lost_when_the_server_is_killed",
    "test_pages_share_a_transport_that_was_loaded",
    "test_ten_tabs_have_one_stream_and_requests_go_on",
    "test_the_classic_script_works_like_the_module",
    "test_each_page_receives_each_event_once",
    "test_a_page_gets_a_gap_for_events_that_the_store_has_lost",
    "test_a_refusal_of_the_view_is_final_and_named",
    "test_push_js_polls_where_a_proxy_holds_streams_back",
    "test_a_page_restored_from_the_cache_gets_the_events_that_others_had",
]


# All ways to have a connection: in a worker, in the page that has the lock, in each page.
WAYS = [True, "lock", False]


LISTEN = """async ({channels, url, ...options}) => {
    const {connect} = await import("/push/push.js");
    window.received = [];
    window.states = [];
    window.push = connect(url || "/stream", options);
    push.on("state", (state, reason) => states.push([state, reason]));
    push.on("gap", gap => received.push("gap " + gap.reason));
    push.on("error", error => received.push(String(error)));
    for (const channel of channels) push.subscribe(channel, data => received.push(data));
}"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[Server]:
    # A browser opens connections on which it requests nothing yet.
    config: dict[str, t.Any] = {"PUSH_RETRY": 0.5, "PUSH_HUB_LINGER": 0.5}
    config["PUSH_HEARTBEAT"] = 1
    directory = tmp_path_factory.mktemp("running")
    # The app is imported once, and not by each worker.
    with serve(gunicorn, directory, "-w", "3", "--preload", **config) as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    """A server for all tests of a module. Those that stop it start it again. No stream of
    an earlier test is left."""
    if running.process.poll() is not None:
        running.start()
    until(lambda: not status(running.directory).get("streams"), what="no stream is left")
    return running


def listen(page: Page, *channels: str, **options: t.Any) -> Page:
    """Connect and subscribe. It reconnects sooner than it would by default, unless
    ``base`` is ``None``."""
    options = {"base": 100, **options}
    given = {name: value for name, value in options.items() if value is not None}
    page.evaluate(LISTEN, {"channels": channels, **given})
    return page


def is_open(page: Page) -> Page:
    page.wait_for_function("push.state == 'open'")
    return page


def hurry(page: Page, times: int) -> Page:
    """Let a page look so many times as often whether its stream is silent."""
    page.evaluate(
        """times => {
            const set = setInterval;
            window.setInterval = (then, time) => set(then, time / times);
        }""",
        times,
    )
    return page


def open_pages(windows: Windows, url: str, count: int) -> list[Page]:
    """Several pages of one browser."""
    profile = windows.profile()
    return [windows.open(f"{url}/ping", profile) for _ in range(count)]


def say(server: Server, channel: str, *data: t.Any, **more: t.Any) -> None:
    for each in data:
        server.publish(channel, json.dumps(each), **more)


def receives(page: Page, *expected: t.Any) -> None:
    """Expect exactly these, and then nothing more."""
    page.wait_for_function("most => received.length >= most", arg=len(expected))
    assert page.evaluate("received") == list(expected)


@pytest.mark.parametrize("share", WAYS)
def test_each_page_receives_each_event_once(
    share: bool | str, server: Server, windows: Windows
) -> None:
    pages = open_pages(windows, server.url, 3)
    for n, page in enumerate(pages):
        is_open(listen(page, "all", f"user:{n}", share=share))
    streams = 1 if share else 3
    until(lambda: status(server.directory)["streams"] == streams)
    say(server, "all", "for all", {"number": 1})
    say(server, "user:1", [None, "ü"])
    receives(pages[0], "for all", {"number": 1})
    receives(pages[1], "for all", {"number": 1}, [None, "ü"])
    pages[0].close()
    say(server, "all", "later")
    receives(pages[1], "for all", {"number": 1}, [None, "ü"], "later")
    receives(pages[2], "for all", {"number": 1}, "later")
    pages[1].close()
    pages[2].close()
    until(lambda: status(server.directory)["streams"] == 0)


def test_events_can_be_iterated(server: Server, windows: Windows) -> None:
    page = is_open(listen(windows.open(f"{server.url}/ping"), "a"))
    page.evaluate("""() => {
        const sub = push.subscribe("a");
        window.done = (async () => {
            const found = [];
            for await (const {data} of sub) {
                found.push(data);
                if (data == 3) sub.unsubscribe();
            }
            return found;
        })();
    }""")
    say(server, "a", 1, 2, 3)
    assert page.evaluate("done") == [1, 2, 3]


def test_close_ends_the_stream(server: Server, windows: Windows) -> None:
    for share in WAYS:
        page = is_open(listen(windows.open(f"{server.url}/ping"), "a", share=share))
        page.evaluate("push.close()")
        until(lambda: status(server.directory)["streams"] == 0)
        assert page.evaluate("push.state") == "closed"
        page.close()


def test_a_page_gets_an_error_if_the_view_grants_fewer_channels(
    server: Server, windows: Windows
) -> None:
    page = windows.open(f"{server.url}/ping")
    is_open(listen(page, "a", "secret", url="/stream?only=a"))
    receives(page, "Error: the view does not grant secret")


@pytest.mark.parametrize("share", WAYS)
@pytest.mark.parametrize("transport", ["eventsource", "fetch"])
def test_nothing_is_lost_when_the_server_is_killed(
    share: bool | str, transport: str, server: Server, windows: Windows
) -> None:
    page = listen(windows.open(f"{server.url}/ping"), "a", share=share, transport=transport)
    is_open(page)
    say(server, "a", 1, 2)
    receives(page, 1, 2)
    server.kill_without_readers()
    kill_hubs(server.directory)
    page.wait_for_function("push.state == 'waiting' && push.reason.retryAt > 0")
    server.start()
    say(server, "a", 3)
    is_open(page)
    say(server, "a", 4)
    receives(page, 1, 2, 3, 4)


@pytest.mark.parametrize("share", WAYS)
def test_a_transport_that_failed_to_load_is_loaded_later(
    share: bool | str, server: Server, windows: Windows
) -> None:
    # The script itself is loaded, in the worker too.
    page = is_open(listen(windows.open(f"{server.url}/ping"), "a", share=share))
    page.evaluate("push.close()")
    server.kill_without_readers()
    listen(page, "a", share=share, transport="fetch")
    page.wait_for_function("states.filter(([state]) => state == 'waiting').length > 1")
    server.start()
    is_open(page)
    say(server, "a", 1)
    receives(page, 1)


@pytest.mark.parametrize("share", [True, "lock"])
def test_pages_share_a_transport_that_was_loaded(
    share: bool | str, server: Server, windows: Windows
) -> None:
    pages = open_pages(windows, server.url, 3)
    for page in pages:
        is_open(listen(page, "a", share=share, transport="fetch"))
    say(server, "a", 1)
    for page in pages:
        receives(page, 1)
    assert status(server.directory)["streams"] == 1


@pytest.mark.parametrize("transport", ["eventsource", "fetch"])
def test_a_refusal_of_the_view_is_final_and_named(
    transport: str, server: Server, windows: Windows
) -> None:
    page = windows.open(f"{server.url}/ping")
    for code in 401, 403, 404, 204:
        listen(page, "a", url=f"/stream?status={code}", transport=transport, share=False)
        page.wait_for_function("push.state == 'closed' && push.reason.status")
        assert page.evaluate("push.reason.status") == code
    listen(page, "a", url="/stream?status=503", transport=transport, share=False)
    page.wait_for_function("push.state == 'waiting'")
    assert page.evaluate("push.reason.status") == 503


class Way:
    """A proxy that can cut its connections, and hold back all answers until they end."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.holds = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.target))
                except OSError:
                    client.close()
                    continue
                self._pairs.append((client, server))
                thread = threading.Thread(target=self._carry, args=(client, server))
                self._threads.append(thread)
                thread.start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        held = b""
        with client, server, contextlib.suppress(OSError):
            while True:
                for sock in select.select([client, server], [], [])[0]:
                    data = sock.recv(65536)
                    if sock is client and data:
                        server.sendall(data)
                    elif data and self.holds:
                        held += data
                    elif data:
                        client.sendall(data)
                    else:
                        client.sendall(held)
                        return

    def cut(self) -> None:
        for pair in self._pairs:
            for sock in pair:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def way(server: Server) -> cabc.Iterator[Way]:
    way = Way(server.port)
    yield way
    way.close()


@pytest.mark.parametrize("share", WAYS)
def test_no_event_is_lost_when_the_network_is_cut(
    share: bool | str, way: Way, server: Server, windows: Windows
) -> None:
    pages = open_pages(windows, way.url, 2)
    for page in pages:
        is_open(listen(page, "a", share=share))
    for n in range(5):
        say(server, "a", n)
        for page in pages:
            page.wait_for_function("n => received.length > n", arg=n)
        way.cut()
    say(server, "a", 5)
    for page in pages:
        receives(page, *range(6))


@pytest.mark.parametrize("transport", ["eventsource", "fetch"])
def test_push_js_polls_where_a_proxy_holds_streams_back(
    transport: str, way: Way, server: Server, windows: Windows
) -> None:
    page = hurry(windows.open(f"{way.url}/ping"), 10)
    page.evaluate("import('/push/push.js')")
    way.holds = True
    listen(
        page,
        "a",
        share=False,
        silence=1000,
        transport=transport,
        since=server.get("/position"),
    )
    say(server, "a", 1)
    page.wait_for_function("push.state == 'open' && push.reason.polling")
    say(server, "a", 2)
    receives(page, 1, 2)
    states = page.evaluate("states.map(([state]) => state)")
    say(server, "a", 3)
    receives(page, 1, 2, 3)
    assert page.evaluate("states.map(([state]) => state)") == states, "it stays open"


def test_a_stream_that_falls_silent_is_reconnected(
    way: Way, server: Server, windows: Windows
) -> None:
    page = hurry(windows.open(f"{way.url}/ping"), 10)
    is_open(listen(page, "a", share=False))
    # Once push.js knows how often heartbeats arrive, silence means a lost connection.
    page.evaluate("new Promise(done => setTimeout(done, 1500))")
    way.holds = True
    say(server, "a", 1)
    page.wait_for_function("states.length > 2")
    way.holds = False
    way.cut()
    receives(page, 1)


def test_after_sleep_a_page_resumes_where_it_was(server: Server, windows: Windows) -> None:
    page = is_open(listen(windows.open(f"{server.url}/ping"), "a", share=False))
    say(server, "a", 1)
    receives(page, 1)
    count = page.evaluate("states.length")
    # Timers have been suspended, the connection looks open, and an hour has passed.
    page.evaluate("""() => {
        const now = Date.now;
        Date.now = () => now() + 3600e3;
        dispatchEvent(new Event("focus"));
    }""")
    page.wait_for_function("count => states.length >= count + 2", arg=count)
    is_open(page)
    say(server, "a", 2)
    receives(page, 1, 2)
    assert status(server.directory)["streams"] == 1


@pytest.mark.parametrize("share", WAYS)
def test_a_page_in_the_back_forward_cache_has_no_stream_and_misses_nothing(
    share: bool | str, server: Server, windows: Windows
) -> None:
    profile = windows.profile()
    page = is_open(listen(windows.open(f"{server.url}/ping", profile), "a", share=share))
    say(server, "a", 1)
    receives(page, 1)
    page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    until(lambda: status(server.directory)["streams"] == 0)
    say(server, "a", 2, 3)
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    receives(page, 1, 2, 3)
    # The old connection's end does not concern the new one.
    assert "closed" not in page.evaluate("states.map(([state]) => state)")


@pytest.mark.parametrize("share", [True, "lock"])
def test_a_page_restored_from_the_cache_gets_the_events_that_others_had(
    share: bool | str, server: Server, windows: Windows
) -> None:
    pages = open_pages(windows, server.url, 3)
    for page in pages:
        is_open(listen(page, "a", share=share))
    pages[0].evaluate(
        "dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))"
    )
    is_open(pages[1])
    say(server, "a", 1, 2)
    receives(pages[1], 1, 2)
    pages[0].evaluate(
        "dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))"
    )
    receives(pages[0], 1, 2)
    say(server, "a", 3)
    for page in pages:
        receives(page, 1, 2, 3)


@pytest.mark.parametrize("share", [True, "lock"])
def test_ten_tabs_have_one_stream_and_requests_go_on(
    share: bool | str, server: Server, windows: Windows
) -> None:
    pages = open_pages(windows, server.url, 10)
    for n, page in enumerate(pages):
        is_open(listen(page, "a", f"of {n}", share=share))
    until(lambda: status(server.directory)["streams"] == 1)
    for page in pages:
        assert page.evaluate("fetch('/ping').then(r => r.text())") == "pong"
    say(server, "a", "x")
    for n, page in enumerate(pages):
        say(server, f"of {n}", n)
        receives(page, "x", n)


def test_a_page_gets_a_gap_for_events_that_the_store_has_lost(
    server: Server, windows: Windows
) -> None:
    page = is_open(listen(windows.open(f"{server.url}/ping"), "a"))
    say(server, "a", 1)
    receives(page, 1)
    for path in (server.directory / "push-basic").glob("push.db*"):
        if path.is_file():
            path.unlink()
    say(server, "a", 2)
    # The page fetches the events that existed when the loss was noticed.
    receives(page, 1, "gap restarted")
    say(server, "a", 3)
    receives(page, 1, "gap restarted", 3)


def test_a_page_begins_where_its_data_ends(server: Server, windows: Windows) -> None:
    profile = windows.profile()
    other = is_open(listen(windows.open(f"{server.url}/ping", profile), "a"))
    since = server.get("/position")
    say(server, "a", 1, 2)
    receives(other, 1, 2)
    page = listen(windows.open(f"{server.url}/ping", profile), "a", since=since)
    receives(page, 1, 2)
    say(server, "a", 3)
    receives(page, 1, 2, 3)
    receives(other, 1, 2, 3)


@pytest.mark.parametrize("transport", ["eventsource", "fetch"])
def test_the_classic_script_works_like_the_module(
    transport: str, server: Server, windows: Windows
) -> None:
    pages = open_pages(windows, server.url, 2)
    for page in pages:
        page.add_script_tag(url="/push/push.classic.js")
        page.evaluate(
            """transport => {
                window.received = [];
                window.push = FlaskPush.connect("/stream", {transport});
                push.subscribe("a", data => received.push(data));
            }""",
            transport,
        )
        is_open(page)
    say(server, "a", 1)
    for page in pages:
        receives(page, 1)
