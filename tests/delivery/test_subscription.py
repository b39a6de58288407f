"""Groups of readers that are given the same bytes."""

from __future__ import annotations

import base64
import os

from support.blocks import inflate

from flask_push._delivery import gzip as _gzip
from flask_push._delivery.channel import Frame
from flask_push._delivery.gzip import block
from flask_push._delivery.gzip import HEADER
from flask_push._delivery.gzip import shared_block
from flask_push._delivery.subscription import GzipGroup
from flask_push._delivery.subscription import ReaderGroup


def test_frames_for_many_readers_are_compressed_once() -> None:
    sets = [GzipGroup(()) for _ in range(3)]
    text = base64.b64encode(os.urandom(1000))
    found = [set.pack([(n, text)]) for n, set in enumerate(sets)]
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


def test_a_stream_of_plain_text_is_not_affected_by_gzip() -> None:
    group = ReaderGroup(())
    frames: list[Frame] = [(1, b"one"), (2, b"")]
    assert group.pack(frames) is frames and group.code(b"a") == b"a"
