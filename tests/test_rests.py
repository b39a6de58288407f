"""What slow readers keep, each frame counted once."""

from __future__ import annotations

from flask_push._channel import ChannelSet
from flask_push._channel import Subscription
from flask_push._rests import Rests


def reader(rest: bytes | memoryview = b"") -> Subscription:
    reader = Subscription()
    reader.enter(ChannelSet(()))
    reader.rest = rest
    return reader


def test_a_frame_counts_once_for_all_who_are_in_it() -> None:
    rests, frame = Rests(), bytes(1000)
    readers = [reader(memoryview(frame)[n:]) for n in range(1, 4)]
    for one in [*readers, *readers]:
        rests.note(one)
    assert rests.size == 1000
    assert repr(rests) == "<Rests [3 readers, 1 frames]>"
    for one in readers:
        assert rests.size == 1000
        rests.forget(one)
        rests.forget(one)
    assert rests.size == 0
    assert repr(rests) == "<Rests [0 readers, 0 frames]>"


def test_a_reader_keeps_one_frame_at_a_time() -> None:
    rests, one = Rests(), reader()
    rests.note(one)
    assert rests.size == 0
    for rest in b"opening", memoryview(b"a frame")[2:], memoryview(b"the next one")[1:]:
        one.rest = rest
        rests.note(one)
    assert rests.size == len(b"the next one")
    one.rest = b""
    rests.note(one)
    assert rests.size == 0


def test_who_is_in_one_frame_for_longest_is_stuck_if_all_are_too_many() -> None:
    rests = Rests()
    first, second = reader(bytes(100)), reader(bytes(200))
    rests.note(first)
    assert rests.stuck(0) is None, "one is always allowed"
    rests.note(second)
    rests.note(first)
    assert rests.stuck(300) is None
    assert rests.stuck(299) is first
    # It went on, to the next.
    first.rest = memoryview(bytes(101))[1:]
    rests.note(first)
    assert rests.stuck(299) is second
