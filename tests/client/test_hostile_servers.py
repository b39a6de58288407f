"""Servers that want to do harm meet what listens to streams: the client gives an error of
its documentation or goes on, and holds a bounded amount of memory."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import gzip
import socket
import threading
import time
import tracemalloc
import typing as t

import pytest
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
from support.gzips import flushed
from support.scripted import body
from support.scripted import hasty
from support.scripted import listen
from support.scripted import Scripted
from support.scripted import status
from support.scripted import STREAM
from support.servers import until

import flask_push
from flask_push import sse
from flask_push._doctor.browser import BrowserRequest
from flask_push.client import outcome
from flask_push.client import Refused
from flask_push.client.address import Address

__all__ = ["hasty"]


class Endless(Scripted):
    """Sends a beginning, then the same bytes until its client disconnects."""

    def __init__(self, first: bytes, unit: bytes, pause: float = 0) -> None:
        super().__init__()
        self.first, self.unit, self.pause = first, unit, pause
        self.sent = 0
        self.over = False

    def __enter__(self) -> Endless:
        super().__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.over = True
        super().__exit__()

    def _answer(self, sock: socket.socket) -> None:
        sock.settimeout(20)
        self.requests.append(sock.recv(65536).decode("latin-1"))
        sock.sendall(self.first)
        while not self.over and len(self.requests) == 1:
            sock.sendall(self.unit)
            self.sent += len(self.unit)
            if self.pause:
                time.sleep(self.pause)


ZIPPED = STREAM + b"Content-Encoding: gzip\r\n\r\n"
CHUNKED = STREAM + b"Transfer-Encoding: chunked\r\n\r\n"


@contextlib.contextmanager
def little_memory(most: int) -> cabc.Iterator[None]:
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < most


@contextlib.contextmanager
def reading(url: str, **options: t.Any) -> cabc.Iterator[flask_push.Source]:
    """A source that a thread reads, which ends here."""
    with flask_push.connect(url, **options) as source:
        thread = threading.Thread(target=lambda: list(source))
        thread.start()
        try:
            yield source
        finally:
            source.close()
            thread.join(20)
            assert not thread.is_alive()


# What is compressed.


def test_a_small_answer_with_many_events_is_read_piece_by_piece() -> None:
    bomb = flushed(b"data:ab\n\n" * 2**20)
    assert len(bomb) < 2**16
    with Scripted([ZIPPED, bomb, 20.0]) as server, little_memory(8 * 2**20):
        with flask_push.connect(server.url) as source:
            for _ in range(20_000):
                assert next(source).data == "ab"


def test_a_small_answer_without_events_can_be_closed() -> None:
    bomb = flushed(b"\n" * 2**26)
    assert len(bomb) < 2**17
    with Scripted([ZIPPED, bomb, 20.0]) as server:
        with reading(server.url) as source:
            until(lambda: source._answer is not None)


def test_a_small_answer_with_one_large_event_is_an_error() -> None:
    bomb = flushed(b"data:" + b"x" * 2**26)
    with Scripted([ZIPPED, bomb, 20.0]) as server, little_memory(50 * 2**20):
        with pytest.raises(sse.ParseError, match="larger than 16777216 bytes"):
            listen(server.url)


def test_the_end_of_the_compressed_body_is_the_end_of_the_stream(hasty: None) -> None:
    """A browser drops what follows. Here it is asked for again, and not lost."""
    first = gzip.compress(b"id: 1\ndata: a\n\n")
    with Endless(ZIPPED + first, b"x" * 65536) as server, little_memory(8 * 2**20):
        with reading(server.url) as source:
            until(lambda: len(server.requests) > 1)
            assert source.last_id == server.header(1, "Last-Event-ID") == "1"


@pytest.mark.parametrize("name", ["gzip", "GZIP", "x-gzip", "X-Gzip, Identity"])
def test_compression_has_the_names_of_rfc_9110(name: str, hasty: None) -> None:
    head = STREAM + f"Content-Encoding: {name}\r\n\r\n".encode()
    with Scripted([head, flushed(b"data: a\n\n")]) as server:
        assert listen(server.url) == [("message", "a", "")]


# Heads and chunks.


@pytest.mark.parametrize(
    ("first", "unit"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        (b"", b"x" * 1000),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        (b"HTTP/1.1 200 OK\r\nA: ", b"x" * 1000),
        (b"HTTP/1.1 302 F\r\nLocation: /", b"x" * 1000),
        (CHUNKED + b"5;", b"x" * 1000),
        (CHUNKED, b"0" * 1000),
        (CHUNKED + b"0\r\n", b"A: b\r\n"),
        (CHUNKED, b"3\r\n:\n"),
    ],
)
def test_an_answer_without_an_end_is_dropped_and_requested_again(
    first: bytes, unit: bytes, hasty: None
) -> None:
    with Endless(first, unit) as server, little_memory(2 * 2**20):
        with reading(server.url):
            until(lambda: len(server.requests) > 1)
    # What the kernel holds was sent too.
    assert server.sent < 16 * 2**20


def test_a_head_that_arrives_byte_by_byte_is_dropped(
    hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes in time; the head as a whole never does."""
    with Endless(b"HTTP/1.1 200 OK\r\nA: ", b"x", pause=0.02) as server:
        with reading(server.url, heartbeat=0.3):
            until(lambda: len(server.requests) > 1)
    assert server.sent < 60_000


def test_interim_answers_are_not_taken_for_a_refusal() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
    with Scripted([hints, STREAM + b"\r\n", b"data: a\n\n", 20.0]) as server:
        with flask_push.connect(server.url) as source:
            assert next(source).data == "a"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 \x1b[2J\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: \x1b[2J\r\n\r\n",
        STREAM + b"Content-Encoding: \x1b[2J\r\n\r\n",
        b"HTTP/1.1 301 M\r\nLocation: /\x1b[2J\r\n\r\n",
    ],
)
def test_text_from_a_server_is_escaped_before_it_is_printed(answer: bytes) -> None:
    with Scripted(*[[answer]] * 20) as server:
        with pytest.raises(Refused) as caught:
            listen(server.url)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1000


# Redirects.


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:x/",
        "http://a..b/",
        "http://" + "a" * 300 + "/",
        "http://[bad/",
        "http://a b/",
        "http://\x1b[2J/",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "//me:secret@127.0.0.1/",
    ],
)
def test_a_redirect_to_an_invalid_address_is_refused(location: str) -> None:
    with Scripted([status(302, f"Location: {location}")]) as server:
        with pytest.raises(Refused) as caught:
            listen(server.url)
        assert caught.value.status == 302
        assert "secret" not in str(caught.value)
        assert str(caught.value).isprintable()


def test_headers_are_not_sent_by_way_of_a_redirect_of_another_server() -> None:
    with Scripted() as other, Scripted() as server:
        server.answers = [[status(301, f"Location: {other.url}")]]
        other.answers = [[status(302, f"Location: {server.url}/again")]]
        listen(server.url, headers={"Authorization": "secret", "Cookie": "a=b"})
        names = ("Authorization", "Cookie")
        told = [r.header(n, name) for r, n in ((other, 0), (server, 1)) for name in names]
        assert told == [None] * 4
        assert server.header(0, "Cookie") == "a=b"


# What stands in a stream.


@pytest.mark.parametrize(
    "data",
    [
        "[" * 100_000,
        '{"connection":' * 50_000,
        "9" * 100_000,
        '{"connection": "' + "x" * 1000 + '.y"}',
        '{"connection": "a b.c"}',
        '{"connection": ["a.b"]}',
        '"a.b"',
        "",
    ],
)
def test_a_connection_id_from_a_server_is_used_only_if_it_is_valid(
    data: str, hasty: None
) -> None:
    stream = f"event: push:open\ndata: {data}\n\ndata: a\n\n".encode()
    with Scripted(body(stream)) as server:
        assert listen(server.url) == [("message", "a", "")]
        assert server.requests[1].startswith("GET /stream HTTP/1.1\r\n")


def test_an_id_that_no_request_could_carry_is_an_error(hasty: None) -> None:
    stream = b"id: 1\ndata: a\n\nid: " + b"x" * 10_000 + b"\ndata: b\n\n"
    with Scripted(body(stream)) as server:
        source = flask_push.connect(server.url)
        assert next(source).data == "a"
        with pytest.raises(sse.ParseError, match="id has more than 8,192 bytes"):
            next(source)


def test_the_retry_of_a_server_is_obeyed_within_bounds() -> None:
    assert 0.5 <= outcome.pause_before(1, 0)
    for attempt in 1, 100:
        assert outcome.pause_before(attempt, 10.0**12) <= 3600


# Anything.


def named(*values: bytes) -> st.SearchStrategy[bytes]:
    return st.sampled_from(values) | st.binary(max_size=40)


STATUS = named(
    *(b"HTTP/1.1 200 OK", b"HTTP/1.1 302 x", b"HTTP/1.1 301 x", b"HTTP/1.1 503 x"),
    *(b"HTTP/1.1 100 x\r\n\r\nHTTP/1.1 200 x", b"HTTP/1.0 200", b"HTTP/1.1 307 x"),
    *(b"HTTP/1.1 404 \x1b[2J", b"HTTP/1.1 999 x", b"HTTP/2 200", b"ICY 200 OK"),
)
# No name that could be looked up: tests send no DNS queries.
LOCATION = named(
    *(b"/x", b"", b"//127.0.0.1:1/", b"http://127.0.0.1:99999/", b"http://[::", b"?"),
    *(b"http://a..b/", b"http://" + b"a" * 300, b"ftp://127.0.0.1/", b"http://u:p@h/"),
    *(b"http://127.0.0.1:1\xff/", b"\xff\xfe", b"/\r\n"),
).filter(lambda location: b"//" not in location or b"127.0.0.1" in location)
HEADER = st.one_of(
    st.just(b"Content-Type: text/event-stream"),
    LOCATION.map(lambda value: b"Location: " + value),
    named(b"chunked", b"Chunked", b"gzip").map(lambda v: b"Transfer-Encoding: " + v),
    named(b"0", b"5", b"-1", b"9" * 50).map(lambda value: b"Content-Length: " + value),
    named(b"gzip", b"x-gzip", b"br").map(lambda value: b"Content-Encoding: " + value),
    named(b"a=b", b"a=" + b"x" * 5000).map(lambda value: b"Set-Cookie: " + value),
    named(b"0", b"9" * 50, b"-1").map(lambda value: b"Retry-After: " + value),
    st.binary(max_size=60),
)
BODY = named(
    *(b"data: a\n\n", b"id: 1\ndata: b\n\n", b"id: a\0b\n\n", b"retry: 999999999999\n"),
    *(b"retry: -1\n", b"5\r\ndata:\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"-5\r\n"),
    *(flushed(b"data: c\n\n" * 9999), b"event: push:open\ndata: " + b"[" * 9999 + b"\n\n"),
    *(b"event: push:gap\ndata: {}\n\n", b"\xef\xbb\xbf", b"\r", b"\0"),
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    lines = [draw(STATUS), *draw(st.lists(HEADER, max_size=5)), b"", b""]
    return b"\r\n".join(lines) + b"".join(draw(st.lists(BODY, max_size=5)))


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(answers(), min_size=1, max_size=3))
def test_any_answer_of_a_server_raises_only_documented_errors(
    hasty: None, given: list[bytes]
) -> None:
    with Scripted(*([answer] for answer in given)) as server:
        with flask_push.connect(server.url, headers={"X": "y"}) as source:
            with contextlib.suppress(Refused, sse.ParseError):
                for event in source:
                    assert isinstance(event, flask_push.Event)


@settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(answers())
def test_the_doctor_reads_whatever_a_server_answers(given: bytes) -> None:
    with Scripted([given]) as server, BrowserRequest(Address(server.url)) as visit:
        until(lambda: visit.read(lambda: False, 0.2) or visit.ended)
        assert bool(visit.status or visit.why)


@pytest.mark.parametrize("type", ["message", "push:x"])
def test_the_doctor_keeps_only_a_bounded_part_of_a_stream(type: str) -> None:
    """Of events that are not ours, the beginning; of ours, 16 MiB."""
    event = f"event: {type}\ndata: {'x' * 9999}\n\n"
    bomb = flushed(event.encode() * 5000)
    with Scripted([ZIPPED, bomb, 20.0]) as server, little_memory(24 * 2**20):
        with BrowserRequest(Address(server.url)) as visit:
            until(lambda: visit.read(lambda: len(visit.events) == 5000, 1) or visit.ended)
            held = sum(len(event.data) for event in visit.events)
    assert visit.ended == (type == "push:x")
    assert held < (17 * 2**20 if visit.ended else 5000 * 101)
