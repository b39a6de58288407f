"""Items in Chromium: push.js, its element and a plain ``EventSource``, on a real hub."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import typing as t
from pathlib import Path

import pytest
from playwright.sync_api import Page
from support.browser import Windows
from support.push_js import hurry
from support.push_js import Way
from support.push_js import WAYS
from support.servers import gunicorn
from support.servers import kill_hubs
from support.servers import ROOT
from support.servers import serve
from support.servers import Server
from support.servers import TESTS

from flask_push import Publisher

ITEMS = """async options => {
    const {connect} = await import("/push/items.js");
    window.calls = [];
    window.push = connect("/stream", {base: 100, ...options});
    push.items("a", (items, changed) => {
        calls.push([Object.fromEntries(items), [...changed].sort()]);
    });
}"""


@pytest.fixture
def server(tmp_path: Path) -> cabc.Iterator[Server]:
    config: dict[str, t.Any] = {"PUSH_RETRY": 0.5, "PUSH_HUB_LINGER": 0.5}
    # The app is imported once, and not by each worker.
    with serve(gunicorn, tmp_path, "-w", "2", "--preload", **config) as server:
        # The app makes its store.
        server.get("/position")
        yield server


@pytest.fixture
def store(server: Server, tmp_path: Path) -> cabc.Iterator[Publisher]:
    """A publisher as in any process that is not the app. It has set two items."""
    (path,) = tmp_path.glob("push-basic/push.db")
    with contextlib.closing(Publisher(f"sqlite://{path}")) as publisher:
        publisher.set("a", "x", 1)
        publisher.set("a", "y.z ü", 2)
        yield publisher


def has(page: Page, *calls: t.Any) -> None:
    """Expect exactly these calls, and then nothing more."""
    page.wait_for_function("most => calls.length >= most", arg=len(calls))
    assert page.evaluate("calls") == list(calls)


def kill(server: Server, directory: Path) -> None:
    server.kill_without_readers()
    kill_hubs(directory)


BOTH = [{"x": 1, "y.z ü": 2}, ["x", "y.z ü"]]


@pytest.mark.parametrize("share", WAYS)
@pytest.mark.parametrize("transport", ["eventsource", "fetch"])
def test_each_page_gets_all_items_and_then_each_change(
    share: bool | str, transport: str, server: Server, store: Publisher, windows: Windows
) -> None:
    profile = windows.profile()
    first, second = (windows.open(f"{server.url}/ping", profile) for _ in range(2))
    first.evaluate(ITEMS, {"share": share, "transport": transport})
    has(first, BOTH)
    store.set("a", "x", 3)
    has(first, BOTH, [{"x": 3, "y.z ü": 2}, ["x"]])
    # It comes later, and may share the connection.
    second.evaluate(ITEMS, {"share": share, "transport": transport})
    has(second, [{"x": 3, "y.z ü": 2}, ["x", "y.z ü"]])
    store.publish("a", "no item")
    store.unset("a", "y.z ü")
    gone = [{"x": 3}, ["y.z ü"]]
    has(first, BOTH, [{"x": 3, "y.z ü": 2}, ["x"]], gone)
    has(second, [{"x": 3, "y.z ü": 2}, ["x", "y.z ü"]], gone)


@pytest.mark.parametrize("share", WAYS)
def test_a_page_whose_server_was_killed_gets_what_has_changed(
    share: bool | str, server: Server, store: Publisher, windows: Windows, tmp_path: Path
) -> None:
    page = windows.open(f"{server.url}/ping")
    page.evaluate(ITEMS, {"share": share})
    has(page, BOTH)
    kill(server, tmp_path)
    page.wait_for_function("push.state == 'waiting'")
    store.set("a", "x", 3)
    store.unset("a", "y.z ü")
    store.set("a", "w", 4)
    server.start()
    page.wait_for_function("calls.at(-1)[0].w == 4")
    # Each change for itself: it does not get all items again.
    changes = [[{"x": 3, "y.z ü": 2}, ["x"]], [{"x": 3}, ["y.z ü"]]]
    has(page, BOTH, *changes, [{"w": 4, "x": 3}, ["w"]])


def test_a_channel_without_items_has_an_empty_map(
    server: Server, store: Publisher, windows: Windows
) -> None:
    page = windows.open(f"{server.url}/ping")
    page.evaluate(ITEMS, {})
    has(page, BOTH)
    page.evaluate("""() => {
        window.sizes = [];
        push.items("b", (items) => sizes.push(items.size));
    }""")
    page.wait_for_function("sizes.length")
    store.set("b", "x", 1)
    page.wait_for_function("sizes.length == 2")
    assert page.evaluate("[sizes, calls]") == [[0, 1], [BOTH]]


@pytest.mark.parametrize("transport", ["eventsource", "fetch"])
def test_a_page_that_polls_has_all_items(
    transport: str, server: Server, store: Publisher, windows: Windows
) -> None:
    with contextlib.closing(Way(server.port)) as way:
        page = hurry(windows.open(f"{way.url}/ping"), 10)
        # The way holds scripts back, too.
        page.evaluate("Promise.all([import('/push/items.js'), import('/push/extras.js')])")
        way.holds = True
        page.evaluate(ITEMS, {"share": False, "silence": 1000, "transport": transport})
        page.wait_for_function("push.state == 'open' && push.reason.polling")
        has(page, BOTH)
        store.set("a", "x", 3)
        has(page, BOTH, [{"x": 3, "y.z ü": 2}, ["x"]])
        store.unset("a", "x")
        has(page, BOTH, [{"x": 3, "y.z ü": 2}, ["x"]], [{"y.z ü": 2}, ["x"]])


def test_the_element_shows_all_items_with_alpine(
    server: Server, store: Publisher, windows: Windows
) -> None:
    page = windows.open(f"{server.url}/ping")
    page.evaluate("""document.body.innerHTML = `
        <div x-data="{ prices: [] }">
          <push-source src="/stream" channels="a" items
            x-on:push:items="prices = [...$event.detail.items]"></push-source>
          <template x-for="[name, price] in prices" :key="name">
            <i x-text="name + ' ' + price"></i>
          </template>
        </div>`""")
    alpine = ROOT / "tests" / "clients" / "node_modules" / "alpinejs" / "dist" / "cdn.js"
    page.add_script_tag(path=alpine)
    page.evaluate("import('/push/element.js')")
    shown = "[...document.querySelectorAll('i')].map(i => i.textContent).join()"
    page.wait_for_function(f"{shown} == 'x 1,y.z ü 2'")
    store.set("a", "x", 3)
    page.wait_for_function(f"{shown} == 'x 3,y.z ü 2'")
    store.unset("a", "y.z ü")
    page.wait_for_function(f"{shown} == 'x 3'")
    # Without the attribute, it fires no such event.
    page.evaluate("""() => {
        window.received = [];
        const source = document.querySelector("push-source");
        source.addEventListener("push:items", () => received.push("items"));
        source.addEventListener("message", ({ detail }) => received.push(detail.item));
        source.removeAttribute("items");
    }""")
    store.set("a", "x", 4)
    page.wait_for_function("received.length")
    assert page.evaluate("received") == ["x"]
    page.evaluate("document.querySelector('push-source').setAttribute('items', '')")
    page.wait_for_function(f"{shown} == 'x 4'")


def test_a_plain_event_source_has_all_items_as_the_page_says(
    server: Server, store: Publisher, windows: Windows, tmp_path: Path
) -> None:
    said = (TESTS.parent / "docs" / "items.md").read_text().split("## Without push.js")[1]
    code = said.split("```js\n")[1].split("```")[0]
    assert code.count("\n") <= 12
    page = windows.open(f"{server.url}/ping")
    code = code.replace("/stream?items=1", "/stream?channel=a&items=1")
    draw = "const draw = (items) => drawn.push(Object.fromEntries(items));"
    page.add_script_tag(content=f"window.drawn = []; {draw} {code}")
    page.wait_for_function("drawn.length == 1")
    store.set("a", "x", 3)
    page.wait_for_function("drawn.length == 2")
    store.unset("a", "y.z ü")
    page.wait_for_function("drawn.length == 3")
    first = {"x": 1, "y.z ü": 2}
    assert page.evaluate("drawn") == [first, {**first, "x": 3}, {"x": 3}]
    # It gets all again, and draws nothing before it has them.
    kill(server, tmp_path)
    store.set("a", "w", 4)
    server.start()
    page.wait_for_function("drawn.length == 4")
    assert page.evaluate("drawn.at(-1)") == {"w": 4, "x": 3}
