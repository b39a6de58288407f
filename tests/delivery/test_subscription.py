"""Groups of readers that get the same bytes."""

from __future__ import annotations

import pytest

from flask_push._delivery import wire
from flask_push._delivery.channel import Frame
from flask_push._delivery.channel import frame_of
from flask_push._delivery.subscription import ReaderGroup
from flask_push._delivery.subscription import Subscription


def test_a_stream_of_plain_text_is_not_affected_by_gzip() -> None:
    group = ReaderGroup(())
    frames: list[Frame] = [(1, b"one"), (2, b"")]
    assert group.pack(frames) is frames and group.code(b"a") == b"a"


def cut(number: int, frame: bytes, written: int) -> memoryview:
    """The rest of a reader that has got so many bytes of a frame."""
    sub = Subscription()
    sub.enter(ReaderGroup(()))
    sub.advance([(number, frame)], written)
    assert isinstance(sub.rest, memoryview) and sub.cursor == number
    return sub.rest


@pytest.mark.parametrize("size", [10, 5000])
def test_a_reader_that_is_cut_in_a_frame_of_an_item_keeps_its_exact_rest(size: int) -> None:
    tail = wire.item_tail("a", "i", "said", bytes(range(10, 60)) * (size // 50), 7, 2**20)
    for frame in wire.one_of_all("abcde-1", tail), wire.change("abcde-7", tail):
        for written in range(1, len(frame)):
            assert cut(7, frame, written) == frame[written:]
            # It goes on, and is cut again.
            rest = cut(7, frame, written)
            if written + 1 < len(frame):
                sub = Subscription()
                sub.enter(ReaderGroup(()))
                sub.rest = rest
                sub.advance([(7, rest)], 1)
                assert sub.rest == frame[written + 1 :]


def test_readers_with_other_positions_share_the_end_of_a_long_item() -> None:
    tail = wire.item_tail("a", "i", "message", b"x" * 100_000, 7, 2**20)
    rests = [cut(7, wire.one_of_all(f"abcde-{n}", tail), 100) for n in range(9)]
    rests.append(cut(7, wire.change("abcde-7", tail), 100))
    assert {id(frame_of(rest)) for rest in rests} == {id(tail)}
