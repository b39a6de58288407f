"""What the doctor finds in a stream, behind proxies and from servers that misbehave."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import re
import shutil
from pathlib import Path

import pytest
from support.doctors import Ask
from support.doctors import ask as ask
from support.doctors import canned
from support.doctors import head
from support.doctors import ill
from support.doctors import impatient as impatient
from support.nginx import nginx
from support.servers import free_port
from support.servers import gunicorn
from support.servers import serve
from support.servers import Server

from flask_push import Position
from flask_push import Publisher
from flask_push._delivery import gzip
from flask_push._delivery import wire
from flask_push._doctor import stream as _doctor


@contextlib.contextmanager
def proxied(directory: Path, server: Server, *lines: str) -> cabc.Iterator[str]:
    """The URL of a stream behind nginx, which has these lines too."""
    more = " ".join(lines)
    config = f"location / {{ proxy_pass http://127.0.0.1:8000; {more} }}"
    front = nginx(directory, server, config)
    try:
        yield f"{front.url}/stream?channel=a"
    finally:
        front.kill()


ZIPPED = "gzip on; gzip_proxied any; gzip_types text/event-stream;"


IGNORED = "proxy_ignore_headers X-Accel-Buffering;"


# The way to it.


def test_nginx_that_buffers_is_named_with_its_directive(
    tmp_path: Path, ask: Ask, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(gunicorn, tmp_path) as server, proxied(tmp_path, server, IGNORED) as url:
        said = ask(url)
        assert said.wrong == ["buffered"] and said.code == 1
        assert "nginx" in said["proxy"].what
        assert said["buffered"].cures[0].startswith("proxy_buffering off;")
    # A server that has just begun may need longer for its first stream.
    monkeypatch.setattr(_doctor, "_ANSWER_SECONDS", 20.0)
    for line in IGNORED + " proxy_buffering off;", "":
        with serve(gunicorn, tmp_path) as server, proxied(tmp_path, server, line) as url:
            assert not ask("--quick", url).wrong, "the cure cures"


def test_nginx_that_compresses_and_buffers_is_found(
    tmp_path: Path, ask: Ask, impatient: None
) -> None:
    lines = IGNORED, ZIPPED
    with serve(gunicorn, tmp_path) as server, proxied(tmp_path, server, *lines) as url:
        assert ask(url).wrong == ["buffered"]
    # What comes in chunks is passed on by nginx, but not through its compressor.
    with serve(gunicorn, tmp_path, "--threads", "8", app="apps.relayed") as server:
        with proxied(tmp_path, server, "proxy_http_version 1.1;", *lines) as url:
            said = ask("--quick", url)
            assert "gzip" in said.wrong, said
            assert said["gzip"].cures[0].startswith("gzip off;")


def test_compression_that_holds_nothing_back_is_mentioned(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path) as server, proxied(tmp_path, server, ZIPPED) as url:
        said = ask("--quick", url)
        assert said.wrong == ["compressed"] and said.code == 0
        assert said["events"].level == said["resume"].level == "ok"


def test_a_stream_that_the_app_itself_compresses_is_not_a_problem(
    tmp_path: Path, ask: Ask
) -> None:
    with serve(gunicorn, tmp_path, PUSH_GZIP=True) as server:
        with proxied(tmp_path, server, ZIPPED) as url:
            for wrong, config in ([], {"PUSH_GZIP": True}), (["compressed"], {}):
                said = ask("--quick", url, **config)
                assert said.wrong == wrong and said.code == 0
                assert said["events"].level == said["resume"].level == "ok"


def test_a_timeout_below_the_heartbeat_is_found(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path, PUSH_HEARTBEAT=4) as server:
        server.stream("a").opened()
        with proxied(tmp_path, server, "proxy_read_timeout 2s;") as url:
            said = ask(url, PUSH_HEARTBEAT=4)
    assert said.wrong == ["cut"]
    assert said["cut"].cures[0] == "proxy_read_timeout 60s;"
    (silent,) = re.findall(r"cut after (\d\.\d) seconds", said["cut"].what)
    assert 2 <= float(silent) < 4


def test_a_proxy_that_removes_the_position_is_found(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path) as server:
        with proxied(tmp_path, server, "proxy_set_header Last-Event-ID '';") as url:
            said = ask("--quick", url)
    assert said.wrong == ["not-resumed"]
    assert (
        "proxy_set_header Last-Event-ID $http_last_event_id;" in said["not-resumed"].cures
    )


def test_nginx_that_cannot_reach_the_app_is_found(tmp_path: Path, ask: Ask) -> None:
    with serve(gunicorn, tmp_path) as server, proxied(tmp_path, server) as url:
        server.stop()
        said = ask(url)
    assert said.wrong == ["away"]
    assert "502" in said["away"].what
    assert said["away"].cures[0].startswith("error_page 502 503 504 = @later;")


def test_haproxy_that_delays_events_is_found(tmp_path: Path, ask: Ask) -> None:
    port = free_port()
    # It delays what comes in chunks, as a relay's does.
    with serve(gunicorn, tmp_path, "--threads", "8", app="apps.relayed") as server:
        # The first stream has to wait for the hub to begin.
        server.stream("a").opened()
        path = tmp_path / "haproxy.cfg"
        path.write_text(f"""
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen app
    bind 127.0.0.1:{port}
    server app 127.0.0.1:{server.port}
""")
        program = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        assert program, "haproxy is missing: tests/install haproxy"
        command = [program, "-db", "-f", str(path)]
        front = Server(command, port, tmp_path / "haproxy.log", {}, tmp_path)
        try:
            said = ask("--quick", f"{front.url}/stream?channel=a")
        finally:
            front.kill()
    assert said.wrong == ["relayed", "late"]
    assert "HAProxy: option http-no-delay" in said["late"].cures


HEAD = head("Cache-Control: no-store, no-transform")


HERE = Position("aaaaa", 9)


def test_a_stream_that_is_not_of_flask_push_is_found(ask: Ask) -> None:
    for body in b"data: x\n\n", b": hi\n\n":
        with canned(lambda _, body=body: HEAD + body) as it:  # type: ignore[misc]
            assert ill(ask(it.url, PUSH_BROKER_URL="memory:")) == ["foreign"]


@pytest.mark.parametrize(
    "data",
    [
        "",
        "nonsense",
        "[" * 100_000,
        "[]",
        "5",
        "{}",
        '{"channels": []}',
        '{"channels": "a"}',
        '{"channels": {"a": 1}}',
        '{"channels": [5]}',
        '{"channels": [""]}',
        '{"channels": ["\\ud800"]}',
        json.dumps({"channels": ["x" * 65]}),
        json.dumps({"channels": ["x"] * 10_001}),
    ],
)
def test_a_stream_whose_opening_is_invalid_is_not_of_flask_push(
    ask: Ask, data: str
) -> None:
    opening = f"id: aaaaa-9\nevent: push:open\ndata: {data}\n\n:\n".encode()
    with canned(lambda _: HEAD + opening) as it:
        assert ill(ask(it.url, PUSH_BROKER_URL="memory:")) == ["foreign"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (head("Content-Encoding: gzip") + b"nonsense", "it can't be decompressed: "),
        (head("Transfer-Encoding: chunked") + b"nonsense\r\n", "the size of a chunk is"),
        (HEAD + b"id: " + b"x" * 10_000 + b"\n\n", "id has more than 8,192 bytes"),
    ],
)
def test_an_unreadable_stream_is_found(ask: Ask, answer: bytes, why: str) -> None:
    with canned(lambda _: answer) as it:
        said = ask(it.url, PUSH_BROKER_URL="memory:")
    assert said.wrong[-1] == "unreadable" and why in said["unreadable"].what


@pytest.mark.parametrize("data", ["", "[" * 10_000, "5", "{}", '{"reason": {"a": 1}}'])
def test_reserved_events_with_invalid_data_do_not_stop_the_doctor(
    tmp_path: Path, ask: Ask, data: str, impatient: None
) -> None:
    url = f"sqlite://{tmp_path}/push.db"
    with contextlib.closing(Publisher(url)) as publisher:
        here = Position.parse(publisher.position())
    odd = "".join(f"event: push:{kind}\ndata: {data}\n\n" for kind in ("doctor", "gap"))
    answer = HEAD + wire.opening("x", ["a"], here) + odd.encode() + b":\n"
    with canned(lambda _: answer) as it:
        said = ask("--quick", it.url, PUSH_BROKER_URL=url)
    assert said.wrong == ["elsewhere", "unheard", "gap"]


@pytest.mark.parametrize("server", ["", "Server: Caddy\r\n", "Server: HAProxy\r\n"])
def test_a_stream_that_a_proxy_compresses_is_examined_to_the_end(
    ask: Ask, server: str
) -> None:
    stream = gzip.HEADER + gzip.block(wire.opening("x", ["a"], HERE) + b":\n")
    head = HEAD.replace(b"\r\n", f"\r\n{server}Content-Encoding: gzip\r\n".encode(), 1)
    with canned(lambda _: head + stream) as it:
        said = ask("--quick", it.url, PUSH_BROKER_URL="memory:")
    assert ill(said) == ["compressed"]
    assert any("encode { match header" in cure for cure in said["compressed"].cures) == (
        "HAProxy" not in server
    )


def test_wrong_headers_are_found(ask: Ask) -> None:
    stream = wire.opening("x", ["a"], HERE) + b"\n:\n"
    with canned(lambda _: head("Cache-Control: no-cache") + stream) as it:
        said = ask("--quick", it.url, PUSH_BROKER_URL="memory:")
    assert ill(said) == ["headers"]
    assert "no-store, no-transform" in said["headers"].what
    with canned(lambda _: head("Content-Length: 9") + b"data: x\n\n") as it:
        assert ill(ask(it.url, PUSH_BROKER_URL="memory:")) == ["length"]
    with canned(lambda _: HEAD.replace(b"stream", b"stream; charset=latin-1")) as it:
        assert ill(ask(it.url, PUSH_BROKER_URL="memory:")) == ["type"]


def test_text_from_a_server_is_escaped_in_findings(ask: Ask) -> None:
    with canned(lambda _: b"HTTP/1.1 200 OK\r\nContent-Type: \x1b[2J\r\n\r\n") as it:
        said = ask(it.url, PUSH_BROKER_URL="memory:")
    assert "\x1b" not in said["type"].what


def test_a_gap_right_after_a_reconnect_is_found(ask: Ask) -> None:
    def answer(request: bytes) -> bytes:
        if b"Last-Event-ID" not in request:
            return HEAD + wire.opening("x", ["a"], HERE) + b"\n:\n"
        gap = wire.gap(["a"], "trimmed", 0, HERE)
        return HEAD + wire.opening("x", ["a"], None) + gap + b"\n:\n"

    with canned(answer) as it:
        said = ask("--quick", it.url, PUSH_BROKER_URL="memory:")
    assert ill(said) == ["gap"] and "(trimmed)" in said["gap"].what


def test_events_that_are_not_delivered_are_found(
    tmp_path: Path, ask: Ask, impatient: None
) -> None:
    url = f"sqlite://{tmp_path}/push.db"
    publisher = Publisher(url)
    before = Position.parse(publisher.position())
    id = publisher.publish("a", "x").partition(".")[0]
    answer = HEAD + wire.opening("x", ["a"], before) + b"\n:\n"
    with canned(lambda _: answer) as it:
        said = ask("--quick", it.url, PUSH_BROKER_URL=url)
    publisher.close()
    assert said.wrong == ["elsewhere", "unheard", "wrong"]
    assert id in said["wrong"].what


def test_a_missing_heartbeat_is_found(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_doctor, "_GRACE", 0.2)
    with serve(gunicorn, tmp_path) as server:
        said = ask(f"{server.url}/stream?channel=a", PUSH_HEARTBEAT=0.5)
    assert said.wrong == ["no-heartbeat"]


def test_a_slow_first_byte_is_found(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_doctor, "_SLOW", -1.0)
    with serve(gunicorn, tmp_path) as server:
        assert ask("--quick", f"{server.url}/stream?channel=a").wrong == ["slow"]
