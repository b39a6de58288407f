"""The chat, and a plain EventSource, in a real browser on real servers."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import shutil
import threading
from pathlib import Path

import pytest
from playwright.sync_api import expect
from playwright.sync_api import Page
from playwright.sync_api import Route
from support.browser import Windows
from support.chats import Chat
from support.chats import chat as chat
from support.chats import chat_on
from support.chats import connected
from support.chats import enter
from support.chats import HISTORY
from support.chats import look
from support.chats import names
from support.chats import room as room
from support.chats import say
from support.chats import shows
from support.chats import texts
from support.redises import Redis
from support.servers import flask_run
from support.servers import free_port
from support.servers import gunicorn
from support.servers import hubs
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import TESTS
from support.servers import until


def own(page: Page) -> list[str]:
    return page.locator(".own .text").all_text_contents()


def mark(page: Page) -> None:
    page.evaluate("window.marked = true")


def was_not_reloaded(page: Page) -> bool:
    return page.evaluate("window.marked") is True


@contextlib.contextmanager
def speaking(chat: Chat) -> cabc.Iterator[None]:
    """Have another process publish meanwhile: fewer events than the store keeps."""
    stop = threading.Event()

    def speak() -> None:
        for n in range(300):
            chat.speak(f"meanwhile {n}")
            if stop.wait(0.02):
                break

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_two_people_receive_each_other_s_lines_in_one_order(
    chat: Chat, windows: Windows
) -> None:
    ann = enter(windows.open(chat.server.url), "Ann")
    ben = enter(windows.open(chat.server.url), "Ben")
    say(ann, "Is anybody here?")
    shows(ben, "Is anybody here?")
    say(ben, "I am.")
    for page in ann, ben:
        shows(page, "Is anybody here?", "I am.")
        assert names(page) == ["Ann", "Ben"]
    assert (own(ann), own(ben)) == (["Is anybody here?"], ["I am."])
    for n in range(3):
        say(ann, f"Ann {n}")
        say(ben, f"Ben {n}")
    for page in ann, ben:
        expect(page.locator(".text")).to_have_count(8)
    assert texts(ann) == texts(ben)
    assert own(ann)[1:] == ["Ann 0", "Ann 1", "Ann 2"]
    assert own(ben)[1:] == ["Ben 0", "Ben 1", "Ben 2"]


def test_two_windows_of_one_person_count_as_one_person(
    room: Chat, windows: Windows
) -> None:
    first = enter(windows.open(room.server.url), "Ann")
    second = windows.open(room.server.url, first.context)
    say(first, "from the first")
    shows(second, "from the first")
    say(second, "from the second")
    for page in first, second:
        shows(page, "from the first", "from the second")
        assert own(page) == texts(page)


def test_a_line_sent_between_history_and_stream_is_shown_once(
    chat: Chat, windows: Windows
) -> None:
    def hold(route: Route) -> None:
        response = route.fetch()
        chat.speak("between")
        route.fulfill(response=response)

    chat.speak("before")
    page = windows.open(chat.server.url)
    page.route(HISTORY, hold, times=1)
    enter(page, "Ann")
    shows(page, "before", "between")
    chat.speak("after")
    shows(page, "before", "between", "after")


def test_a_page_begins_with_the_last_fifty(room: Chat, windows: Windows) -> None:
    room.speak(*map(str, range(60)))
    page = enter(windows.open(room.server.url), "Ann")
    room.speak("60")
    shows(page, *map(str, range(10, 61)))


def test_no_line_is_lost_when_the_server_is_killed_and_restarted(
    chat: Chat, windows: Windows
) -> None:
    asked: list[tuple[str, str]] = []
    pages = [enter(windows.open(chat.server.url), name) for name in ("Ann", "Ben")]
    for page in pages:
        connected(page)
        mark(page)
        page.on("request", lambda request: asked.append((request.method, request.url)))
    say(pages[0], "before")
    chat.spoken.append("before")
    shows(pages[1], "before")

    chat.kill()
    for page in pages:
        expect(page.get_by_role("status")).to_have_text("reconnecting…")
    chat.speak(*(f"down {n}" for n in range(60)))
    with speaking(chat):
        chat.server.start()
        for page in pages:
            connected(page)
    chat.speak("after")
    for page in pages:
        shows(page, *chat.spoken)
        assert was_not_reloaded(page)
    # Only the reconnects of the browsers have brought the missed lines.
    assert ("GET", f"{chat.server.url}/messages") not in asked
    assert ("POST", f"{chat.server.url}/messages") in asked


def test_the_page_does_not_notice_a_restart_of_the_server(
    chat: Chat, windows: Windows
) -> None:
    page = enter(windows.open(chat.server.url), "Ann")
    connected(page)
    chat.speak("before")
    shows(page, "before")
    page.evaluate(
        """() => {
            const state = document.querySelector("#state");
            new MutationObserver(() => { window.noticed = true; })
                .observe(state, { childList: true, characterData: true, subtree: true });
        }"""
    )
    chat.server.stop()
    chat.speak("while there is no server")
    shows(page, "before", "while there is no server")
    chat.server.start()
    say(page, "after")
    shows(page, "before", "while there is no server", "after")
    assert not page.evaluate("window.noticed")


def test_two_servers_share_one_chat_through_a_redis(
    windows: Windows, tmp_path: Path
) -> None:
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis.started(tmp_path))
        chats = []
        for name in "flask run", "gunicorn":
            (directory := tmp_path / name.replace(" ", "-")).mkdir()
            config = {"PUSH_BROKER_URL": redis.url}
            chats.append(stack.enter_context(chat_on(name, directory, **config)))
        ann, ben = (
            enter(windows.open(chat.server.url), name)
            for chat, name in zip(chats, ["Ann", "Ben"], strict=True)
        )
        say(ann, "Is anybody here?")
        shows(ben, "Is anybody here?")
        say(ben, "I am.")
        shows(ann, "Is anybody here?", "I am.")
        assert len(hubs(tmp_path)) == 2
        assert not any(chat.store.exists() for chat in chats)


@contextlib.contextmanager
def nginx_before(server: Server, directory: Path) -> cabc.Iterator[Server]:
    """A minimal configuration: the proxy answers 502 while there is no server."""
    port = free_port()
    user = "user root;" if os.getuid() == 0 else ""
    conf = directory / "nginx.conf"
    conf.write_text(f"""
daemon off; pid {directory}/nginx.pid; {user} error_log stderr warn;
events {{}}
http {{
    access_log {directory}/access.log;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/1; uwsgi_temp_path {directory}/2;
    scgi_temp_path {directory}/3;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {server.url};
            proxy_set_header Host $http_host;
        }}
    }}
}}""")
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
    command = [nginx, "-p", str(directory), "-e", "stderr", "-c", str(conf)]
    front = Server(command, port, directory / "nginx.log", {})
    try:
        yield front
    finally:
        front.kill()


def test_no_line_is_lost_while_a_proxy_has_no_server(
    room: Chat, windows: Windows, tmp_path: Path
) -> None:
    with nginx_before(room.server, tmp_path) as front:
        page = enter(windows.open(front.url), "Ann")
        connected(page)
        room.speak("before")
        shows(page, "before")
        mark(page)
        room.kill()
        # This status closes an EventSource for good.
        until(lambda: " 502 " in (tmp_path / "access.log").read_text())
        expect(page.get_by_role("status")).to_have_text("reconnecting…")
        room.speak("meanwhile")
        say(page, "said to nobody")
        expect(page.locator("#unsent")).to_have_text("said to nobody")
        room.server.start()
        connected(page)
        shows(page, "before", "meanwhile", "said to nobody")
        expect(page.locator("#unsent")).to_have_text("")
        assert was_not_reloaded(page)


def test_a_history_that_fails_to_load_is_fetched_again(
    room: Chat, windows: Windows
) -> None:
    room.speak("before")
    page = enter(windows.open(room.server.url), "Ann")
    page.clock.install()
    page.route(HISTORY, lambda route: route.fulfill(status=500, json={}), times=1)
    page.reload()
    expect(page.get_by_role("status")).to_have_text("reconnecting…")
    page.clock.fast_forward(3000)
    shows(page, "before")
    connected(page)


def test_after_the_store_is_lost_the_page_gets_a_gap_and_starts_over(
    chat: Chat, windows: Windows
) -> None:
    page = enter(windows.open(chat.server.url), "Ann")
    connected(page)
    mark(page)
    chat.speak("lost")
    shows(page, "lost")
    with page.expect_response(HISTORY):
        for suffix in "", "-wal", "-shm":
            chat.store.with_name(f"push.db{suffix}").unlink()
    shows(page)
    connected(page)
    say(page, "new")
    shows(page, "new")
    assert was_not_reloaded(page)


def test_lines_written_offline_are_kept_and_sent_once_when_online(
    room: Chat, windows: Windows
) -> None:
    page = enter(windows.open(room.server.url), "Ann")
    connected(page)
    page.context.set_offline(True)
    expect(page.get_by_role("status")).to_have_text("offline")
    for text in "one", "two", "two":
        say(page, text)
    expect(page.locator("#unsent li")).to_have_text(["one", "two", "two"])
    look(page, TESTS / "shots" / "chat-offline")
    room.speak("meanwhile")
    page.context.set_offline(False)
    connected(page)
    shows(page, "meanwhile", "one", "two", "two")
    expect(page.locator("#unsent li")).to_have_count(0)


def test_unsent_lines_outlive_the_page(room: Chat, windows: Windows) -> None:
    page = enter(windows.open(room.server.url), "Ann")
    connected(page)

    def refuse(route: Route) -> None:
        if route.request.method == "POST":
            route.abort()
        else:
            route.continue_()

    page.route(HISTORY, refuse)
    say(page, "kept")
    expect(page.locator("#unsent")).to_have_text("kept")
    page.reload()
    page.unroute(HISTORY)
    shows(page, "kept")
    expect(page.locator("#unsent")).to_have_text("")


def test_windows_of_one_browser_share_one_stream(
    room: Chat, windows: Windows, tmp_path: Path
) -> None:
    pages = [enter(windows.open(room.server.url), "Ann")]
    pages += [windows.open(room.server.url, pages[0].context) for _ in range(7)]
    for page in pages:
        connected(page)
    # Each window that opens needs all members, so it replaces the stream.
    until(lambda: status(room.store.parent.parent, "push-app")["streams"] == 1)
    # HTTP/1.1 allows six connections. If each window had a stream, none would be left.
    say(pages[-1], "received by all")
    for page in pages:
        shows(page, "received by all")


@pytest.mark.parametrize("command", [flask_run, gunicorn])
def test_any_eventsource_learns_the_channel_from_the_id(
    command: cabc.Callable[..., list[str]], windows: Windows, tmp_path: Path
) -> None:
    with serve(command, tmp_path) as server:
        page = windows.open(f"{server.url}/ping")
        page.evaluate(
            """() => new Promise((opened) => {
                window.received = [];
                const source = new EventSource("/stream?channel=a&channel=b%20c");
                source.addEventListener("push:open", opened);
                source.onmessage = ({ data, lastEventId }) => {
                    received.push([data, lastEventId]);
                };
            })"""
        )
        ids = [server.publish("a", "one"), server.publish("b c", "two")]
        page.wait_for_function("received.length == 2")
        assert page.evaluate("received") == [["one", ids[0]], ["two", ids[1]]]
        assert [id.partition(".")[2] for id in ids] == ["a", "b~20c"]
