"""Streams that are compressed, on real servers and by real clients."""

from __future__ import annotations

import base64
import collections.abc as cabc
import contextlib
import os
import re
import subprocess
import typing as t
from functools import partial
from pathlib import Path

import httpx
import pytest
import requests
from support.asgi_servers import SERVERS as ASGI
from support.compressed import *  # noqa: F403
from support.encodings import GZIP
from support.hub_processes import replace
from support.nginx import granian
from support.nginx import nginx
from support.reader import events_in
from support.reader import HttpReader
from support.servers import gunicorn
from support.servers import hubs
from support.servers import kill_hubs
from support.servers import program
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import the_hub
from support.servers import until

import flask_push
from flask_push import Event
from flask_push import Publisher

# On servers.


def readers_of_both(server: Server, *channels: str, **more: t.Any) -> list[HttpReader]:
    readers = [
        server.stream(*channels, headers=headers, **more).opened()
        for headers in (GZIP, {}, {"Accept-Encoding": "gzip;q=0.5, br"})
    ]
    assert [reader.gzip for reader in readers] == [True, False, True]
    return readers


def hear_the_same(server: Server, readers: list[HttpReader]) -> None:
    for n in range(20):
        server.publish("ab"[n % 2], f"{n} " + "<p>text</p>" * n)
        for reader in readers:
            assert reader.read_data(n + 1)[-1].startswith(f"{n} "), "at once"
    first = readers[0].data
    assert all(reader.data == first and not reader.gaps for reader in readers)


def test_readers_of_gzip_and_of_plain_text_get_the_same_events(server: Server) -> None:
    readers = readers_of_both(server, "a", "b")
    hear_the_same(server, readers)
    # And what they have missed.
    again = readers_of_both(server, "a", "b", last_id=readers[0].events[5].id)
    for reader in again:
        assert reader.read_data(len(readers[0].data) - 5)[-1].startswith("19 ")


def test_without_a_socket_it_is_the_same(tmp_path: Path) -> None:
    more = ["--threads", "8"]
    with serve(gunicorn, tmp_path, *more, app="apps.relayed", PUSH_GZIP=True) as server:
        with httpx.stream("GET", f"{server.url}/stream?channel=a") as response:
            assert response.headers["content-encoding"] == "gzip"
            publisher = Publisher(f"sqlite://{tmp_path}/push-basic/push.db")
            hears(publisher.publish, response.iter_bytes())
            publisher.close()


def test_a_client_of_gzip_that_finds_no_relay_can_read_retry(tmp_path: Path) -> None:
    config: dict[str, t.Any] = {"PUSH_GZIP": True, "PUSH_RELAY_MAX": 0}
    with serve(gunicorn, tmp_path, app="apps.relayed", **config) as server:
        response = httpx.get(f"{server.url}/stream?channel=a")
        assert response.headers["content-encoding"] == "gzip"
        assert response.text.startswith(":\nretry:")


def test_a_client_of_gzip_that_the_hub_refuses_can_read_retry(
    server: Server, tmp_path: Path
) -> None:
    server.stream("a").opened()
    url = f"sqlite://{tmp_path}/other.db"
    with serve(gunicorn, tmp_path, PUSH_GZIP=True, PUSH_BROKER_URL=url) as other:
        refused = other.stream("a", headers=GZIP).read_to_end()
        assert refused.gzip
        assert re.fullmatch(rb":\nretry: \d+\n", refused.body)
        other.kill()


def hears(say: cabc.Callable[[str, str], str], chunks: cabc.Iterable[bytes]) -> None:
    """Each event comes before the next is published."""
    heard: list[Event] = []
    for event in events_in(chunks):
        heard.append(event)
        if len(heard) == 10:
            break
        say("a", str(len(heard)))
    assert [event.type for event in heard] == ["push:open", *["message"] * 9]
    assert [event.data for event in heard[1:]] == [str(n) for n in range(1, 10)]


@pytest.mark.parametrize("name", ASGI)
def test_on_asgi_it_is_the_same(name: str, tmp_path: Path) -> None:
    with serve(ASGI[name], tmp_path, app="apps.asgi", PUSH_GZIP=True) as server:
        with httpx.stream("GET", f"{server.url}/stream?channel=a") as response:
            assert response.headers["content-encoding"] == "gzip"
            hears(server.publish, response.iter_bytes())


def test_by_way_of_nginx_it_is_the_same(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        accel = serve(granian, tmp_path, PUSH_ACCEL="/_push/", PUSH_GZIP=True)
        front = nginx(tmp_path, stack.enter_context(accel))
        stack.callback(front.kill)
        url = f"{front.url}/stream?channel=a"
        for headers, coding in (GZIP, "gzip"), ({"Accept-Encoding": "br"}, None):
            response = stack.enter_context(httpx.stream("GET", url, headers=headers))
            assert response.headers.get("content-encoding") == coding
            assert response.headers["vary"] == "Cookie, Accept-Encoding"
            hears(front.publish, response.iter_bytes())


def test_no_reader_of_gzip_loses_an_event_when_the_hub_is_killed(
    server: Server, tmp_path: Path
) -> None:
    readers = readers_of_both(server, "a", "b")
    hear_the_same(server, readers)
    assert len(kill_hubs(tmp_path)) == 1
    for reader in readers:
        reader.read_to_end()
    server.publish("a", "missed")
    for reader, headers in zip(readers, (GZIP, {}, GZIP), strict=True):
        again = server.stream("a", "b", last_id=reader.last_id, headers=headers)
        assert again.read_data(1) == ["missed"]


def test_another_hub_continues_in_the_middle_of_a_block(
    server: Server, tmp_path: Path
) -> None:
    slow = [
        server.stream("a", headers=headers, receive_buffer=4096).opened()
        for headers in (GZIP, {})
    ]
    texts = [base64.b64encode(os.urandom(60_000)).decode() for _ in range(20)]
    server.publish("a", *texts)
    until(lambda: status(tmp_path)["behind"] == 2)
    (pid,) = hubs(tmp_path)
    replace(tmp_path)
    assert the_hub(tmp_path, but=pid)
    for reader in slow:
        assert reader.read_data(20) == texts and not reader.gaps


# Clients.


def test_flask_push_connect_reads_it_if_it_asks_for_it(server: Server) -> None:
    url = f"{server.url}/stream?channel=a"
    with flask_push.connect(url, headers=GZIP) as source, flask_push.connect(url) as plain:
        source.opened()
        plain.opened()
        for n in range(10):
            server.publish("a", str(n))
            assert next(source).data == next(plain).data == str(n)
        # The connection ends, and it reconnects for the event that it has missed.
        assert len(kill_hubs(Path(server.env["INSTANCE"]))) == 1
        server.publish("a", "missed")
        assert next(source).data == next(plain).data == "missed"


def test_curl_and_requests_read_it(server: Server) -> None:
    url = f"{server.url}/stream?channel=a"
    with requests.get(url, stream=True, timeout=20) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        hears(server.publish, response.iter_content(1))
    command = ["curl", "-sSN", "--compressed", url]
    with program(command) as process:
        assert process.stdout is not None
        hears(server.publish, iter(partial(os.read, process.stdout.fileno(), 65536), b""))


def test_a_stream_that_ends_is_no_error_to_curl(server: Server) -> None:
    url = f"{server.url}/stream?channel=a&lifetime=1"
    done = subprocess.run(["curl", "-sSN", "--compressed", url], capture_output=True)
    assert done.returncode == 0 and not done.stderr
    assert re.search(rb"\n\n(:\n)*retry: \d+\n\Z", done.stdout)
