"""What slow readers keep, each frame counted once."""

from __future__ import annotations

from flask_push._delivery.subscription import ChannelSet
from flask_push._delivery.subscription import Subscription
from flask_push._hub.rests import Rests


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
    first, second = reader(bytes(200)), reader(bytes(201))
    rests.note(first)
    assert rests.stuck(0) == [], "one is always allowed"
    rests.note(second)
    rests.note(first)
    assert rests.stuck(401) == []
    assert rests.stuck(400) == [first]
    # It went on, to the next.
    first.rest = memoryview(bytes(202))[1:]
    rests.note(first)
    assert rests.stuck(400) == [second]


def test_who_costs_little_is_not_stuck_before_those_who_cost_much() -> None:
    rests, shared = Rests(), bytes(10_000)
    small = [reader(bytes(100)) for _ in range(50)]
    many = [reader(memoryview(shared)[n:]) for n in range(1, 101)]
    large = [reader(bytes(5_000 + n)) for n in range(4)]
    for one in [*small, *many, *large]:
        rests.note(one)
    assert rests.size == 35_006
    assert rests.stuck(35_000) == large[:1]
    assert rests.stuck(34_000) == large[:2]
    assert rests.stuck(17_200) == large
    # Then those who are in a frame with others, and those in small ones.
    stuck = rests.stuck(6_000)
    assert stuck[:4] == large and {*stuck[4:]} <= {*small, *many}


def test_so_much_is_made_free_that_it_lasts_for_a_while() -> None:
    rests = Rests()
    readers = [reader(bytes(1000 + n % 2)) for n in range(100)]
    for one in readers:
        rests.note(one)
    assert rests.stuck(99_999) == readers[:13]
