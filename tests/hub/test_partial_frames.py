"""What slow readers keep, each frame counted once."""

from __future__ import annotations

from flask_push._delivery.subscription import ReaderGroup
from flask_push._delivery.subscription import Subscription
from flask_push._hub.partial_frames import PartialFrames


def reader(rest: bytes | memoryview = b"") -> Subscription:
    reader = Subscription()
    reader.enter(ReaderGroup(()))
    reader.rest = rest
    return reader


def test_a_frame_counts_once_for_all_readers_in_it() -> None:
    frames, frame = PartialFrames(), bytes(1000)
    readers = [reader(memoryview(frame)[n:]) for n in range(1, 4)]
    for one in [*readers, *readers]:
        frames.note(one)
    assert frames.size == 1000
    assert repr(frames) == "<PartialFrames [3 readers, 1 frames]>"
    for one in readers:
        assert frames.size == 1000
        frames.forget(one)
        frames.forget(one)
    assert frames.size == 0
    assert repr(frames) == "<PartialFrames [0 readers, 0 frames]>"


def test_a_reader_keeps_one_frame_at_a_time() -> None:
    frames, one = PartialFrames(), reader()
    frames.note(one)
    assert frames.size == 0
    for rest in b"opening", memoryview(b"a frame")[2:], memoryview(b"the next one")[1:]:
        one.rest = rest
        frames.note(one)
    assert frames.size == len(b"the next one")
    one.rest = b""
    frames.note(one)
    assert frames.size == 0


def test_the_reader_that_is_in_its_frame_for_longest_is_ended_first() -> None:
    frames = PartialFrames()
    first, second = reader(bytes(200)), reader(bytes(201))
    frames.note(first)
    assert frames.stuck(0) == [], "one is always allowed"
    frames.note(second)
    frames.note(first)
    assert frames.stuck(401) == []
    assert frames.stuck(400) == [first]
    # It went on, to the next.
    first.rest = memoryview(bytes(202))[1:]
    frames.note(first)
    assert frames.stuck(400) == [second]


def test_readers_that_cost_much_are_ended_before_those_that_cost_little() -> None:
    frames, shared = PartialFrames(), bytes(10_000)
    small = [reader(bytes(100)) for _ in range(50)]
    many = [reader(memoryview(shared)[n:]) for n in range(1, 101)]
    large = [reader(bytes(5_000 + n)) for n in range(4)]
    for one in [*small, *many, *large]:
        frames.note(one)
    assert frames.size == 35_006
    assert frames.stuck(35_000) == large[:1]
    assert frames.stuck(34_000) == large[:2]
    assert frames.stuck(17_200) == large
    # Then those who are in a frame with others, and those in small ones.
    stuck = frames.stuck(6_000)
    assert stuck[:4] == large and {*stuck[4:]} <= {*small, *many}


def test_an_eighth_of_the_limit_is_made_free() -> None:
    frames = PartialFrames()
    readers = [reader(bytes(1000 + n % 2)) for n in range(100)]
    for one in readers:
        frames.note(one)
    assert frames.stuck(99_999) == readers[:13]
