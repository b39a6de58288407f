"""What ``disconnect`` and ``stream`` accept as the name of a user or of a session."""

from __future__ import annotations

import typing as t
from uuid import UUID

import pytest
from flask import Flask
from support.apps import app as app
from support.apps import push as push
from support.disconnects import names

from flask_push import Publisher
from flask_push import Push
from flask_push._delivery.disconnect import Disconnect
from flask_push._delivery.stream import LISTENER
from flask_push._selectors import disconnect_of
from flask_push._selectors import NOT_GIVEN
from flask_push.brokers import KeepsOwnLogs
from flask_push.brokers.memory import MemoryBroker

UUID_7 = UUID(int=7)


def stored(broker: t.Any) -> list[Disconnect]:
    assert isinstance(broker, KeepsOwnLogs)
    page = broker.read_own("disconnect")
    return [Disconnect.from_bytes(entry.data) for entry in page.entries]


def test_a_disconnect_stores_what_it_selects_and_returns_its_position() -> None:
    publisher = Publisher(broker := MemoryBroker())
    position = publisher.disconnect(user=7, session=UUID_7, channel="a", reason="Why\nnot")
    assert position == publisher.position()
    publisher.disconnect(user="Ada")
    assert stored(broker) == [
        Disconnect("7", str(UUID_7), "a", "Why\nnot"),
        Disconnect("Ada"),
    ]


@pytest.mark.parametrize("name", ["user", "session"])
@pytest.mark.parametrize("value", ["7", 7, UUID_7, "ü"])
def test_stream_and_disconnect_name_the_same(
    push: Push, app: Flask, name: str, value: t.Any
) -> None:
    with app.test_request_context():
        stream: t.Any = push.stream("a", **{name: value}).stream_
        push.disconnect(**{name: value})
        (selected,) = stored(push._services().broker)
    assert names(selected, stream)
    assert not names(selected, stream._replace(**{name: "other"}))
    assert getattr(stream, name) == str(value)


def test_a_stream_without_a_session_has_an_empty_one(push: Push, app: Flask) -> None:
    with app.test_request_context():
        stream = push.stream("a").stream_
    assert (stream.user, stream.session) == (None, "")
    assert not names(Disconnect(session="x"), stream)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, "needs a user, a session or a channel"),
        ({"reason": "why"}, "needs a user, a session or a channel"),
        ({"user": None}, "user is None, which names no user.*any user"),
        ({"session": None}, "session is None"),
        ({"user": 7, "session": None}, "session is None.*Leave 'session' out"),
        ({"channel": None}, "channel is None"),
        ({"user": True}, "user is text, a whole number"),
        ({"user": 1.5}, "user is text, a whole number"),
        ({"session": b"x"}, "session is text, a whole number"),
        ({"channel": 7}, "A channel's name is text, not 7"),
        ({"user": 7, "reason": None}, "reason is text for the browser, not None"),
        ({"user": 7, "reason": b"x"}, "reason is text for the browser"),
    ],
)
def test_what_disconnect_can_not_mean_is_a_type_error(
    push: Push, app: Flask, given: dict[str, t.Any], text: str
) -> None:
    broker = push._services().broker
    for publisher in push, Publisher(broker):
        with pytest.raises(TypeError, match=text):
            publisher.disconnect(**given)
    assert stored(broker) == [], "nothing is stored"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"user": ""}, "user is empty, and no stream has an empty user"),
        ({"session": ""}, "session is empty"),
        ({"user": "\ud800"}, "holds a lone surrogate"),
        ({"session": LISTENER}, "holds a lone surrogate"),
        ({"channel": ""}, "non-empty string"),
        ({"channel": "x" * 65}, "takes 65 bytes"),
        ({"user": 7, "reason": "x" * 1001}, "1,001 characters, 1,000 at most"),
        ({"user": 7, "reason": "\ud800"}, "reason .* holds a lone surrogate"),
    ],
)
def test_what_can_not_be_a_name_is_a_value_error(
    push: Push, app: Flask, given: dict[str, t.Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        push.disconnect(**given)
    assert stored(push._services().broker) == []


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"session": ""}, ValueError, "session is empty. Pass None for a stream without"),
        ({"session": 1.5}, TypeError, "session is text, a whole number, a UUID or None"),
        ({"user": True}, TypeError, "user is text, a whole number, a UUID or None"),
        ({"session": "\udcff"}, ValueError, "The session .* holds a lone surrogate"),
        ({"session": LISTENER}, ValueError, "The session .* holds a lone surrogate"),
    ],
)
def test_stream_refuses_what_can_not_be_a_name(
    push: Push, app: Flask, given: t.Any, error: type[Exception], text: str
) -> None:
    with app.test_request_context(), pytest.raises(error, match=text):
        push.stream("a", **given)


def test_the_longest_reason_fits() -> None:
    assert disconnect_of(7, NOT_GIVEN, NOT_GIVEN, "\U0001f600" * 1000).reason
    Publisher(MemoryBroker()).disconnect(user=7, reason="\U0001f600" * 1000)


def test_the_default_of_a_selector_is_shown_as_dots() -> None:
    assert repr(NOT_GIVEN) == "..."
