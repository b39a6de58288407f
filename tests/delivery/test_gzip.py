"""Streams that are compressed, once for all of their readers."""

from __future__ import annotations

import base64
import os
import random
import typing as t
import zlib

import pytest
from flask import Flask
from flask import Response
from support.encodings import GZIP
from support.gzips import inflate

from flask_push import Push
from flask_push._delivery import gzip as _gzip
from flask_push._delivery.channel import Frame
from flask_push._delivery.gzip import block
from flask_push._delivery.gzip import GzipGroup
from flask_push._delivery.gzip import HEADER
from flask_push._delivery.gzip import shared_block
from flask_push.testing import read_events

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


# Groups of compressed streams.


def test_frames_for_many_readers_are_compressed_once() -> None:
    groups = [GzipGroup(()) for _ in range(3)]
    text = base64.b64encode(os.urandom(1000))
    found = [group.pack([(n, text)]) for n, group in enumerate(groups)]
    assert [number for ((number, _),) in found] == [0, 1, 2]
    assert len({id(frame) for ((_, frame),) in found}) == 1
    assert shared_block((text, b"b")) == block(text + b"b")


def test_only_one_long_block_is_kept() -> None:
    for n in range(40):
        for size in 1000, 300_000:
            text = bytes([n]) * size
            assert shared_block((text,)) == block(text)
    assert _gzip._short_block.cache_info().currsize <= 16
    assert _gzip._long_block.cache_info().currsize == 1


def unpacked(frames: list[Frame]) -> bytes:
    return inflate(HEADER + b"".join(frame for _, frame in frames))


def test_a_block_has_the_number_of_its_last_event() -> None:
    group = GzipGroup(())
    frames: list[Frame] = [(1, b"one"), (2, b"two"), (2, b""), (3, b"three")]
    ((number, packed),) = group.pack(frames)
    assert number == 3 and inflate(HEADER + packed) == b"onetwothree"
    # A number without bytes is no event's id.
    numbers = [(number, bool(frame)) for number, frame in group.pack([*frames, (9, b"")])]
    assert numbers == [(3, True), (9, False)]
    assert group.pack([(4, b""), (9, b"")]) == [(9, b"")]
    assert group.pack([]) == []


def test_a_block_is_bounded_and_no_event_is_cut() -> None:
    texts = [base64.b64encode(os.urandom(n)) for n in (30_000, 30_000, 9, 90_000, 9)]
    frames: list[Frame] = list(enumerate(texts))
    packed = GzipGroup(()).pack(frames)
    assert [number for number, _ in packed] == [1, 3, 4]
    assert unpacked(packed) == b"".join(texts)


# Which streams are compressed.


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
def test_a_stream_is_compressed_for_a_client_that_accepts_gzip(
    accepted: str | None, gzip: bool
) -> None:
    headers = {} if accepted is None else {"Accept-Encoding": accepted}
    client = make_app(PUSH_GZIP=True).test_client()
    for method in client.get, client.head:
        with method("/stream", headers=headers) as response:
            assert response.headers.get("Content-Encoding") == ("gzip" if gzip else None)
            assert response.headers["Vary"] == "Accept-Encoding"
            assert response.headers["Cache-Control"] == "no-store, no-transform"


def test_compression_is_off_by_default() -> None:
    with make_app().test_client().get("/stream", headers=GZIP) as response:
        assert not {"Content-Encoding", "Vary"} & set(response.headers.keys())


def test_polls_and_other_responses_are_not_compressed() -> None:
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


def test_a_refused_client_of_gzip_can_read_retry() -> None:
    app = make_app(PUSH_GZIP=True, PUSH_MAX_STREAMS=1)
    client = app.test_client()
    with client.get("/stream"), client.get("/stream", headers=GZIP) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert inflate(response.data).startswith(b":\nretry:")


@pytest.mark.parametrize("value", [1, "yes", None])
def test_it_is_a_matter_of_yes_or_no(value: t.Any) -> None:
    with pytest.raises(ValueError, match="PUSH_GZIP = .*: it has to be True or False"):
        make_app(PUSH_GZIP=value)
