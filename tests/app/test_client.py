"""Listening from Python: against servers that do what they are told, byte for byte, and
against ours."""

from __future__ import annotations

import collections.abc as cabc
import json
import logging
import signal
import ssl
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripted import Answer
from support.scripted import body
from support.scripted import hasty as hasty
from support.scripted import listen
from support.scripted import Scripted
from support.scripted import status
from support.scripted import STREAM
from support.servers import free_port
from support.servers import gunicorn
from support.servers import program
from support.servers import serve
from support.servers import until
from support.sse_vectors import chunkings
from support.sse_vectors import VECTORS

import flask_push
from flask_push import client
from flask_push import sse
from flask_push.client import outcome
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


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [b"nonsense\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Ty"],
        [STREAM + b"Content-Length: 0\r\n\r\n"],
        [STREAM + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n"],
        [STREAM + b"Content-Encoding: gzip\r\n\r\nnonsense"],
        [b"HTTP/1.0 200 OK\r\ncontent-type: Text/Event-Stream;x=y;\r\n\r\n"],
        [STREAM + b"Content-Type: text/event-stream\r\n\r\n"],
        *([status(code)] for code in (408, 425, 429, 500, 502, 503, 504, 599)),
    ],
)
def test_a_temporary_status_is_retried(answer: Answer, hasty: None) -> None:
    with Scripted(answer, answer, body(b"data: a\n\n")) as server:
        assert listen(server.url) == [("message", "a", "")]
        assert len(server.times) == 4


@pytest.mark.parametrize("code", [201, 205, 304, 400, 401, 403, 404, 410, 422])
def test_a_final_status_raises_refused(code: int) -> None:
    with Scripted([status(code)]) as server:
        source = flask_push.connect(server.url)
        with pytest.raises(Refused, match=f"answers {code} Whatever") as caught:
            next(source)
        assert caught.value.status == code
        assert list(source) == []
        assert len(server.times) == 1


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("Content-Type: text/html", "is text/html, not a stream"),
        ("Content-Type: text/event-streams", "not a stream"),
        ("X-Type: none", "not a stream"),
        ("Content-Type: text/event-stream\r\nContent-Encoding: br", "compressed"),
    ],
)
def test_another_content_type_is_refused(header: str, why: str) -> None:
    with Scripted([status(200, header, body=b"data: a\n\n")]) as server:
        with pytest.raises(Refused, match=why):
            listen(server.url)


def test_the_status_204_ends_the_iteration() -> None:
    with Scripted([status(204, "Content-Type: text/event-stream")]) as server:
        assert listen(server.url) == []
        assert len(server.times) == 1


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


@given(st.floats(0, 1e12), st.integers(1, 10**6))
def test_pauses_grow_and_are_random(floor: float, attempt: int) -> None:
    bounded = min(max(floor, 0.5), 3600)
    longest = max(bounded, min(60, bounded * 2 ** min(attempt - 1, 20)))
    pauses = [outcome.pause_before(attempt, floor) for _ in range(20)]
    assert all(bounded <= pause <= longest for pause in pauses)
    if longest > bounded * 1.01:
        assert len(set(pauses)) > 1


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


def tail(*words: str) -> t.ContextManager[subprocess.Popen[str]]:
    flask = [sys.executable, "-m", "flask", "push", "tail"]
    return program([*flask, *words], stderr=subprocess.PIPE, text=True)


def test_tail_prints_events_until_it_is_interrupted(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path) as server:
        url = f"{server.url}/stream"
        first = server.publish("ü", "old")
        server.publish("ü", '{"n": 1}', type="said")
        words = [url, "--channel", "ü", "--channel", "b", "--last-id", first]
        with tail(*words) as plain, tail(*words, "--json") as exact:
            assert plain.stdout is not None and exact.stdout is not None
            assert plain.stdout.readline() == 'ü said {"n": 1}\n'
            assert json.loads(exact.stdout.readline())["type"] == "said"
            id = server.publish("b", "two\nlines")
            # In one line, or it would look like two events.
            assert plain.stdout.readline() == "b message two\\nlines\n"
            assert json.loads(exact.stdout.readline()) == {
                **{"id": id, "channel": "b"},
                **{"type": "message", "data": "two\nlines"},
            }
            for process in plain, exact:
                process.send_signal(signal.SIGINT)
                assert process.communicate(timeout=20) == ("", "")
                assert process.returncode == 0


@pytest.mark.parametrize(
    ("words", "status", "problem"),
    [
        (["{url}?status=403"], 1, "Error: {url}?status=403 answers 403 FORBIDDEN.\n"),
        (["{url}", "--header", "nonsense"], 2, "'nonsense' is not a header"),
        (["stream"], 2, "begins with http://"),
    ],
)
def test_tail_prints_the_reason_of_a_refusal(
    words: list[str], status: int, problem: str, tmp_path: Path
) -> None:
    with serve(gunicorn, tmp_path) as server:
        url = f"{server.url}/stream"
        with tail(*(word.format(url=url) for word in words)) as process:
            _, said = process.communicate(timeout=20)
        assert process.returncode == status
        assert problem.format(url=url) in said


def test_a_client_verifies_the_certificate(tmp_path: Path) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost"
    command += " -addext subjectAltName=DNS:localhost -keyout key -out cert"
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
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
