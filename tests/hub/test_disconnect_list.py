"""Which disconnects a hub knows of, and when it does not know all."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.disconnects import matches

from flask_push import Position
from flask_push._delivery.disconnect import Disconnect
from flask_push._delivery.stream import Stream
from flask_push._delivery.stream_presence import NOTHING
from flask_push._delivery.stream_presence import StreamPresence
from flask_push._hub import disconnect_list
from flask_push._hub.disconnect_list import DisconnectIndex
from flask_push._hub.disconnect_list import DisconnectList
from flask_push._hub.disconnect_list import Found
from flask_push.brokers import OwnEntry
from flask_push.brokers import OwnPage

some = st.none() | st.sampled_from("ab")
disconnects = st.builds(Disconnect, some, some, some).filter(lambda said: any(said[:3]))
channels = st.lists(st.sampled_from("ab"), max_size=1).map(tuple)
presence = st.just(NOTHING) | st.builds(
    StreamPresence,
    present=st.sampled_from([(), (("a", "1"),), (("b", "1"),)]),
    watch=channels,
    counted=channels,
)
streams = st.builds(
    lambda channels, user, session, presence: Stream(
        channels, "c", user=user, session=session, presence=presence
    ),
    st.lists(st.sampled_from("abc"), min_size=1, unique=True).map(tuple),
    some,
    st.none() | st.sampled_from(["", "a", "b"]),
    presence,
)


@given(st.lists(disconnects, max_size=12), streams, st.integers(0, 12))
def test_an_index_finds_the_newest_that_matches(
    said: list[Disconnect], stream: Stream, after: int
) -> None:
    index = DisconnectIndex()
    for number, each in enumerate(said, 1):
        index.add(number, each)
    numbers = [n for n, each in enumerate(said, 1) if n > after and matches(each, stream)]
    found = index.find(stream, after)
    assert (found and found.number) == (max(numbers) if numbers else None)
    assert len(index) == len({each[:3] for each in said})
    whole = [
        n
        for n, each in enumerate(said, 1)
        if stream.session and each.session and not each.channel and matches(each, stream)
    ]
    assert bool(index.session_of(stream)) == bool(whole)


@given(st.lists(disconnects, max_size=30), streams, st.integers(1, 5))
def test_a_bounded_index_keeps_the_newest(
    said: list[Disconnect], stream: Stream, most: int
) -> None:
    index, since = DisconnectIndex(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disconnect_list, "MAX_OWN_ENTRIES", most)
        for number, each in enumerate(said, 1):
            index.add(number, each)
            since = max(since, index.bound())
    assert len(index) <= most
    numbers = [n for n, each in enumerate(said, 1) if n > since and matches(each, stream)]
    found = index.find(stream, since)
    assert (found and found.number) == (max(numbers) if numbers else None)


def test_an_index_is_bounded_in_bytes_too() -> None:
    index, last = DisconnectIndex(), 0
    for number in range(1, 101):
        index.add(number, Disconnect(f"user {number:04}", reason="why" * 10_000))
        last = max(last, index.bound())
    assert last == 100 - len(index) and 30 <= len(index) <= 35
    assert index.find(Stream(("a",), "c", user="user 0100")) == (100, "why" * 10_000)
    assert index.find(Stream(("a",), "c", user="user 0001")) is None
    # The same again takes no more.
    for number in range(101, 201):
        index.add(number, Disconnect("user 0100", reason="why" * 10_000))
        assert not index.bound()


def page(
    since: int, end: int, *entries: tuple[int, Disconnect | bytes], epoch: str = "e"
) -> OwnPage:
    made = [
        OwnEntry(number, said if isinstance(said, bytes) else said.to_bytes())
        for number, said in entries
    ]
    return OwnPage(epoch, since, end, made)


ANN, BOB = Disconnect("ann"), Disconnect("bob", reason="why")


def of(user: str, **more: t.Any) -> Stream:
    return Stream(("a",), "c", user=user, session="", **more)


def test_a_hub_that_begins_knows_all_that_are_kept() -> None:
    known = DisconnectList()
    assert not known.known and repr(known) == "<DisconnectList, not read yet>"
    change = known.take(page(5, 9, (7, ANN), epoch="abcde"))
    assert change.doubt and len(change.new) == 1
    assert (known.known, known.epoch, known.since, known.end) == (True, "abcde", 5, 9)
    assert repr(known) == "<DisconnectList from abcde-5 to abcde-9 [1 disconnects]>"


def test_each_page_that_continues_the_list_is_certain() -> None:
    known = DisconnectList()
    known.take(page(5, 9, (7, ANN)))
    change = known.take(page(9, 12, (11, BOB)))
    assert not change.doubt
    assert change.new.find(of("bob")) == Found(11, "why")
    assert change.new.find(of("ann")) is None and known.index.find(of("ann"))
    # A page from the log's beginning has nothing that is new.
    change = known.take(page(5, 12, (7, ANN), (11, BOB)))
    assert not change.doubt and not len(change.new)
    assert (known.since, known.end) == (5, 12)


def test_a_page_that_begins_after_the_end_leaves_a_doubt() -> None:
    known = DisconnectList()
    known.take(page(0, 9, (7, ANN)))
    change = known.take(page(10, 12, (11, BOB)))
    assert change.doubt == "disconnects have expired that were not read"
    assert (known.since, known.end) == (10, 12)
    assert known.index.find(of("ann"))


def test_another_epoch_leaves_a_doubt_and_begins_a_new_list() -> None:
    known = DisconnectList()
    known.take(page(0, 9, (7, ANN)))
    change = known.take(page(2, 5, (3, BOB), epoch="f"))
    assert change.doubt == "the store began another epoch"
    assert (known.epoch, known.since, known.end) == ("f", 2, 5)
    assert known.index.find(of("bob")) and not known.index.find(of("ann"))


def test_a_successor_goes_on_where_its_predecessor_ended() -> None:
    entries = (7, ANN), (11, BOB)
    known = DisconnectList(Position("e", 9))
    assert not known.known
    change = known.take(page(9, 12, *entries))
    assert not change.doubt
    assert change.new.find(of("bob")) and not change.new.find(of("ann"))
    assert known.index.find(of("ann")) and known.since == 9
    assert DisconnectList(Position("e", 8)).take(page(9, 12, *entries)).doubt
    assert DisconnectList(Position("d", 9)).take(page(9, 12, *entries)).doubt


def test_a_disconnect_that_can_not_be_read_may_name_any_stream() -> None:
    known = DisconnectList()
    known.take(page(0, 9))
    change = known.take(page(9, 12, (10, ANN), (11, b"?"), (12, BOB)))
    assert change.doubt.startswith("disconnect e-B can't be read: ")
    assert known.since == 11 and known.end == 12
    assert change.new.find(of("bob")) and change.new.find(of("ann"))


def test_a_list_that_is_too_long_reaches_less_far_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(disconnect_list, "MAX_OWN_ENTRIES", 2)
    known = DisconnectList()
    known.take(page(0, 9, (1, ANN), (2, BOB)))
    assert known.since == 0
    change = known.take(page(9, 12, (10, Disconnect("cat"))))
    assert not change.doubt and known.since == 1 and len(known.index) == 2
