"""What the scripts return and publish, read as values."""

from __future__ import annotations

import contextlib
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_push import Event
from flask_push._event import Entry
from flask_push._event import Proof
from flask_push.brokers import OwnEntry
from flask_push.brokers import OwnPage
from flask_push.brokers.redis import replies
from flask_push.brokers.redis.calls import Runs

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
types = texts.filter(lambda text: text != "" and "\0" not in text)
names = st.none() | st.from_regex(r"[\w-]{1,20}", fullmatch=True)
events = st.lists(
    st.builds(Event, st.just("a"), texts, types, exclude=names), min_size=1, max_size=5
)


def bodies(events: list[Event]) -> list[bytes]:
    """What the scripts are given of them, and put behind their numbers."""
    return [arg for arg in Runs(events).args if isinstance(arg, bytes)]


def expected(event: Event, number: int, prev: int | None) -> Entry:
    data, exclude = event.data.encode(), event.exclude or ""
    return Entry(number, prev, event.channel, event.type, data, exclude)


@given(events)
def test_published_events_are_read_as_they_were_made(events: list[Event]) -> None:
    epoch, found = replies.published("a", b"abcde:7:3:" + b"".join(bodies(events)))
    assert epoch == "abcde"
    assert found == [
        expected(event, 7 + n, 6 + n if n else 3) for n, event in enumerate(events)
    ]


@given(events)
def test_events_that_are_not_stored_have_no_predecessor(events: list[Event]) -> None:
    _, found = replies.published("a", b"abcde:7::" + b"".join(bodies(events)))
    assert found == [expected(event, 7, None) for event in events]


@given(st.binary(max_size=40) | st.text(":-_01 \0é", max_size=40).map(str.encode))
def test_what_other_programs_publish_is_a_value_error_or_entries(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        _, found = replies.published("a", data)
        assert found and all(isinstance(entry, Entry) for entry in found)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"junk", b"abcde:7:3:", b"abcde:x:3:1:1:ab", b"abcde:7:y:1:1:ab"),
        *(b"\xff:7:3:1:1:ab", b"abcde:7:3:1:1:\xffb", b"abcde:7:3:1:ab"),
    ],
)
def test_a_published_message_without_an_event_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        replies.published("a", data)


@given(st.binary(max_size=40))
def test_an_entry_of_an_own_log_is_read_as_it_was_published(data: bytes) -> None:
    epoch, entry, prev = replies.own_pushed(b"abcde:7:3:" + data)
    assert (epoch, entry, prev) == ("abcde", OwnEntry(7, data), 3)
    reply = [b"abcde", b"9", b"3", [b"7:" + data], b"9", b"1"]
    page = OwnPage("abcde", 3, 9, [entry])
    assert replies.own_page(reply) == (page, True)
    reply[4] = b"11"
    assert replies.own_page(reply) == (page, False)


@pytest.mark.parametrize("data", [b"", b"abcde:7:3", b"abcde:x:3:", b"a:7::", b"\xff:7:3:"])
def test_what_is_no_entry_of_an_own_log_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        replies.own_pushed(data)


@pytest.mark.parametrize(
    ("end", "floor", "birth", "retention"),
    [
        # Nothing was forgotten since the store began.
        (1000, 10, 10, 600),
        # Events up to the floor were forgotten.
        (1000, 900, 10, 100),
        (1000, 100, 10, 600),
    ],
)
def test_positions_are_resumed_within_the_age_and_what_is_held(
    end: int, floor: int, birth: int, retention: int
) -> None:
    reply: list[t.Any] = [b"abcde", *(b"%d" % n for n in (end, floor, birth, 600))]
    assert replies.Head.of(reply) == ("abcde", end, retention)


def page_reply(events: list[Event], reach: int) -> list[t.Any]:
    """As read.lua returns it: each event is on the second of two channels."""
    records = [b"%d:%d:%b" % (7 + n, 6 + n, body) for n, body in enumerate(bodies(events))]
    pairs: list[t.Any] = [item for record in records for item in (2, record)]
    head = [b"abcde", b"99", b"1", b"1", b"600", b"5", b"%d" % reach]
    return [*head, [b"4", b"unknown", b"6", b"trimmed"], pairs]


@given(events)
def test_a_page_has_the_events_of_the_logs_and_a_proof_for_each_channel(
    events: list[Event],
) -> None:
    page = replies.page(page_reply(events, reach=50), ["b", "a"], None)
    assert (page.epoch, page.after, page.reach, page.end) == ("abcde", 5, 50, 99)
    found = [expected(event, 7 + n, 6 + n) for n, event in enumerate(events)]
    assert list(page.entries) == found
    assert page.proofs == {"b": Proof(4, "unknown"), "a": Proof(6, "trimmed")}
    assert replies.page(page_reply(events, 50), ["b", "a"], 6).after == 6


def test_a_reply_without_all_missed_events_is_none() -> None:
    events = [Event("a", "1")]
    assert replies.all_missed(page_reply(events, reach=0), ["b", "a"]) is None
    found = replies.all_missed(page_reply(events, reach=99), ["b", "a"])
    assert found == [expected(events[0], 7, 6)]
    assert replies.all_missed([*page_reply([], reach=99)[:8], []], ["b", "a"]) == []


def test_the_channels_to_prune_are_text() -> None:
    assert replies.channels_to_prune([b"abcde", ["ü".encode(), b"a"]]) == ["ü", "a"]
