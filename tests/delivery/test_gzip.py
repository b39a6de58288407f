"""Streams that are compressed, once for all of their readers."""

from __future__ import annotations

import base64
import collections.abc as cabc
import contextlib
import os
import random
import re
import signal
import subprocess
import typing as t
import zlib
from functools import partial
from pathlib import Path

import httpx
import pytest
import requests
from flask import Flask
from flask import Response
from support.asgi_servers import SERVERS as ASGI
from support.compressed import *  # noqa: F403
from support.hub_processes import replace
from support.nginx import granian
from support.nginx import nginx
from support.servers import gunicorn
from support.servers import hubs
from support.servers import program
from support.servers import Reader
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import the_hub
from support.servers import until

import flask_push
from flask_push import Event
from flask_push import Publisher
from flask_push import Push
from flask_push import sse
from flask_push._delivery import gzip as _gzip
from flask_push._delivery.channel import Frame
from flask_push._delivery.gzip import block
from flask_push._delivery.gzip import HEADER
from flask_push._delivery.gzip import shared_block
from flask_push._delivery.subscription import GzipGroup
from flask_push._delivery.subscription import ReaderGroup
from flask_push.testing import read_events

GZIP = {"Accept-Encoding": "gzip"}


def inflate(data: bytes) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(data)


# Blocks.


def test_any_block_may_follow_any_other() -> None:
    texts = [b"id: %d\ndata: %b\n\n" % (n, b"x" * n * 97) for n in range(30)]
    texts += [b"", b":\n", os.urandom(200_000), b"<li>" * 50_000]
    for _ in range(20):
        random.shuffle(texts)
        assert inflate(HEADER + b"".join(map(block, texts))) == b"".join(texts)


def test_a_block_is_read_before_the_next_is_there() -> None:
    reader = zlib.decompressobj(wbits=31)
    reader.decompress(HEADER)
    for text in b":\n", b"data: a\n\n", os.urandom(100_000):
        assert reader.decompress(block(text)) == text


@pytest.mark.parametrize("size", [0, 1, 100, 255, 256, 3000, 9000, 70_000])
def test_a_block_is_never_much_larger_than_what_is_in_it(size: int) -> None:
    assert len(block(os.urandom(size))) <= size + 11 + size // 100


def test_what_many_are_given_is_compressed_once() -> None:
    sets = [GzipGroup(()) for _ in range(3)]
    text = base64.b64encode(os.urandom(1000))
    found = [set.pack([(n, text)]) for n, set in enumerate(sets)]
    assert [number for ((number, _),) in found] == [0, 1, 2]
    assert len({id(frame) for ((_, frame),) in found}) == 1
    assert shared_block((text, b"b")) == block(text + b"b")


def test_of_long_blocks_one_is_kept() -> None:
    for n in range(40):
        for size in 1000, 300_000:
            text = bytes([n]) * size
            assert shared_block((text,)) == block(text)
    assert _gzip._short_block.cache_info().currsize <= 16
    assert _gzip._long_block.cache_info().currsize == 1


def unpacked(frames: list[Frame]) -> bytes:
    return inflate(HEADER + b"".join(frame for _, frame in frames))


def test_a_block_has_the_number_of_its_last_event() -> None:
    set = GzipGroup(())
    frames: list[Frame] = [(1, b"one"), (2, b"two"), (2, b""), (3, b"three")]
    ((number, packed),) = set.pack(frames)
    assert number == 3 and inflate(HEADER + packed) == b"onetwothree"
    # What has none is nobody's id.
    numbers = [(number, bool(frame)) for number, frame in set.pack([*frames, (9, b"")])]
    assert numbers == [(3, True), (9, False)]
    assert set.pack([(4, b""), (9, b"")]) == [(9, b"")]
    assert set.pack([]) == []


def test_a_block_is_bounded_and_no_event_is_cut() -> None:
    texts = [base64.b64encode(os.urandom(n)) for n in (30_000, 30_000, 9, 90_000, 9)]
    frames: list[Frame] = list(enumerate(texts))
    packed = GzipGroup(()).pack(frames)
    assert [number for number, _ in packed] == [1, 3, 4]
    assert unpacked(packed) == b"".join(texts)


def test_who_reads_plain_text_has_nothing_of_it() -> None:
    set = ReaderGroup(())
    frames: list[Frame] = [(1, b"one"), (2, b"")]
    assert set.pack(frames) is frames and set.code(b"a") == b"a"


# Who is sent it.


def make_app(**config: t.Any) -> Flask:
    app = Flask(__name__)
    app.testing = True
    app.config.update(config)
    push = Push(app)

    @app.get("/stream")
    def stream() -> Response:
        return push.stream("a")

    @app.get("/own")
    def own() -> Response:
        response = push.stream("a")
        response.headers["Content-Encoding"] = "identity"
        return response

    @app.get("/say")
    def say() -> str:
        return push.publish("a", "hi")

    return app


@pytest.mark.parametrize(
    ("accepted", "gzip"),
    [
        ("gzip, deflate, br, zstd", True),
        ("GZIP", True),
        ("*", True),
        ("br;q=1, gzip;q=0.1", True),
        (None, False),
        ("", False),
        ("identity", False),
        ("br", False),
        ("gzip;q=0", False),
        ("*, gzip;q=0", False),
        ("*;q=0", False),
    ],
)
def test_a_stream_is_compressed_for_who_takes_it_so(
    accepted: str | None, gzip: bool
) -> None:
    headers = {} if accepted is None else {"Accept-Encoding": accepted}
    client = make_app(PUSH_GZIP=True).test_client()
    for method in client.get, client.head:
        with method("/stream", headers=headers) as response:
            assert response.headers.get("Content-Encoding") == ("gzip" if gzip else None)
            assert response.headers["Vary"] == "Accept-Encoding"
            assert response.headers["Cache-Control"] == "no-store, no-transform"


def test_it_is_off_unless_it_is_asked_for() -> None:
    with make_app().test_client().get("/stream", headers=GZIP) as response:
        assert not {"Content-Encoding", "Vary"} & set(response.headers.keys())


def test_what_is_no_stream_or_a_short_one_is_left_alone() -> None:
    client = make_app(PUSH_GZIP=True).test_client()
    for path in "/stream?poll=1", "/own", "/say", "/none":
        with client.get(path, headers=GZIP) as response:
            assert response.headers.get("Content-Encoding") != "gzip"
            assert "Vary" not in response.headers
    with client.get("/stream?poll=1", headers=GZIP) as response:
        assert response.data.startswith(b":\nretry:")


def test_flasks_test_client_reads_it_as_it_reads_any() -> None:
    client = make_app(PUSH_GZIP=True).test_client()
    with client.get("/stream") as response:
        client.get("/say")
        assert [event.data for event in read_events(response, 1)] == ["hi"]


def test_who_is_told_to_come_back_can_read_it() -> None:
    app = make_app(PUSH_GZIP=True, PUSH_MAX_STREAMS=1)
    client = app.test_client()
    with client.get("/stream"), client.get("/stream", headers=GZIP) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert inflate(response.data).startswith(b":\nretry:")


@pytest.mark.parametrize("value", [1, "yes", None])
def test_it_is_a_matter_of_yes_or_no(value: t.Any) -> None:
    with pytest.raises(ValueError, match="PUSH_GZIP = .*: it has to be True or False"):
        make_app(PUSH_GZIP=value)


# On servers.


def readers_of_both(server: Server, *channels: str, **more: t.Any) -> list[Reader]:
    readers = [
        server.stream(*channels, headers=headers, **more).opened()
        for headers in (GZIP, {}, {"Accept-Encoding": "gzip;q=0.5, br"})
    ]
    assert [reader.gzips for reader in readers] == [True, False, True]
    return readers


def hear_the_same(server: Server, readers: list[Reader]) -> None:
    for n in range(20):
        server.publish("ab"[n % 2], f"{n} " + "<p>text</p>" * n)
        for reader in readers:
            assert reader.read_data(n + 1)[-1].startswith(f"{n} "), "at once"
    first = readers[0].data
    assert all(reader.data == first and not reader.gaps for reader in readers)


def test_who_reads_it_and_who_does_not_get_the_same(server: Server) -> None:
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


def test_who_finds_no_relay_can_read_when_to_come_back(tmp_path: Path) -> None:
    config: dict[str, t.Any] = {"PUSH_GZIP": True, "PUSH_RELAY_MAX": 0}
    with serve(gunicorn, tmp_path, app="apps.relayed", **config) as server:
        response = httpx.get(f"{server.url}/stream?channel=a")
        assert response.headers["content-encoding"] == "gzip"
        assert response.text.startswith(":\nretry:")


def test_who_comes_to_a_hub_that_refuses_can_read_when_to_come_back(
    server: Server, tmp_path: Path
) -> None:
    server.stream("a").opened()
    url = f"sqlite://{tmp_path}/other.db"
    with serve(gunicorn, tmp_path, PUSH_GZIP=True, PUSH_BROKER_URL=url) as other:
        refused = other.stream("a", headers=GZIP).read_to_end()
        assert refused.gzips
        assert re.fullmatch(rb":\nretry: \d+\n", refused.body)
        other.kill()


def hears(say: cabc.Callable[[str, str], str], chunks: cabc.Iterable[bytes]) -> None:
    """Each event comes before the next is published."""
    parser, heard = sse.Parser(), list[Event]()
    for chunk in chunks:
        events = parser.feed(chunk)
        heard += events
        if len(heard) == 10:
            break
        if events:
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


def test_nobody_loses_anything_when_the_hub_is_killed(
    server: Server, tmp_path: Path
) -> None:
    readers = readers_of_both(server, "a", "b")
    hear_the_same(server, readers)
    (pid,) = hubs(tmp_path)
    os.kill(pid, signal.SIGKILL)
    for reader in readers:
        reader.read_to_end()
    server.publish("a", "missed")
    for reader, headers in zip(readers, (GZIP, {}, GZIP), strict=True):
        again = server.stream("a", "b", last_id=reader.last_id, headers=headers)
        assert again.read_data(1) == ["missed"]


def test_another_hub_goes_on_with_half_a_block(server: Server, tmp_path: Path) -> None:
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
        # The connection ends, and it comes back for what it has missed.
        (pid,) = hubs(Path(server.env["INSTANCE"]))
        os.kill(pid, signal.SIGKILL)
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
