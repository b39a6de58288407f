"""Signed addresses in Chromium: pages that get another one, and pages that can't."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from pathlib import Path

import pytest
from playwright.sync_api import Page
from support.browser import Windows
from support.push_js import is_open
from support.push_js import receives
from support.push_js import say
from support.push_js import WAYS
from support.push_js_disconnects import Logins
from support.servers import gunicorn
from support.servers import kill_hubs
from support.servers import serve
from support.servers import until

# How long an address is valid, so that a test need not wait.
SHORT = "/address?channel=a&channel=b&user=7&expires=1"
LONG = "/address?channel=a&channel=b&user=7&expires=600"

CONNECT = """async ({url, next, channels, ...options}) => {
    const {connect} = await import("/push/signed.js");
    window.received = [];
    window.asked = [];
    window.next = next;
    window.push = connect(url, {base: 100, ...options});
    push.on("gap", gap => received.push("gap " + gap.reason));
    push.on("error", error => received.push(String(error)));
    window.end = push.on("expired", () => {
        asked.push(push.reason.status);
        return fetch(next);
    });
    for (const channel of channels) push.subscribe(channel, data => received.push(data));
}"""


@pytest.fixture
def logins(tmp_path: Path) -> cabc.Iterator[Logins]:
    config: dict[str, t.Any] = {"PUSH_RETRY": 0.5, "PUSH_HEARTBEAT": 0.5}
    config |= {"PUSH_STREAM_URL": "/push/stream", "SECRET_KEY": "tests"}
    with serve(gunicorn, tmp_path, "-w", "2", app="apps.logins", **config) as server:
        yield Logins(server, tmp_path)


def connect(
    page: Page, logins: Logins, address: str, next: str, *channels: str, **options: t.Any
) -> Page:
    """Connect by a signed address. The page asks there for the next one."""
    url = logins.server.get(address)
    given = {"url": url, "next": next, "channels": channels or ("a",)}
    page.evaluate(CONNECT, {**given, **options})
    return page


def expired(logins: Logins) -> str:
    """An address that is no longer valid."""
    url = logins.server.get(SHORT)

    def gone() -> bool:
        return logins.server.request("GET", f"{url}&poll=1")[0] == 410

    until(gone)
    return url


@pytest.mark.parametrize("share", WAYS)
def test_a_page_gets_one_address_after_another_and_each_event_once(
    share: bool | str, logins: Logins, windows: Windows
) -> None:
    page = windows.open(f"{logins.server.url}/ping")
    connect(page, logins, SHORT, SHORT, "a", "b", share=share)
    is_open(page)
    count = 0
    while page.evaluate("asked.length") < 3:
        say(logins.server, "ab"[count % 2], count)
        count += 1
        page.wait_for_timeout(20)
    say(logins.server, "a", count)
    receives(page, *range(count + 1))
    assert page.evaluate("asked") == [None] * page.evaluate("asked.length"), "at once"


def test_a_page_that_slept_for_longer_than_its_address_was_valid_misses_nothing(
    logins: Logins, windows: Windows
) -> None:
    page = windows.open(f"{logins.server.url}/ping")
    position, url = logins.server.get("/position"), expired(logins)
    say(logins.server, "a", 1, 2)
    page.evaluate(CONNECT, {"url": url, "next": LONG, "channels": ["a"], "since": position})
    receives(page, 1, 2)
    assert page.evaluate("asked") == [410]


def test_a_page_that_gets_no_other_address_is_closed(
    logins: Logins, windows: Windows
) -> None:
    page = windows.open(f"{logins.server.url}/ping")
    url = logins.server.get(SHORT)
    logins.refuse(status=401)
    page.evaluate(CONNECT, {"url": url, "next": LONG, "channels": ["a"]})
    page.wait_for_function("push.state == 'closed' && push.reason.status == 410")
    page.wait_for_function("asked.length")
    page.wait_for_timeout(1000)
    asked = page.evaluate("asked.length")
    page.wait_for_timeout(1000)
    assert page.evaluate("asked.length") == asked, "it does not ask again and again"
    assert {*page.evaluate("received")} == {"Error: there is no new address"}


def test_a_page_asks_again_if_the_app_is_out_of_reach(
    logins: Logins, windows: Windows
) -> None:
    page = windows.open(f"{logins.server.url}/ping")
    logins.refuse(status=503)
    url = "/push/stream?signed=x"
    page.evaluate(CONNECT, {"url": url, "next": LONG, "channels": ["a"]})
    page.wait_for_function("asked.length > 2")
    logins.refuse()
    is_open(page)
    say(logins.server, "a", "there")
    page.wait_for_function("received.at(-1) == 'there'")
    assert {*page.evaluate("received")} == {
        "Error: no new address: the status is 503",
        "there",
    }


def test_an_address_that_is_refused_each_time_is_asked_for_less_and_less_often(
    logins: Logins, windows: Windows
) -> None:
    page = windows.open(f"{logins.server.url}/ping")
    url = expired(logins)
    page.evaluate("url => { window.fetch = async () => url }", url)
    page.evaluate(CONNECT, {"url": url, "next": "", "channels": ["a"], "base": 1000})
    page.wait_for_function("asked.length > 1")
    page.wait_for_timeout(1000)
    assert page.evaluate("asked.length") < 10
    page.evaluate("push.close()")
    asked = page.evaluate("asked.length")
    page.wait_for_timeout(500)
    assert page.evaluate("asked.length") - asked <= 1, "it has ended"
    assert page.evaluate("push.state") == "closed"


def test_a_page_that_was_closed_asks_no_more(logins: Logins, windows: Windows) -> None:
    page = windows.open(f"{logins.server.url}/ping")
    logins.refuse(status=503)
    url = "/push/stream?signed=x"
    page.evaluate(CONNECT, {"url": url, "next": LONG, "channels": ["a"], "cap": 100})
    page.wait_for_function("asked.length > 2")
    page.evaluate("push.close()")
    asked = page.evaluate("asked.length")
    page.wait_for_timeout(1500)
    assert page.evaluate("asked.length") - asked <= 1


def test_a_redirect_to_another_page_is_no_address(logins: Logins, windows: Windows) -> None:
    page = windows.open(f"{logins.server.url}/ping")
    page.evaluate("""() => {
        const answer = new Response("Log in!");
        Object.defineProperty(answer, "redirected", {value: true});
        window.fetch = async () => answer;
    }""")
    # push.js asks with the browser's own fetch why an EventSource was refused.
    page.evaluate(
        CONNECT, {"url": logins.server.get(SHORT), "next": LONG, "channels": ["a"]}
    )
    page.wait_for_function("received.length")
    assert page.evaluate("received") == ["Error: there is no new address"]


def test_a_page_that_was_disconnected_resumes_if_it_gets_another_address(
    logins: Logins, windows: Windows
) -> None:
    page = windows.open(f"{logins.server.url}/ping")
    connect(page, logins, LONG, LONG)
    page.evaluate("void push.on('disconnect', ({reason}) => received.push(reason))")
    is_open(page)
    say(logins.server, "a", 1)
    receives(page, 1)
    logins.disconnect(user="7")
    say(logins.server, "a", 2)
    receives(page, 1, "rights changed", 2)
    assert page.evaluate("asked") == [410]


def test_a_callback_that_was_removed_is_not_called(
    logins: Logins, windows: Windows
) -> None:
    page = windows.open(f"{logins.server.url}/ping")
    url = logins.server.get(SHORT)
    page.evaluate(
        f"given => ({CONNECT})(given).then(() => end())",
        {"url": url, "next": LONG, "channels": ["a"]},
    )
    page.wait_for_function("push.state == 'closed' && push.reason.status")
    assert page.evaluate("[push.reason.status, asked.length]") == [410, 0]


def test_an_eventsource_asks_no_more_when_its_address_has_expired(
    logins: Logins, windows: Windows
) -> None:
    page = windows.open(f"{logins.server.url}/ping")
    page.evaluate(
        """url => {
            window.received = [];
            window.source = new EventSource(url);
            for (const type of ["push:open", "push:expired", "error"])
                source.addEventListener(type, ({type}) => received.push(type));
        }""",
        logins.server.get(SHORT),
    )
    page.wait_for_function("source.readyState == EventSource.CLOSED")
    assert page.evaluate("received") == ["push:open", "push:expired", "error", "error"]


@pytest.mark.parametrize("transport", ["eventsource", "fetch"])
def test_a_page_of_another_origin_reads_it(
    transport: str, logins: Logins, windows: Windows
) -> None:
    page = windows.open(f"http://localhost:{logins.server.port}/ping")
    assert page.evaluate("origin") != logins.server.url
    page.context.add_cookies([{"name": "x", "value": "y", "url": logins.server.url}])
    connect(page, logins, f"{SHORT}&external=1", f"{LONG}&external=1", transport=transport)
    is_open(page)
    say(logins.server, "a", 1)
    receives(page, 1)
    page.wait_for_function("asked.length")
    say(logins.server, "a", 2)
    receives(page, 1, 2)


def test_an_eventsource_that_is_a_script_resumes_from_another_origin(
    logins: Logins, windows: Windows, tmp_path: Path
) -> None:
    """It sends a header for which browsers ask the server first."""
    page = windows.open(f"http://localhost:{logins.server.port}/ping")
    page.evaluate(
        """async url => {
            const {PushEventSource} = await import("/push/extras.js");
            window.received = [];
            window.opened = 0;
            window.source = new PushEventSource(url);
            source.addEventListener("push:open", () => opened++);
            source.onmessage = ({data}) => received.push(JSON.parse(data));
        }""",
        logins.server.get(f"{LONG}&external=1"),
    )
    page.wait_for_function("opened == 1")
    say(logins.server, "a", 1)
    receives(page, 1)
    kill_hubs(tmp_path)
    page.wait_for_function("opened == 2")
    say(logins.server, "a", 2)
    receives(page, 1, 2)


def test_an_element_gets_another_address(logins: Logins, windows: Windows) -> None:
    page = windows.open(f"{logins.server.url}/ping")
    page.evaluate(
        """async ([url, next]) => {
            await import("/push/signed.js");
            await import("/push/element.js");
            window.received = [];
            document.addEventListener("message", ({detail}) => received.push(detail.data));
            const fail = ({detail}) => received.push(String(detail.error));
            document.addEventListener("push:error", fail);
            window.asked = 0;
            const ask = window.fetch;
            window.fetch = (...given) => (asked++, ask(...given));
            window.element = document.createElement("push-source");
            element.setAttribute("src", url);
            element.setAttribute("renew", next);
            element.setAttribute("channels", "a");
            document.body.append(element);
        }""",
        [logins.server.get(SHORT), SHORT],
    )
    page.wait_for_function("element.getAttribute('state') == 'open'")
    count = 0
    while page.evaluate("asked") < 2:
        say(logins.server, "a", count)
        count += 1
        page.wait_for_timeout(50)
    receives(page, *range(count))
