"""Listening from Python: against servers that do what they are told, byte for byte, and
against ours."""

from __future__ import annotations

import collections.abc as cabc
import logging
import socket
import ssl
import threading
import typing as t
from pathlib import Path

import pytest
from support.certificates import make_certificate
from support.late_sockets import LateSocket
from support.scripted import Answer
from support.scripted import body
from support.scripted import hasty as hasty
from support.scripted import listen
from support.scripted import Scripted
from support.scripted import status
from support.scripted import STREAM
from support.servers import free_port
from support.servers import gunicorn
from support.servers import serve
from support.servers import until
from support.sse_vectors import chunkings
from support.sse_vectors import VECTORS

import flask_push
from flask_push import client
from flask_push import sse
from flask_push.client import Refused
from flask_push.client import Source


def chunked(chunks: cabc.Iterable[bytes]) -> Answer:
    """A stream whose bytes are read in these pieces, and in no others."""
    head = STREAM + b"Transfer-Encoding: chunked\r\n\r\n"
    pieces = (b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk)
    return [head + b"".join(pieces) + b"0\r\n\r\n"]


# The format.


@pytest.mark.parametrize("name", VECTORS)
def test_each_vector_is_read_however_it_is_cut(name: str, hasty: None) -> None:
    stream, expected = VECTORS[name]
    for chunks in list(chunkings(stream))[:6]:
        with Scripted(chunked(chunks)) as server:
            assert listen(server.url) == expected, chunks
    with Scripted(body(stream)) as server:
        assert listen(server.url) == expected


def test_five_megabytes_are_one_event(hasty: None) -> None:
    text = b"x" * (5 * 2**20)
    with Scripted(body(b"data: " + text + b"\n\n")) as server:
        ((_, data, _),) = listen(server.url)
    assert data.encode() == text


def test_an_event_that_is_too_large_is_an_error_and_not_requested_again(
    hasty: None,
) -> None:
    stream = [b"data: first\n\ndata: ", *[b"x" * 2**20] * 17]
    with Scripted(body(*stream)) as server:
        source = flask_push.connect(server.url)
        assert next(source).data == "first"
        with pytest.raises(sse.ParseError):
            next(source)
        assert list(source) == []
        assert len(server.requests) == 1


# The request.


def test_a_request_is_like_that_of_a_browser(hasty: None) -> None:
    with Scripted() as server:
        headers = {"Cookie": "a=b", "User-Agent": "mine"}
        url = f"{server.url}/é?a=b c&x=%20#part"
        listen(url, headers=headers, channels=["a&b", "ü"], last_id="1.ü")
        assert server.requests[0].startswith(
            "GET /stream/%C3%A9?a=b%20c&x=%20&channel=a%26b&channel=%C3%BC HTTP/1.1\r\n"
        )
        assert server.header(0, "Accept") == "text/event-stream"
        assert server.header(0, "Cache-Control") == "no-cache"
        assert server.header(0, "Cookie") == "a=b"
        assert server.header(0, "User-Agent") == "mine"
        assert server.header(0, "Accept-Encoding") == "identity"
        last_id = server.header(0, "Last-Event-ID")
        assert last_id is not None and last_id.encode("latin-1").decode() == "1.ü"


@pytest.mark.parametrize(
    "options",
    [
        {"url": "ftp://127.0.0.1/"},
        {"url": "/stream"},
        {"url": "http:///stream"},
        {"url": "http://me:secret@127.0.0.1/"},
        {"last_id": "1\r\nX: y"},
        {"headers": {"X": "a\nb"}},
        {"heartbeat": -1},
        {"heartbeat": float("nan")},
    ],
)
def test_invalid_arguments_of_connect_are_errors_at_once(options: dict[str, t.Any]) -> None:
    with pytest.raises(ValueError):
        flask_push.connect(**{"url": "http://127.0.0.1/", **options})


# Coming back.


@pytest.mark.parametrize(
    ("stream", "last_id"),
    [
        (b"data: a\n\n", None),
        (b"id: 1\ndata: a\n\n", "1"),
        (b"id: 1\ndata: a\n\nid: 2\n\n", "2"),
        (b"id: 1\ndata: a\n\nid: 2\ndata: lost", "1"),
        (b"id: 1\ndata: a\n\nid\ndata: b\n\n", None),
        (b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n", "1"),
    ],
)
def test_a_client_reconnects_with_the_last_id(
    stream: bytes, last_id: str | None, hasty: None
) -> None:
    with Scripted(body(stream), body(b"data: next\n\n")) as server:
        given = listen(server.url)
        assert given[-1] == ("message", "next", last_id or "")
        assert server.header(0, "Last-Event-ID") is None
        assert server.header(1, "Last-Event-ID") == last_id


def test_an_id_of_any_characters_is_sent_back_as_it_was(hasty: None) -> None:
    with Scripted(body("id: …ü\ndata: a\n\n".encode())) as server:
        listen(server.url)
        last_id = server.header(1, "Last-Event-ID")
        assert last_id is not None and last_id.encode("latin-1").decode() == "…ü"


def test_half_an_event_is_dropped_when_the_connection_is_lost(hasty: None) -> None:
    half = b"id: 1\ndata: a\n\nid: 2\nevent: x\ndata: ha"
    cut: Answer = [STREAM + b"Transfer-Encoding: chunked\r\n\r\nff\r\n" + half]
    with Scripted(cut, body(half), body(b"data: whole\n\n")) as server:
        assert listen(server.url) == [
            *[("message", "a", "1")] * 2,
            ("message", "whole", "1"),
        ]


def test_a_client_retries_until_the_server_is_back(
    hasty: None, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    found: list[tuple[str, str, str]] = []
    url = f"http://127.0.0.1:{port}/"
    thread = threading.Thread(target=lambda: found.extend(listen(url)))
    thread.start()
    until(lambda: caplog.records)
    with Scripted(body(b"data: a\n\n"), port=port):
        thread.join(20)
    assert found == [("message", "a", "")]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert f"Could not read <Source {url}: away>, and retries: " in caplog.text


# Reconnecting.


def test_a_client_waits_for_the_retry_of_the_server() -> None:
    wish = body(b"retry: 700\n")
    with Scripted(wish, [status(503, "Retry-After: 1")], wish) as server:
        assert listen(server.url) == []
        pauses = [b - a for a, b in zip(server.ended, server.times[1:], strict=False)]
    # A little less, for the clocks of the two ends are read at other moments.
    assert [pause > least for pause, least in zip(pauses, (0.65, 0.95, 0.65), strict=True)]
    assert all(pause > 0.65 for pause in pauses) and pauses[1] > 0.95


def test_a_connection_without_heartbeats_counts_as_lost(
    hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_CONNECT_SECONDS", 1000.0)
    silent: Answer = [STREAM + b"\r\n", b"id: 1\ndata: a\n\n", 1000.0]
    headless: Answer = [1000.0]
    with Scripted(silent, headless, body(b"data: b\n\n")) as server:
        given = listen(server.url, heartbeat=0.2)
        assert given == [("message", "a", "1"), ("message", "b", "1")]
        assert server.header(2, "Last-Event-ID") == "1"


# Being sent elsewhere.


@pytest.mark.parametrize(
    ("code", "again"),
    [(301, False), (302, True), (303, True), (307, True), (308, False)],
)
def test_a_redirect_is_followed(code: int, again: bool, hasty: None) -> None:
    """The first address is requested again each time, unless the redirect is permanent."""
    moved = [status(code, "Location: /there?x=1")]
    stream = body(b"id: 1\ndata: a\n\n")
    with Scripted(moved, stream, *([moved] if again else []), stream) as server:
        listen(server.url, headers={"Cookie": "a=b"}, last_id="0")
        paths = [request.split()[1] for request in server.requests]
        first = "/stream" if again else "/there?x=1"
        assert paths[:3] == ["/stream", "/there?x=1", first]
        assert [server.header(n, "Cookie") for n in range(3)] == ["a=b"] * 3
        assert [server.header(n, "Last-Event-ID") for n in range(3)] == ["0", "0", "1"]


def test_headers_are_not_sent_to_the_target_of_a_redirect(hasty: None) -> None:
    with Scripted() as other, Scripted([status(302, f"Location: {other.url}")]) as server:
        listen(server.url, headers={"Authorization": "secret"})
        assert server.header(0, "Authorization") == "secret"
        assert other.header(0, "Authorization") is None


@pytest.mark.parametrize("location", ["/stream", "ftp://127.0.0.1/", "http://a:b@c/"])
def test_a_redirect_that_leads_nowhere_is_refused(location: str) -> None:
    with Scripted(*[[status(302, f"Location: {location}")]] * 20) as server:
        with pytest.raises(Refused):
            listen(server.url)
        assert len(server.times) <= 10


# Leaving.


@pytest.mark.parametrize("answer", [[STREAM + b"\r\n", 20.0], [20.0], [status(503)]])
def test_closing_a_source_from_another_thread_ends_the_iteration(answer: Answer) -> None:
    with Scripted(answer) as server:
        source = flask_push.connect(server.url)
        given: list[t.Any] = []
        thread = threading.Thread(target=lambda: given.extend(source))
        thread.start()
        until(lambda: server.requests)
        source.close()
        thread.join(20)
        assert not thread.is_alive() and given == []
        assert repr(source) == f"<Source {server.url}: closed>"


def test_events_that_were_not_returned_are_received_again(hasty: None) -> None:
    three = b"id: 1\ndata: a\n\nid: 2\ndata: b\n\nid: 3\ndata: c\n\n"
    with Scripted(body(three)) as server:
        with flask_push.connect(server.url) as source:
            assert source.last_id == ""
            for event in source:
                if event.data == "b":
                    break
            assert source.last_id == "2"
        assert list(source) == []
    with Scripted() as server:
        listen(server.url, last_id=source.last_id)
        assert server.header(0, "Last-Event-ID") == "2"


# Our own streams.


def test_a_gap_is_returned_and_other_events_of_flask_push_are_not(hasty: None) -> None:
    stream = (
        b'id: aaaaa-1\nevent: push:open\ndata: {"connection":"x.y","channels":["a"]}\n\n'
        b'id: aaaaa-2\nevent: push:gap\ndata: {"channels":["a"]}\n\n'
        b"id: aaaaa-3.a\nevent: push:doctor\ndata: \n\n"
    )
    with Scripted(body(stream)) as server:
        source = flask_push.connect(server.url)
        assert source.connection == ""
        assert source.opened() is source
        assert source.connection == "x.y"
        assert [(e.type, e.data) for e in source] == [("push:gap", '{"channels":["a"]}')]
        assert server.header(1, "Last-Event-ID") == "aaaaa-3.a"


def test_a_client_reconnects_after_a_disconnect_and_gets_a_refusal(hasty: None) -> None:
    ended = b'event: push:disconnect\ndata: {"reason":"logged out"}\n\nretry: 1\n'
    begun = b'id: aaaaa-1\nevent: push:open\ndata: {"connection":"x.y"}\n\n'
    refusal = [b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"]
    said = begun + b"id: aaaaa-2.a\ndata: 1\n\n" + ended
    with Scripted(body(ended), body(said), refusal) as server:
        # The first answer has no stream yet.
        source = flask_push.connect(server.url).opened()
        assert source.connection == "x.y"
        assert next(source).data == "1"
        with pytest.raises(Refused) as caught:
            next(source)
        assert caught.value.status == 401
        assert server.header(2, "Last-Event-ID") == "aaaaa-2.a"


def test_no_event_is_lost_or_repeated_while_the_server_is_killed_and_restarted(
    tmp_path: Path,
) -> None:
    """Streams end each half second, and the server is killed with its hub and restarted."""
    total = 60
    with serve(gunicorn, tmp_path, PUSH_RETRY=0.5) as server:
        url = f"{server.url}/stream?lifetime=0.5"
        source: Source = flask_push.connect(url, channels=["a", "b"]).opened()
        given: list[flask_push.Event] = []

        def take() -> None:
            for event in source:
                given.append(event)
                if event.data == str(total - 1):
                    break

        thread = threading.Thread(target=take)
        thread.start()
        for number in range(total):
            if number == total // 2:
                until(lambda: len(given) > 5)
                server.kill_without_readers()
                server.start()
            server.publish("ab"[number % 2], str(number))
        thread.join(60)
        source.close()
        assert [event.data for event in given] == [str(n) for n in range(total)]
        assert [event.channel for event in given] == ["a", "b"] * (total // 2)


def test_a_client_stays_excluded_after_a_reconnect(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, PUSH_RETRY=0.5) as server:
        url = f"{server.url}/stream?channel=a&lifetime=0.5"
        with flask_push.connect(url) as source, flask_push.connect(url) as other:
            called = source.opened().connection
            other.opened()
            server.publish("a", "0", exclude=called)
            server.publish("a", "1")
            assert next(source).data == "1"
            before = source._socket
            thread = threading.Thread(target=lambda: next(source))
            thread.start()
            until(lambda: source._socket not in (None, before))
            server.publish("a", "2", exclude=source.connection)
            server.publish("a", "3", exclude=other.connection)
            thread.join(20)
            assert source.connection == called
            server.publish("a", "4")
            assert next(source).data == "4"
            assert [next(other).data for _ in range(4)] == ["0", "1", "2", "4"]


def test_a_client_verifies_the_certificate(tmp_path: Path) -> None:
    make_certificate(tmp_path / "cert", tmp_path / "key")
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    stream: Answer = [STREAM + b"\r\n", b"data: a\n\n", 20.0]
    with Scripted(stream, context=served) as server:
        url = f"https://localhost:{server.port}/"
        with pytest.raises(Refused, match="The certificate of .* is not trusted"):
            listen(url)
        ours = ssl.create_default_context(cafile=str(tmp_path / "cert"))
        source = flask_push.connect(url, context=ours)
        assert next(source).data == "a"
        thread = threading.Thread(target=lambda: list(source))
        thread.start()
        source.close()
        thread.join(20)
        assert not thread.is_alive()


def test_what_was_there_in_time_is_read_by_a_busy_process() -> None:
    ours, theirs = socket.socketpair()
    source = client.connect("http://127.0.0.1:1/")
    with LateSocket.of(ours) as late, theirs:
        source._socket = late
        theirs.send(b"x")
        assert source._receive(20) == b"x"
    source._socket = None
    source.close()
