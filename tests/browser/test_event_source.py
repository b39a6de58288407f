"""Our EventSource, a script, reads and reconnects as HTML, 9.2, says. Where the browser's
own
does so too, the same tests run with that."""

from __future__ import annotations

import base64
import threading

import pytest
from playwright.sync_api import Page
from support.event_source_vectors import Answer
from support.event_source_vectors import begin
from support.event_source_vectors import elsewhere as elsewhere
from support.event_source_vectors import m
from support.event_source_vectors import page as page
from support.event_source_vectors import received
from support.event_source_vectors import Script
from support.event_source_vectors import Scripted
from support.event_source_vectors import scripted as scripted
from support.event_source_vectors import VECTORS
from support.servers import until

# Reading.

KINDS = ["PushEventSource", "EventSource"]


@pytest.mark.parametrize("kind", KINDS)
def test_streams_are_read_as_the_standard_says(
    kind: str, page: Page, scripted: Scripted
) -> None:
    for name, (sent, expected) in VECTORS.items():
        page.evaluate("source => { window.source?.close?.(); received.length = 0 }")
        scripted.answers["/s"] = lambda asked, sent=sent: asked.send(sent)  # type: ignore[misc]
        begin(page, kind)
        found = received(page, len(expected) + 2)
        assert found[:-1] == ["open", *map(list, expected)], name
        assert found[-1] == "error 0"


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_chunks_in_which_bytes_arrive_change_nothing(size: int, page: Page) -> None:
    page.evaluate(
        """size => {
        window.fetch = async url => {
            const bytes = Uint8Array.from(atob(url.split("#")[1]), c => c.charCodeAt(0));
            const parts = [];
            for (let n = 0; n < bytes.length; n += size)
                parts.push(bytes.slice(n, n + size));
            const body = new ReadableStream({
                pull(into) {
                    if (parts.length) into.enqueue(parts.shift());
                    else into.close();
                },
            });
            const headers = {"Content-Type": "text/event-stream"};
            const response = new Response(body, {headers});
            Object.defineProperty(response, "url", {value: location.href});
            return response;
        };
    }""",
        size,
    )
    for name, (sent, expected) in VECTORS.items():
        if len(sent) < 10_000:
            page.evaluate("source => { window.source?.close?.(); received.length = 0 }")
            begin(page, url="/s#" + base64.b64encode(sent).decode())
            found = received(page, len(expected) + 2)
            assert found[1:-1] == [*map(list, expected)], name


def test_an_event_is_dispatched_when_its_last_cr_arrives(
    page: Page, scripted: Scripted
) -> None:
    enough = threading.Event()

    def answer(asked: Script) -> None:
        asked.send(b"data: a\r\r")
        enough.wait(60)

    scripted.answers["/s"] = answer
    try:
        begin(page)
        assert received(page, 2) == ["open", list(m("a"))]
    finally:
        enough.set()


def test_an_event_that_never_ends_closes_the_event_source(
    page: Page, scripted: Scripted
) -> None:
    lines = [b"data: " + b"x" * 2**20 + b"\n"] * 24
    scripted.answers["/s"] = lambda asked: asked.send(b"data: a\n\n" + b"".join(lines))
    begin(page)
    assert received(page, 3) == ["open", list(m("a")), "error 2"]
    assert page.evaluate("source.message") == "an event is too long"
    page.evaluate("""async () => {
        const {connect} = await import("/push.js");
        window.push = connect("/s", {transport: "fetch", share: false});
        push.subscribe("a");
    }""")
    page.wait_for_function("push.state == 'closed' && push.reason.message")
    assert page.evaluate("push.reason.message") == "an event is too long"


# Connecting.


@pytest.mark.parametrize("kind", ["PushEventSource", "EventSource"])
def test_the_request_is_the_one_that_the_browser_would_send(
    kind: str, page: Page, scripted: Scripted
) -> None:
    scripted.answers["/s"] = lambda asked: asked.send(b"")
    begin(page, kind)
    received(page, 2)
    asked = scripted.asked[0]
    assert asked.command == "GET"
    assert asked.headers["Accept"] == "text/event-stream"
    assert asked.headers["Cache-Control"] == asked.headers["Pragma"] == "no-cache"
    assert asked.headers["Last-Event-ID"] is None


def test_the_request_can_have_other_headers_another_method_and_a_body(
    page: Page, scripted: Scripted
) -> None:
    bodies = []

    def answer(asked: Script) -> None:
        bodies.append(asked.rfile.read(int(asked.headers["Content-Length"])))
        asked.send(b"retry: 1\nid: 1\ndata: a\n\n")

    scripted.answers["/s"] = answer
    begin(page, headers={"X-Who": "me"}, method="POST", body="what")
    received(page, 6)
    first, again = scripted.asked[:2]
    assert [first.command, again.command, *bodies[:2]] == ["POST", "POST", b"what", b"what"]
    assert first.headers["X-Who"] == again.headers["X-Who"] == "me"
    assert again.headers["Last-Event-ID"] == "1"


@pytest.mark.parametrize("code", [302, 307])
@pytest.mark.parametrize("way", ["/s", "/s /moved"])
def test_headers_method_and_body_are_sent_only_to_the_origin_of_its_address(
    way: str, code: int, page: Page, scripted: Scripted, elsewhere: Scripted
) -> None:
    asks: list[tuple[str, str | None, bytes]] = []

    def redirect_to(url: str) -> Answer:
        def answer(asked: Script) -> None:
            body = asked.rfile.read(int(asked.headers["Content-Length"] or 0))
            asks.append((asked.command, asked.headers["Authorization"], body))
            asked.head(code, Location=url)

        return answer

    paths = way.split()
    urls = [scripted.url + path for path in paths[1:]] + [f"{elsewhere.url}/s"]
    for path, url in zip(paths, urls, strict=True):
        scripted.answers[path] = redirect_to(url)
    own = {"headers": {"Authorization": "mine"}, "method": "POST", "body": "mine too"}
    page.evaluate("own => begin('PushEventSource', '/s', own)", own)
    # Each reconnect begins at the first origin, which redirects to the other one.
    assert received(page, 6)[:6] == ["open", list(m("a", "1")), "error 0"] * 2
    page.evaluate("source.close()")
    assert asks.count(("POST", "mine", b"mine too")) >= 2
    assert set(asks) == {("POST", "mine", b"mine too"), ("GET", None, b"")}
    others = list(elsewhere.asked)
    assert {one.command for one in others} == {"GET", "OPTIONS"}
    for one in others:
        assert one.headers["Authorization"] is None
        assert one.headers["Content-Length"] is None
        # A preflight names the headers that would be sent.
        asks_for = one.headers.get("Access-Control-Request-Headers", "")
        assert "authorization" not in asks_for


@pytest.mark.parametrize("kind", ["PushEventSource", "EventSource"])
@pytest.mark.parametrize("code", [204, 205, 210, 299, 404, 410, 429, 503])
def test_another_status_closes_the_event_source(
    kind: str, code: int, page: Page, scripted: Scripted
) -> None:
    scripted.answers["/s"] = lambda asked: asked.head(code)
    begin(page, kind)
    assert received(page, 1) == ["error 2"]


TYPES = {
    "text/event-stream": True,
    "Text/Event-Stream": True,
    "text/event-stream;": True,
    "text/event-stream; charset=utf-8": True,
    "text/event-stream ;a=b": True,
    "text/event-stream-x": False,
    "text/x-event-stream": False,
    "text/plain": False,
}


@pytest.mark.parametrize("kind", ["PushEventSource", "EventSource"])
def test_another_content_type_closes_the_event_source(
    kind: str, page: Page, scripted: Scripted
) -> None:
    for type, opens in TYPES.items():
        page.evaluate("window.source?.close(); received.length = 0")
        scripted.answers["/s"] = lambda asked, type=type: asked.send(b"", type)  # type: ignore[misc]
        begin(page, kind)
        assert received(page, 1)[0] == ("open" if opens else "error 2"), type


@pytest.mark.parametrize("kind", ["PushEventSource", "EventSource"])
def test_the_event_source_reconnects_with_its_id_after_each_cut(
    kind: str, page: Page, scripted: Scripted
) -> None:
    bodies = [
        b"retry: 1\nid: \xe2\x82\xac1\ndata: a\n\nid: lost\ndata: b\n",
        b"data: c\n\n",
        b"id: 2\ndata: d\n\n",
        b"id\ndata: e\n\n",
        b"data: f\n\n",
    ]

    def answer(asked: Script) -> None:
        count = len(scripted.asked)
        if count > len(bodies):
            return asked.head(204)
        asked.send(bodies[count - 1])

    scripted.answers["/s"] = answer
    begin(page, kind)
    page.wait_for_function("received.at(-1) == 'error 2'")
    events = [one for one in page.evaluate("received") if isinstance(one, list)]
    assert [data for _, data, _ in events] == ["a", "c", "d", "e", "f"]
    assert [id for _, _, id in events] == ["€1", "€1", "2", "", ""]
    first, second, *rest = scripted.ids()
    assert first is None and second
    assert second.encode("latin-1").decode() == "€1"
    assert rest == [second, "2", None, None]
    order = [one for one in page.evaluate("received") if isinstance(one, str)]
    assert order == ["open", "error 0"] * 5 + ["error 2"]


RETRIES = {"1": True, "01": True, "1x": False, "-1": False, "1e0": False, "": False}


@pytest.mark.parametrize("text", RETRIES)
def test_retry_counts_only_if_it_is_digits(
    text: str, page: Page, scripted: Scripted
) -> None:
    # `retry` needs no blank line, and a later invalid one changes nothing.
    scripted.answers["/s"] = lambda asked: asked.send(f"retry: 7\nretry: {text}\n".encode())
    page.evaluate("""() => {
        const wait = setTimeout;
        window.waits = [];
        window.setTimeout = (callback, time) => waits.push(time) && wait(callback, time);
    }""")
    begin(page)
    page.wait_for_function("waits.length")
    assert page.evaluate("waits[0]") == (int(text) if RETRIES[text] else 7)


def does_not_reconnect(page: Page, scripted: Scripted) -> None:
    """Check that it sends no second request, while another event source with the same wait
    sends two."""
    scripted.answers["/other"] = lambda asked: asked.send(b"retry: 50\n")
    page.evaluate("""() => {
        const other = new kinds.PushEventSource("/other");
        let times = 0;
        other.onerror = () => ++times == 3 && received.push("other", other.close());
    }""")
    page.wait_for_function("received.includes('other')")
    assert [one.path for one in scripted.asked].count("/s") == 1


def test_a_retry_longer_than_timers_allow_causes_no_storm(
    page: Page, scripted: Scripted
) -> None:
    # A timer uses only the lowest 32 bits of the number.
    scripted.answers["/s"] = lambda asked: asked.send(b"retry: %d\n" % (2**32 + 1))
    begin(page)
    received(page, 2)
    does_not_reconnect(page, scripted)


def test_the_event_source_retries_until_a_server_is_there(
    page: Page, scripted: Scripted
) -> None:
    def answer(asked: Script) -> None:
        if len(scripted.asked) > 2:
            asked.send(b"data: a\n\n")

    scripted.answers["/s"] = answer
    page.evaluate("""() => {
        const wait = setTimeout;
        window.setTimeout = (callback, time) => wait(callback, time == 3000 ? 1 : time);
    }""")
    begin(page)
    assert received(page, 4)[:4] == ["error 0", "error 0", "open", list(m("a"))]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed_and_reconnects_go_to_their_target(
    code: int, page: Page, scripted: Scripted
) -> None:
    scripted.answers["/s"] = lambda asked: asked.head(code, Location="/moved")
    scripted.answers["/moved"] = lambda asked: asked.send(b"retry: 1\ndata: a\n\n")
    begin(page)
    received(page, 5)
    paths = [one.path for one in scripted.asked]
    assert paths[:3] == ["/s", "/moved", "/moved"]
    assert page.evaluate("source.url") == f"{scripted.url}/s"


def test_cookies_are_sent_to_another_origin_only_with_credentials(
    page: Page, scripted: Scripted
) -> None:
    other = scripted.url.replace("127.0.0.1", "localhost")
    page.context.add_cookies([{"name": "who", "value": "me", "url": other}])
    headers = {
        "Access_Control_Allow_Origin": scripted.url,
        "Access_Control_Allow_Credentials": "true",
    }
    scripted.answers["/s"] = lambda asked: asked.send(b"data: a\n\n", **headers)
    for given in False, True:
        page.evaluate("window.source?.close(); received.length = 0")
        begin(page, url=f"{other}/s", withCredentials=given)
        received(page, 2)
        assert page.evaluate("source.withCredentials") is given
    # Chromium blocks cookies of another site anyway; the request's mode shows the option.
    modes = [one.headers["Sec-Fetch-Mode"] for one in scripted.asked]
    assert set(modes) == {"cors"}


# The interface for a page.


@pytest.mark.parametrize("kind", ["PushEventSource", "EventSource"])
def test_the_class_has_the_interface_of_an_event_source(
    kind: str, page: Page, scripted: Scripted
) -> None:
    scripted.answers["/s"] = lambda asked: asked.send(b"data: a\n\n")
    assert page.evaluate(
        """kind => {
        begin(kind, "s?x=ü#part");
        const Kind = kinds[kind];
        const refused = (...given) => {
            try {
                new Kind(...given);
            } catch (error) {
                return error.name;
            }
        };
        const states = ["CONNECTING", "OPEN", "CLOSED"];
        source.onmessage = "no function";
        return {
            states: [Kind, source].map(has => states.map(name => has[name])),
            target: source instanceof EventTarget,
            on: [source.onmessage, typeof source.onopen],
            url: source.url,
            state: source.readyState,
            with: source.withCredentials,
            refused: [refused("http://["), refused()],
        };
    }""",
        kind,
    ) == {
        "states": [[0, 1, 2], [0, 1, 2]],
        "target": True,
        "on": [None, "function"],
        "url": f"{scripted.url}/s?x=%C3%BC#part",
        "state": 0,
        "with": False,
        "refused": ["SyntaxError", "TypeError"],
    }


@pytest.mark.parametrize("kind", ["PushEventSource", "EventSource"])
def test_events_have_their_origin(kind: str, page: Page, scripted: Scripted) -> None:
    scripted.answers["/s"] = lambda asked: asked.send(b"data: a\n\n")
    begin(page, kind)
    assert page.evaluate("""() => new Promise(done => source.onmessage = function (event) {
        const {origin, bubbles, cancelable, target} = event;
        const kind = event.constructor.name;
        done([kind, origin, bubbles, cancelable, target == source && this == source]);
    })""") == ["MessageEvent", scripted.url, False, False, True]


@pytest.mark.parametrize("kind", ["PushEventSource", "EventSource"])
def test_an_event_source_closed_by_a_listener_dispatches_nothing_more(
    kind: str, page: Page, scripted: Scripted
) -> None:
    left = threading.Event()

    def answer(asked: Script) -> None:
        asked.send(b"data: a\n\ndata: b\n\n")
        asked.rfile.read(1)
        left.set()

    scripted.answers["/s"] = answer
    begins = """kind => {
        begin(kind, "/s");
        source.addEventListener("message", () => source.close());
    }"""
    page.evaluate(begins, kind)
    until(left.is_set)
    assert received(page, 2) == ["open", list(m("a"))]
    assert page.evaluate("source.readyState") == 2
    page.evaluate("source.close()")


@pytest.mark.parametrize("how", ["at once", "later"])
def test_an_event_source_closed_while_it_waits_does_not_reconnect(
    how: str, page: Page, scripted: Scripted
) -> None:
    scripted.answers["/s"] = lambda asked: asked.send(b"retry: 50\n")
    page.evaluate(
        """how => {
            begin("PushEventSource", "/s");
            const close = () => source.close();
            source.addEventListener("error", () => {
                if (how == "at once") close();
                else setTimeout(close);
            });
        }""",
        how,
    )
    assert received(page, 2) == ["open", "error 0"]
    does_not_reconnect(page, scripted)


def test_a_worker_can_have_an_event_source(page: Page, scripted: Scripted) -> None:
    scripted.answers["/s"] = lambda asked: asked.send(b"data: a\n\n")
    assert (
        page.evaluate("""() => new Promise(done => {
        const text = `import {PushEventSource} from "${origin}/extras.js";
            new PushEventSource("${origin}/s").onmessage = ({data}) => postMessage(data)`;
        const url = URL.createObjectURL(new Blob([text], {type: "text/javascript"}));
        new Worker(url, {type: "module"}).onmessage = ({data}) => done(data);
    })""")
        == "a"
    )
