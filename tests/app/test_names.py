"""The names of users, sessions, items and channels."""

from __future__ import annotations

import enum
import typing as t
from uuid import UUID

import pytest
from flask import Flask
from support.apps import app as app
from support.apps import push as push
from werkzeug.exceptions import BadRequest

from flask_push import Event
from flask_push import Push
from flask_push._delivery.disconnect import Disconnect
from flask_push._names import item_name
from flask_push._names import name_of
from flask_push._names import plain
from flask_push._selectors import disconnect_of


class Word(str, enum.Enum):  # noqa: UP042
    """Python writes a member of it as ``Word.RED`` in some places, and in others as red."""

    RED = "red"


class Count(int, enum.Enum):
    ONE = 1


@pytest.mark.parametrize(
    ("value", "name"), [("red", "red"), (Word.RED, "red"), (Count.ONE, "1"), (-7, "-7")]
)
def test_a_name_is_the_text_or_the_number_itself(value: t.Any, name: str) -> None:
    assert repr(name_of("user", value)) == repr(item_name(value)) == repr(name)


def test_a_uuid_names_what_its_text_names() -> None:
    id = UUID(int=7)
    assert name_of("user", id) == item_name(id) == str(id)


def test_text_that_is_text_alone_stays_the_same() -> None:
    text = "a text"
    assert plain(text) is text
    assert type(plain(Word.RED)) is str


def test_a_member_of_an_enum_names_the_same_in_a_stream_and_in_a_disconnect(
    push: Push, app: Flask
) -> None:
    names: dict[str, t.Any] = {"user": Word.RED, "session": Word.RED}
    with app.test_request_context():
        stream = push.stream(Word.RED, **names).stream_
    assert repr((stream.user, stream.session, *stream.channels)) == repr(("red",) * 3)
    selected = disconnect_of(Word.RED, Word.RED, Word.RED, "")
    assert selected == Disconnect("red", "red", "red")
    assert type(selected.channel) is str


@pytest.mark.parametrize(
    "use",
    [
        lambda push: push.publish("push:hubs", "x"),
        lambda push: push.publish_many([Event("push:hubs", "x", item="a")]),
        lambda push: push.set("push:totals", "a", 1),
        lambda push: push.unset("push:totals", "a"),
        lambda push: push.items("push:hubs"),
        lambda push: push.history("push:hubs", 1),
        lambda push: push.presence("push:hubs"),
        lambda push: push.disconnect(channel="push:hubs"),
        lambda push: push.run("push:hubs"),
        lambda push: push.listen("push:hubs"),
        lambda push: push.stream("push:hubs"),
        lambda push: push.stream("a", watch=["push:hubs"]),
        lambda push: push.follow("push:hubs"),
        lambda push: push.requested(),
        lambda push: push.bridge("redis:a", channel="push:hubs"),
    ],
)
def test_channels_of_flask_pushs_own_are_refused(
    app: Flask, push: Push, use: t.Callable[[Push], object]
) -> None:
    with (
        app.test_request_context("/?channel=push:hubs"),
        pytest.raises((ValueError, BadRequest), match="are Flask-Push's own"),
    ):
        use(push)
