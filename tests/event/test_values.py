from __future__ import annotations

import typing as t
from dataclasses import fields
from dataclasses import FrozenInstanceError
from dataclasses import MISSING
from dataclasses import replace
from inspect import signature

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_push import _event
from flask_push._event import escape
from flask_push._event import Event
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


def test_an_event_is_made_as_a_dataclass_is() -> None:
    parameters = signature(Event).parameters.values()
    assert [each.name for each in parameters] == [each.name for each in fields(Event)]
    for field, parameter in zip(fields(Event), parameters, strict=True):
        assert (field.default is MISSING) == (parameter.default is parameter.empty)
        if field.default is not MISSING:
            assert parameter.default == field.default
    given: dict[str, t.Any] = {field.name: object() for field in fields(Event)}
    made = Event(**given)
    for name, value in given.items():
        assert getattr(made, name) is value


def test_an_event_does_not_change() -> None:
    event = Event("a", "x", key="k")
    with pytest.raises(FrozenInstanceError):
        event.data = "y"  # type: ignore[misc]
    assert replace(event, data="y") == Event("a", "y", key="k") != event
    assert len({event, Event("a", "x", key="k")}) == 1
