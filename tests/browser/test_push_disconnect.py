"""push.js and its element when the app ends their stream, in Chromium."""

from __future__ import annotations

import contextlib

import pytest
from support.browser import Windows
from support.push_js import hurry
from support.push_js import listen
from support.push_js import receives
from support.push_js import say
from support.push_js import Way
from support.push_js import WAYS
from support.push_js_disconnects import *  # noqa: F403
from support.push_js_disconnects import ENDED
from support.push_js_disconnects import Logins
from support.push_js_disconnects import note_disconnects
from support.servers import until


@pytest.mark.parametrize("transport", ["eventsource", "fetch"])
def test_a_page_that_polls_is_notified_and_refused(
    transport: str, logins: Logins, windows: Windows
) -> None:
    with contextlib.closing(Way(logins.server.port)) as way:
        page = hurry(windows.open(f"{way.url}/ping"), 10)
        page.evaluate("import('/push/push.js')")
        way.holds = True
        url = "/stream?user=7&session=one"
        listen(page, "a", url=url, share=False, silence=1000, transport=transport)
        note_disconnects(page)
        page.wait_for_function("push.state == 'open' && push.reason.polling")
        say(logins.server, "a", 1)
        receives(page, 1)
        # The login stays disconnected, although the view still grants the channel.
        logins.disconnect(session="one")
        say(logins.server, "a", "secret")
        page.wait_for_function("received.length > 1")
        logins.refuse(status=401)
        page.wait_for_function("push.state == 'closed' && push.reason.status == 401")
        assert {*page.evaluate("received")} == {1, ENDED}


@pytest.mark.parametrize("share", WAYS)
def test_a_page_may_leave_when_its_stream_is_disconnected(
    share: bool | str, logins: Logins, windows: Windows
) -> None:
    leaving, staying = logins.open(windows, share, "a")
    leaving.evaluate("void push.on('disconnect', () => location = '/ping?left')")
    logins.disconnect(user="7")
    say(logins.server, "a", 1)
    leaving.wait_for_function("location.search == '?left'")
    receives(staying, ENDED, 1)
    until(lambda: logins.status()["streams"] == 1)


def test_the_element_fires_an_event_when_its_stream_is_disconnected(
    logins: Logins, windows: Windows
) -> None:
    page = windows.open(f"{logins.server.url}/ping")
    page.evaluate("""async () => {
        await import("/push/element.js");
        window.received = [];
        document.addEventListener("push:disconnect",
            ({detail}) => received.push("disconnect " + detail.reason));
        document.addEventListener("message", ({detail}) => received.push(detail.data));
        window.element = document.createElement("push-source");
        element.setAttribute("src", "/stream?user=7");
        element.setAttribute("channels", "a");
        document.body.append(element);
    }""")
    page.wait_for_function("element.getAttribute('state') == 'open'")
    logins.disconnect(user="7")
    say(logins.server, "a", 1)
    receives(page, ENDED, 1)
    logins.refuse(status=403)
    logins.disconnect(user="7")
    page.wait_for_function("element.getAttribute('state') == 'closed'")
    assert page.evaluate("element.push.reason.status") == 403


def test_a_plain_eventsource_gets_the_event_and_ends_when_it_is_refused(
    logins: Logins, windows: Windows
) -> None:
    page = windows.open(f"{logins.server.url}/ping")
    page.evaluate("""() => {
        window.received = [];
        window.source = new EventSource("/stream?channel=a&user=7");
        const hear = ({data}) => received.push(JSON.parse(data));
        source.addEventListener("push:open", () => window.opened = true);
        source.addEventListener("push:disconnect", hear);
        source.onmessage = hear;
    }""")
    page.wait_for_function("window.opened")
    say(logins.server, "a", 1)
    receives(page, 1)
    logins.disconnect(user="7")
    say(logins.server, "a", 2)
    receives(page, 1, {"reason": "rights changed"}, 2)
    logins.refuse(status=401)
    logins.disconnect(user="7", reason="")
    page.wait_for_function("source.readyState == EventSource.CLOSED")
    receives(page, 1, {"reason": "rights changed"}, 2, {"reason": ""})
