from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_push import _event
from flask_push._event import escape
from flask_push._event import OwnChannel
from flask_push._event import Position


def test_a_position_as_it_stands_in_an_id() -> None:
    position = Position.parse("kQ3fZ-8DnrojJJO.chat")
    assert position.epoch == "kQ3fZ"
    assert str(position) == "kQ3fZ-8DnrojJJO"


@given(st.integers(0, _event.MAX_NUMBER), st.integers(0, _event.MAX_NUMBER))
def test_positions_come_back_and_sort_as_their_numbers_do(a: int, b: int) -> None:
    assert Position.parse(f"epoch-{_event.base62(a)}").number == a
    first, second = (_event.base62(n).rjust(11, "0") for n in (a, b))
    assert (first < second) == (a < b)


@pytest.mark.parametrize(
    "id",
    [
        "",
        "1",
        "-",
        "epoch",
        "epoch-",
        "epoch-1-2",
        "epoc-1",
        "epochs-1",
        "epoch-zzzzzzzzzzz",
        "epoch-AzL8n0Y58m8",
        "épochs-1",
        "epoch-1\n",
        " epoch-1",
        ".epoch-1",
        "x" * 10_000,
        "\0",
    ],
)
def test_what_cannot_be_read_is_a_position_of_no_epoch(id: str) -> None:
    assert Position.parse(id) == Position("", 0)


def test_the_largest_number_is_one_that_a_database_holds() -> None:
    largest = _event.base62(_event.MAX_NUMBER)
    assert Position.parse(f"epoch-{largest}").number == 2**63 - 1


@pytest.mark.parametrize(
    ("channel", "tag"),
    [
        ("chat", "chat"),
        ("user:42", "user~3a42"),
        ("a.b", "a~2eb"),
        ("~", "~7e"),
        ("غرفة", "~d8~ba~d8~b1~d9~81~d8~a9"),
        ("a\nb", "a~0ab"),
        ("\0", "~00"),
    ],
)
def test_channels_are_escaped_for_ids(channel: str, tag: str) -> None:
    assert _event.escape(channel) == tag
    assert _event.unescape(tag) == channel
    assert _event.channel_of(f"epoch-1.{tag}") == channel


@given(st.text())
def test_any_channel_comes_back_from_its_id_or_is_refused(channel: str) -> None:
    try:
        tag = _event.escape(channel)
    except ValueError:
        return
    assert len(tag) <= 64
    assert tag.isascii()
    assert _event.channel_of(f"epoch-1.{tag}") == channel


@pytest.mark.parametrize("channel", ["", "a" * 65, ":" * 22, "\ud800", None, 5, b"chat"])
def test_a_channel_that_has_no_place_in_an_id_is_refused(channel: t.Any) -> None:
    with pytest.raises(ValueError, match="channel"):
        _event.escape(channel)


def test_a_channel_of_any_length_is_refused_in_few_words() -> None:
    with pytest.raises(ValueError, match="takes 10,000,000 bytes.* or more") as refused:
        _event.escape(":" * 10_000_000)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "id", ["", "1.5", "epoch-1", "epoch-1.~", "epoch-1.~ff", "epoch-1.a b"]
)
def test_an_id_that_is_not_ours_names_no_channel(id: str) -> None:
    assert _event.channel_of(id) == ""


def test_an_own_channel_is_a_name_that_no_app_can_use() -> None:
    own = OwnChannel("present", "a")
    assert (own.kind, own.channel) == OwnChannel.parts(own) == ("present", "a")
    assert repr(own) == "OwnChannel('present', 'a')"
    assert own == OwnChannel.of("present", "a") == OwnChannel.parse(str(own))
    assert isinstance(OwnChannel.parse(str(own)), OwnChannel)
    assert OwnChannel.parse("present:a") == "present:a"
    assert len({own, OwnChannel("present", "a"), OwnChannel("present", "b"), "a"}) == 3
    assert OwnChannel.of("", "a") == "a" and OwnChannel.parts("a") == ("", "a")
    for name in own, str(own):
        with pytest.raises(ValueError, match="holds a lone surrogate"):
            escape(name)
        with pytest.raises(UnicodeEncodeError):
            name.encode()


def test_items_are_escaped_for_ids() -> None:
    assert _event.escape_item("AAPL_1-x") == "AAPL_1-x"
    assert _event.escape_item("a.b~") == "a~2eb~7e"
    assert _event.unescape(_event.escape_item("Анна")) == "Анна"
    assert _event.escape_item("x" * 64) == "x" * 64


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("", "An item's name is a non-empty string, not ''"),
        (None, "An item's name is a non-empty string, not None"),
        (7, "An item's name is a non-empty string, not 7"),
        ("x" * 65, "The item 'x+' takes 65 bytes of an event's id or more, 64 at most"),
        (":" * 22, "The item ':+' takes 66 bytes of an event's id or more, 64 at most"),
        ("\ud800", "The item .* holds a lone surrogate"),
    ],
)
def test_an_item_whose_name_no_id_can_have_is_refused(item: t.Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _event.escape_item(item)
