"""Requests that no browser and no page of the app would send: none is answered as a failure
of the app, and nothing of them stays."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import re
import socket
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from support.asgi_servers import SERVERS
from support.nginx import nginx
from support.return_tickets import CONFIG
from support.servers import flask_run
from support.servers import gunicorn
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import until

#: In a header, a query and a path.
ODD = {
    "NUL": b"\0",
    "bytes": bytes(range(0x80, 0x100)),
    "UTF-8": "é€😀".encode(),
    "long": b"a" * 3000,
    "very long": b"a" * 60_000,
    "dots": b"." * 200,
    "an id": b"abcde-1.a",
    "an id with more": b"abcde-1." + b"a" * 3000,
    "a number below 0": b"abcde--1",
    "a large number": b"abcde-" + b"z" * 11,
    "JSON": b'{"a":[1]}',
    "a space and a tab": b"a \tb",
    "line breaks": b"a\r\nX-Theirs: 1",
    "base64": b"eyJhIjoxfQ.eyJhIjoxfQ",
}
ENCODINGS = ["gzip;q=nan", "gzip;q=1e999", "gzip;q=-1", "gzip;q=inf", "*", "*;q=0", ";,=,"]


def asked() -> cabc.Iterator[tuple[str, bytes, list[bytes]]]:
    """What is odd about a request, its target, and its headers."""
    for name, odd in ODD.items():
        bare = odd.replace(b"\r\n", b"%0d%0a")
        for sent in b"Last-Event-ID", b"Accept-Encoding", b"Origin", b"Authorization":
            yield f"{sent!r}: {name}", b"/stream?channel=a", [sent + b": " + bare]
        cookies = b"Cookie: session=%b; push_ticket=%b" % (bare, bare)
        yield f"cookies: {name}", b"/stream?channel=a", [cookies]
        quoted = quote_from_bytes(odd).encode()
        for word in "last_event_id", "connection", "channel", "poll", "visible", "last":
            target = b"/stream?channel=a&%b=%b" % (word.encode(), quoted)
            yield f"{word}: {name}", target, []
        yield f"path: {name}", b"/at/" + quoted, []
        raw = odd.replace(b" ", b"+").replace(b"\r\n", b"")
        yield f"query as it is: {name}", b"/stream?channel=a&x=" + raw, []
    for encoding in ENCODINGS:
        header = b"Accept-Encoding: " + encoding.encode()
        yield f"encoding: {encoding}", b"/stream?channel=a", [header]
    for count in 100, 101, 500:
        target = b"&".join(b"channel=%d" % n for n in range(count))
        yield f"{count} channels", b"/stream?" + target, []
    yield "one channel often", b"/stream?" + b"&".join([b"channel=a"] * 300), []
    yield "no names", b"/stream?channel=a&=&&%zz&channel=%e&%", []
    ids = [b"Last-Event-ID: %d" % n for n in range(20)]
    yield "many ids", b"/stream?channel=a", ids
    yield "for nginx only", b"/stream?channel=a", [b"X-Push-Return: 1"]


def answer(port: int, target: bytes, headers: list[bytes]) -> bytes:
    """The status, or nothing if the server has closed the connection."""
    lines = [b"GET %b HTTP/1.1" % target, b"Host: localhost", *headers, b"", b""]
    head = b""
    with socket.create_connection(("127.0.0.1", port), 20) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(b"\r\n".join(lines))
            while b"\r\n\r\n" not in head and (data := sock.recv(65536)):
                head += data
    return head[9:12]


def assert_all_is_well(server: Server, directory: Path) -> None:
    """Nothing of it has remained."""
    reader = server.stream("a").opened()
    until(lambda: status(directory)["streams"] == 1)
    assert status(directory)["channels"] == 1
    server.publish("a", "1")
    assert reader.read_data(1) == ["1"]


WAYS = {"flask run": flask_run, "gunicorn": gunicorn, **SERVERS}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_that_a_browser_sends_is_a_failure(way: str, tmp_path: Path) -> None:
    app = "apps.asgi" if way in SERVERS else "apps.basic"
    with serve(WAYS[way], tmp_path, app=app, PUSH_GZIP=True) as server:
        for name, target, headers in asked():
            found = answer(server.port, target, headers)
            assert found[:1] in (b"", b"2", b"3", b"4"), (name, found, server.log[-3000:])
        assert_all_is_well(server, tmp_path)
        assert not re.search("Traceback|Exception", server.log), server.log[-3000:]
        # Servers write down what is asked of them. We write nothing for each request.
        rest = re.sub('".*?"|GET .*', "", server.log)
        ours = [line for line in rest.splitlines() if re.search("[Ss]tream|hub", line)]
        assert len(ours) < 5, ours


def test_nothing_that_nginx_passes_on_is_a_failure(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, PUSH_RETURN_TICKET=60, PUSH_GZIP=True) as server:
        front = nginx(tmp_path, server, CONFIG)
        try:
            answer(front.port, b"/stream?channel=a", [])
            for name, target, headers in asked():
                found = answer(front.port, target, headers)
                assert found[:1] in (b"", b"2", b"3", b"4"), (name, found, server.log)
            assert_all_is_well(front, tmp_path)
            for log in server.log, (tmp_path / "push-basic" / "hub.log").read_text():
                assert not re.search("Traceback|Exception|error", log), log[-3000:]
        finally:
            front.kill()
