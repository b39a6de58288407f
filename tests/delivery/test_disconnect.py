"""What a disconnect says, and which streams it names."""

from __future__ import annotations

import itertools
import json
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.disconnects import names

from flask_push._delivery import wire
from flask_push._delivery.disconnect import Disconnect
from flask_push._delivery.stream import Stream

STREAM = Stream(("a", "b"), "c", user="ann", session="s1")

Text = st.text(st.characters(exclude_categories=["Cs"]))
Selector = st.none() | Text.filter(bool)


@given(Selector, Selector, Selector, Text)
def test_a_disconnect_is_read_as_it_was_written(
    user: str | None, session: str | None, channel: str | None, reason: str
) -> None:
    said = Disconnect(user, session, channel, reason)
    if user or session or channel:
        assert Disconnect.from_bytes(said.to_bytes()) == said
    else:
        with pytest.raises(ValueError, match="it has none of user, session, channel"):
            Disconnect.from_bytes(said.to_bytes())


def test_the_fields_of_another_version_are_ignored() -> None:
    read = Disconnect.from_bytes(b'{"user": "ann", "device": "phone", "at": [1]}')
    assert read == Disconnect("ann")


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"\xff", b"ann", b"[]", b'"ann"', b"{}", b"null", b"[" * 60_000),
        *(b'{"user": 7}', b'{"user": "ann", "session": ["s1"]}', b'{"device": "phone"}'),
        *(b'{"user": ""}', b'{"user": "ann", "reason": null}', b'{"reason": "why"}'),
    ],
)
def test_a_disconnect_that_can_not_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        Disconnect.from_bytes(data)


def test_a_reason_that_another_program_has_stored_can_be_sent() -> None:
    read = Disconnect.from_bytes(rb'{"user": "ann", "reason": "\ud800 a\u0000b\n"}')
    sent = wire.disconnect(read.reason)
    assert sent == b'event: push:disconnect\ndata: {"reason":"? a\\u0000b\\n"}\n\n'


def test_a_stream_matches_if_all_selectors_that_are_given_fit() -> None:
    fits = {"user": "ann", "session": "s1", "channel": "b"}
    other = {"user": "bob", "session": "s2", "channel": "c"}
    for count in 1, 2, 3:
        for chosen in itertools.combinations(fits, count):
            given: dict[str, t.Any] = {name: fits[name] for name in chosen}
            assert names(Disconnect(**given), STREAM)
            for name in chosen:
                assert not names(Disconnect(**{**given, name: other[name]}), STREAM)


def test_a_stream_without_a_user_or_a_session_matches_none_that_is_named() -> None:
    plain = Stream(("a",), "c", session="")
    assert not names(Disconnect(user="ann"), plain)
    assert not names(Disconnect(session="s1"), plain)
    assert names(Disconnect(channel="a"), plain)


def test_a_stream_whose_session_an_older_version_dropped_matches_each_session() -> None:
    older = STREAM._replace(session=None)
    assert names(Disconnect(session="s9"), older)
    assert names(Disconnect(user="ann", session="s9"), older)
    assert not names(Disconnect(user="bob", session="s9"), older)


def test_a_disconnect_has_only_what_is_given() -> None:
    data = Disconnect(user="é", reason="gone").to_bytes()
    assert json.loads(data) == {"user": "é", "reason": "gone"}
