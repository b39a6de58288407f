"""Answers to an EventSource, and the events that it makes of them."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import http.server
import socket
import sys
import threading
import typing as t
import urllib.parse

import pytest
from playwright.sync_api import Browser
from playwright.sync_api import Page

from flask_push._scripts import script
from support.browser import Windows

# A type, data and the last id.
Given = tuple[str, str, str]


def m(data: str, id: str = "", type: str = "message") -> Given:
    return type, data, id


# The bytes that are sent, and the events that are dispatched.
VECTORS: dict[str, tuple[bytes, list[Given]]] = {
    "a space after the colon is none of the data": (b"data: a\n\n", [m("a")]),
    "there may be no space": (b"data:a\n\n", [m("a")]),
    "exactly one space is taken": (b"data:  a\n\n", [m(" a")]),
    "a tab is no space": (b"data:\ta\n\n", [m("\ta")]),
    "lines of data are joined": (b"data: a\ndata:\ndata: b\n\n", [m("a\n\nb")]),
    "a field needs no colon": (b"data\n\ndata\ndata\n\ndata:\n", [m(""), m("\n")]),
    "data may begin with an empty line": (b"data:\ndata: x\n\n", [m("\nx")]),
    "lines end with LF, CR and CRLF": (
        b"data: a\r\n\r\ndata: b\r\rdata: c\n\ndata: d\r\ndata: e\r\n\ndata: f\r\n\r",
        [m("a"), m("b"), m("c"), m("d\ne"), m("f")],
    ),
    "a byte order mark is dropped": (b"\xef\xbb\xbfdata: a\n\n", [m("a")]),
    "and only one": (b"\xef\xbb\xbf\xef\xbb\xbfdata:1\n\ndata:2\n\n", [m("2")]),
    "elsewhere it is text": (b"data: \xef\xbb\xbfa\n\n", [m("\ufeffa")]),
    "comments are nothing": (b": c\n\n:\n:\0\ndata: 1\n: mid\ndata: 2\n\n", [m("1\n2")]),
    "a type is of one event": (
        b"event: x\ndata: a\n\ndata: b\n\nevent: x\n\ndata: c\n\n",
        [m("a", type="x"), m("b"), m("c")],
    ),
    "an empty type is none": (b"event: \ndata: a\n\n", [m("a")]),
    "the last type counts": (b"event: a\nevent: x\ndata: c\n\n", [m("c", type="x")]),
    "an id stays": (b"id: 1\ndata: a\n\ndata: b\n\n", [m("a", "1"), m("b", "1")]),
    "an empty id is one": (b"id: 1\ndata: a\n\nid\ndata: b\n\n", [m("a", "1"), m("b")]),
    "an id with NUL is none": (
        b"id: 1\ndata: a\n\nid: 2\0x\ndata: b\n\n",
        [m("a", "1"), m("b", "1")],
    ),
    "an id without data counts": (
        b"id: 1\ndata: a\n\nid: 2\n\ndata: b\n\n",
        [m("a", "1"), m("b", "2")],
    ),
    "other fields are nothing": (
        b"Data: a\nDATA: b\ndata : c\n data: d\nfoo: x\nfoo\ndata: ok\n\n",
        [m("ok")],
    ),
    "data may hold colons": (b"data: a:b: c\n\n", [m("a:b: c")]),
    "data may hold NUL": (b"data: \0\n\n", [m("\0")]),
    "no other character ends a line": (
        "data: a\u2028b\u0085c\x0bd\x0ce\n\n".encode(),
        [m("a\u2028b\u0085c\x0bd\x0ce")],
    ),
    "invalid UTF-8 is replaced": (b"data: \xff\n\n", [m("\ufffd")]),
    "a character may have several bytes": ("data: ä€😀\n\n".encode(), [m("ä€😀")]),
    "an event without an end is not received": (b"data: a\n\ndata: b\n", [m("a")]),
    "an event with half an end is not received": (b"data: a\n\nid: 9\ndata: b", [m("a")]),
    "empty lines are nothing": (b"\n\n\n\ndata: a\n\n", [m("a")]),
    "many events keep their order": (
        b"".join(b"data: %d\n\n" % n for n in range(100)),
        [m(str(n)) for n in range(100)],
    ),
    "a long line is whole": (b"data: " + b"x" * 200_000 + b"\n\n", [m("x" * 200_000)]),
    "the names of its own events are types": (
        b"event: open\ndata: o\n\nevent: error\ndata: e\n\n",
        [m("o", type="open"), m("e", type="error")],
    ),
}


Answer = cabc.Callable[["Script"], None]


class Script(http.server.BaseHTTPRequestHandler):
    """Answers as the test wants, and records the requests."""

    protocol_version = "HTTP/1.0"
    answers: t.ClassVar[dict[str, Answer]]
    asked: t.ClassVar[list[Script]]

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        if path in ("/push.js", "/extras.js"):
            return self.send(script(path[1:]).text.encode(), "text/javascript")
        if answer := self.answers.get(path):
            self.asked.append(self)
            return answer(self)
        self.send(b"<!doctype html>", "text/html; charset=utf-8")

    do_POST = do_OPTIONS = do_GET

    def head(self, code: int, type: str = "text/event-stream", **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", type)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send(self, body: bytes, type: str = "text/event-stream", **headers: str) -> None:
        self.head(200, type, **headers)
        self.wfile.write(body)

    def log_message(self, format: str, *args: t.Any) -> None:
        pass


class _Listener(http.server.ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, handler: type[Script]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.connections: list[socket.socket] = []
        self.listens = True

    def process_request(self, request: t.Any, client_address: t.Any) -> None:
        self.connections.append(request)
        if not self.listens:
            self.hang_up()
        super().process_request(request, client_address)

    def hang_up(self) -> None:
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.connections.clear()

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        # A browser that has disconnected is not an error.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Scripted:
    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[Script] = []
        members = {"answers": self.answers, "asked": self.asked}
        handler = type("Handler", (Script,), members)
        self._server = _Listener(handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def listen(self, whether: bool) -> None:
        """If not, close all connections, also those without a request."""
        self._server.listens = whether
        if not whether:
            self._server.hang_up()

    def ids(self) -> list[str | None]:
        return [one.headers["Last-Event-ID"] for one in self.asked]


@pytest.fixture
def scripted() -> cabc.Iterator[Scripted]:
    scripted = Scripted()
    yield scripted
    scripted.close()


@pytest.fixture
def page(browser: Browser, scripted: Scripted) -> cabc.Iterator[Page]:
    windows = Windows(browser)
    page = windows.open(scripted.url)
    page.evaluate("""async () => {
        const {PushEventSource} = await import("/extras.js");
        window.kinds = {PushEventSource, EventSource};
        window.received = [];
        window.begin = (kind, url, options) => {
            window.source = new kinds[kind](url, options);
            const own = ({type, data, target: {readyState}}) =>
                data ?? received.push(type == "open" ? type : `error ${readyState}`);
            source.onopen = source.onerror = own;
            for (const type of ["message", "x", "open", "error"])
                source.addEventListener(type, ({type, data, lastEventId}) => {
                    if (data != null) received.push([type, data, lastEventId]);
                });
        };
    }""")
    yield page
    page.evaluate("window.source?.close?.()")
    windows.close()
    # The browser's own EventSource logs in the console why it was closed.
    assert [said for said in windows.errors if "MIME type" not in said] == []


def begin(
    page: Page, kind: str = "PushEventSource", url: str = "/s", **options: t.Any
) -> None:
    args = [kind, url, options]
    page.evaluate("([kind, url, options]) => { begin(kind, url, options) }", args)


def received(page: Page, count: int) -> list[t.Any]:
    """Expect this many, and nothing more meanwhile."""
    page.wait_for_function("most => received.length >= most", arg=count)
    found: list[t.Any] = page.evaluate("received")
    return found


@pytest.fixture
def elsewhere() -> cabc.Iterator[Scripted]:
    """Another origin, which allows everything that a page sends."""
    elsewhere = Scripted()
    allowed = {
        "Access_Control_Allow_Origin": "*",
        "Access_Control_Allow_Headers": "Authorization, Last-Event-ID",
    }
    body = b"retry: 1\nid: 1\ndata: a\n\n"
    elsewhere.answers["/s"] = lambda asked: asked.send(body, **allowed)
    yield elsewhere
    # A browser may keep a connection open on which it requests nothing.
    elsewhere.listen(False)
    elsewhere.close()
