"""What other programs have published, until a bridge has stored it."""

from __future__ import annotations

import pytest

from flask_push._event import GAP
from flask_push.brokers import Bridge
from flask_push.brokers.redis import waiting
from flask_push.brokers.redis.waiting import source_of
from flask_push.brokers.redis.waiting import WaitingEvents

BRIDGE = Bridge("redis:news:all", "chat", "said")


def kinds(events: WaitingEvents) -> list[tuple[str, str]]:
    found = events.take()
    assert {event.channel for event in found} <= {"chat"}
    return [(event.type, event.data) for event in found]


def test_events_wait_in_the_order_in_which_they_were_published() -> None:
    events = WaitingEvents(BRIDGE, 100)
    assert not events
    for text in "1", "ü", "":
        events.add(text.encode())
    assert events
    assert kinds(events) == [("said", "1"), ("said", "ü"), ("said", "")]
    assert not events and kinds(events) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"x" * 101, "It has 101 bytes (PUSH_MAX_EVENT_BYTES)."),
        # A line break takes seven bytes of a stream.
        (b"\n" * 15, "It has 105 bytes (PUSH_MAX_EVENT_BYTES)."),
        (b"\xff", "can't decode byte 0xff"),
    ],
)
def test_what_can_not_be_an_event_is_a_gap(
    data: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    events = WaitingEvents(BRIDGE, 100)
    for each in b"1", data, data, b"2", data:
        events.add(each)
    # Two losses in a row are one gap.
    assert kinds(events) == [("said", "1"), (GAP, ""), ("said", "2"), (GAP, "")]
    (line,) = caplog.messages
    assert "published on news:all; readers get a gap: " in line and reason in line


def test_an_event_has_as_many_bytes_as_it_may() -> None:
    events = WaitingEvents(BRIDGE, 100)
    events.add(b"x" * 100)
    assert kinds(events) == [("said", "x" * 100)]


@pytest.mark.parametrize(
    ("limit", "most"), [("_MAX_WAITING", 5), ("_MAX_WAITING_BYTES", 49)]
)
def test_events_that_wait_are_bounded_and_the_others_are_a_gap(
    limit: str,
    most: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(waiting, limit, most)
    events = WaitingEvents(BRIDGE, 100)
    for _ in range(9):
        events.add(b"x" * 10)
    assert kinds(events) == [*[("said", "x" * 10)] * 5, (GAP, "")]
    assert "faster than it can be stored" in caplog.text
    # There is room again.
    events.add(b"then")
    assert kinds(events) == [("said", "then")]


@pytest.mark.parametrize(("limit", "most"), [("_BATCH", 4), ("_BATCH_BYTES", 40)])
def test_one_publish_has_a_bounded_number_of_events_and_bytes(
    limit: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, limit, most)
    events = WaitingEvents(BRIDGE, 100)
    for n in range(10):
        events.add(b"%010d" % n)
    sizes = []
    while events:
        sizes.append(len(events.take()))
    assert sizes == [4, 4, 2]


def test_cleared_events_leave_room_for_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_MAX_WAITING_BYTES", 10)
    events = WaitingEvents(BRIDGE, 100)
    events.add(b"x" * 20)
    events.clear()
    assert not events
    events.add(b"y")
    assert kinds(events) == [("said", "y")]


def test_the_source_of_a_bridge_is_the_channel_behind_the_scheme() -> None:
    assert source_of(BRIDGE) == "news:all"
