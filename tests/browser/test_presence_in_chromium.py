"""Presence in Chromium: push.js, its element and a plain ``EventSource``, on a real hub."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import os
import signal
import typing as t
from pathlib import Path

import pytest
from playwright.sync_api import Page
from support.browser import Windows
from support.push_js import hurry
from support.push_js import Way
from support.push_js import WAYS
from support.servers import gunicorn
from support.servers import hubs
from support.servers import ROOT
from support.servers import serve
from support.servers import Server
from support.servers import until

PRESENCE = """async ({address, ...options}) => {
    const {connect} = await import("/push/presence.js");
    window.calls = [];
    window.errors = [];
    window.push = connect(address, {base: 100, ...options});
    push.on("error", (error) => errors.push(error.message));
    push.presence("a", (members, {joined, left, count}) => {
        const [came, went] = [joined, left].map((some) => some.map(({user}) => user));
        const infos = [...members].map(([user, {info}]) => [user, info.name]).sort();
        calls.push([Object.fromEntries(infos), came, went, count]);
    });
}"""


@contextlib.contextmanager
def serving(directory: Path, **config: t.Any) -> cabc.Iterator[Server]:
    config = {"PUSH_RETRY": 0.5, "PUSH_HUB_LINGER": 0.5, "PUSH_PRESENCE_GRACE": 1, **config}
    # The app is imported once, and not by each worker.
    with serve(gunicorn, directory, "-w", "2", "--preload", **config) as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> cabc.Iterator[Server]:
    with serving(tmp_path) as server:
        yield server


def window(server: Server, windows: Windows, user: str, **options: t.Any) -> Page:
    """A window of a browser of the user's own, which shows the user and watches."""
    address = f"/stream?user={user}&present=a&watch=a"
    page = windows.open(f"{server.url}/ping", windows.profile())
    page.evaluate(PRESENCE, {"address": address, **options})
    return page


def has(page: Page, *users: str) -> None:
    """Wait until these users are there, and no others."""
    page.wait_for_function(
        "names => Object.keys(calls.at(-1)?.[0] ?? {0: 0}).join() == names",
        arg=",".join(sorted(users)),
    )


def present(server: Server) -> dict[str, t.Any]:
    found: dict[str, t.Any] = json.loads(server.get("/present?channel=a"))
    return found


def kill(server: Server, directory: Path) -> None:
    server.kill_without_readers()
    for pid in hubs(directory):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("share", WAYS)
@pytest.mark.parametrize("transport", ["eventsource", "fetch"])
def test_each_page_gets_who_is_there_and_who_joins_and_leaves(
    share: bool | str, transport: str, server: Server, windows: Windows
) -> None:
    how = {"share": share, "transport": transport}
    ann = window(server, windows, "ann", **how)
    has(ann, "ann")
    ben = window(server, windows, "ben", **how)
    for page in ann, ben:
        has(page, "ann", "ben")
    assert ann.evaluate("calls.at(-1)") == [{"ann": "ann!", "ben": "ben!"}, ["ben"], [], 2]
    assert ben.evaluate("calls[0].slice(1, 3)") == [[], []]
    assert present(server)["count"] == 2
    ben.close()
    has(ann, "ann")
    assert ann.evaluate("calls.at(-1)") == [{"ann": "ann!"}, [], ["ben"], 1]
    assert present(server) == {"members": {"ann": {"name": "ann!"}}, "count": 1}


def test_a_user_is_there_once_and_until_the_last_window_is_closed(
    server: Server, windows: Windows
) -> None:
    ann = window(server, windows, "ann")
    bens = [window(server, windows, "ben") for _ in range(2)]
    dan = window(server, windows, "dan")
    for page in ann, *bens, dan:
        has(page, "ann", "ben", "dan")
    bens[0].close()
    dan.close()
    # Once Dan has left, so would Ben have, whose window was closed before.
    has(ann, "ann", "ben")
    eve = window(server, windows, "eve")
    for page in ann, bens[1], eve:
        has(page, "ann", "ben", "eve")
    # Ben's window has no stream after it was loaded again.
    bens[1].reload()
    for page in ann, eve:
        has(page, "ann", "eve")
    assert ann.evaluate("calls.flatMap(([, , left]) => left)") == ["dan", "ben"]


def test_nobody_leaves_when_the_server_is_killed_and_restarted(
    windows: Windows, tmp_path: Path
) -> None:
    with serving(tmp_path, PUSH_PRESENCE_GRACE=30) as server:
        pages = [window(server, windows, user) for user in ("ann", "ben")]
        for page in pages:
            has(page, "ann", "ben")
        kill(server, tmp_path)
        for page in pages:
            page.wait_for_function("push.state == 'waiting'")
        server.start()
        for page in pages:
            page.wait_for_function("push.state == 'open'")
        eve = window(server, windows, "eve")
        for page in *pages, eve:
            has(page, "ann", "ben", "eve")
            assert page.evaluate("calls.every(([, , left]) => !left.length)")


def test_users_who_are_counted_are_not_listed(server: Server, windows: Windows) -> None:
    ann = window(server, windows, "ann")
    has(ann, "ann")
    crowd = windows.open(f"{server.url}/ping")
    crowd.evaluate("""() => {
        for (const user of ["x", "y", "z"])
            new EventSource(`/stream?channel=b&user=${user}&counted=a`);
    }""")
    ann.wait_for_function("calls.at(-1)[3] == 4")
    assert ann.evaluate("calls.at(-1)") == [{"ann": "ann!"}, [], [], 4]
    crowd.close()
    ann.wait_for_function("calls.at(-1)[3] == 1")


def test_a_page_that_may_not_watch_gets_an_error(server: Server, windows: Windows) -> None:
    page = windows.open(f"{server.url}/ping")
    page.evaluate(PRESENCE, {"address": "/stream?user=ann&present=a"})
    page.wait_for_function("errors.length")
    assert page.evaluate("[errors, calls]") == [
        ["the view does not let this page watch a"],
        [],
    ]


def test_a_page_may_watch_a_channel_that_it_may_not_read(
    server: Server, windows: Windows
) -> None:
    page = windows.open(f"{server.url}/ping")
    page.evaluate(PRESENCE, {"address": "/stream?only=b&user=ann&present=a&watch=a"})
    has(page, "ann")
    assert page.evaluate("errors") == []


@pytest.mark.parametrize("transport", ["eventsource", "fetch"])
def test_a_page_that_polls_is_there_between_its_polls(
    transport: str, server: Server, windows: Windows
) -> None:
    with contextlib.closing(Way(server.port)) as way:
        ann = hurry(windows.open(f"{way.url}/ping"), 10)
        # The way holds scripts back, too.
        ann.evaluate(
            "Promise.all([import('/push/presence.js'), import('/push/extras.js')])"
        )
        way.holds = True
        address = "/stream?user=ann&present=a&watch=a"
        options = {"share": False, "silence": 1000, "transport": transport}
        ann.evaluate(PRESENCE, {"address": address, **options})
        ann.wait_for_function("push.state == 'open' && push.reason.polling")
        ben = window(server, windows, "ben")
        for page in ann, ben:
            has(page, "ann", "ben")
        eve = window(server, windows, "eve")
        for page in ann, ben:
            has(page, "ann", "ben", "eve")
        eve.close()
        for page in ann, ben:
            has(page, "ann", "ben")
            went = page.evaluate("calls.flatMap(([, , left]) => left)")
            assert went == ["eve"]


def test_the_element_shows_who_is_there_with_alpine(
    server: Server, windows: Windows
) -> None:
    page = windows.open(f"{server.url}/ping")
    page.evaluate("""document.body.innerHTML = `
        <div x-data="{ here: [] }">
          <push-source src="/stream?user=ann&present=a&watch=a" channels="a" presence
            x-on:push:presence="here = [...$event.detail.members.values()]"></push-source>
          <template x-for="{ user, info } in here" :key="user">
            <i x-text="user + ' ' + info.name"></i>
          </template>
        </div>`""")
    alpine = ROOT / "tests" / "clients" / "node_modules" / "alpinejs" / "dist" / "cdn.js"
    page.add_script_tag(path=alpine)
    page.evaluate("import('/push/element.js')")
    shown = "[...document.querySelectorAll('i')].map(i => i.textContent).sort().join()"
    page.wait_for_function(f"{shown} == 'ann ann!'")
    ben = window(server, windows, "ben")
    page.wait_for_function(f"{shown} == 'ann ann!,ben ben!'")
    ben.close()
    page.wait_for_function(f"{shown} == 'ann ann!'")


def test_a_plain_event_source_gets_who_is_there(server: Server, windows: Windows) -> None:
    page = windows.open(f"{server.url}/ping")
    page.evaluate("""() => {
        window.here = new Map();
        const address = "/stream?channel=b&user=ann&present=a&watch=a";
        const source = new EventSource(address);
        source.addEventListener("push:items", () => here.clear());
        source.addEventListener("push:joined", ({data}) => {
            const {user, info} = JSON.parse(data);
            here.set(user, info.name);
        });
        source.addEventListener("push:left", ({data}) => {
            here.delete(JSON.parse(data).user);
        });
    }""")
    page.wait_for_function("here.get('ann') == 'ann!'")
    ben = window(server, windows, "ben")
    page.wait_for_function("here.get('ben') == 'ben!'")
    ben.close()
    page.wait_for_function("here.size == 1")
    until(lambda: present(server)["count"] == 1)
