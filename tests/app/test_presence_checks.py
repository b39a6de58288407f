"""What a view may grant of presence, and the errors that say what it may not."""

from __future__ import annotations

import enum
import json
import typing as t
from types import MappingProxyType
from uuid import UUID

import pytest
from flask import Flask
from support.apps import app as app
from support.apps import make_app
from support.apps import push as push
from support.plain_broker import Plain

from flask_push import Publisher
from flask_push import Push
from flask_push._delivery.stream_presence import NOTHING
from flask_push._delivery.stream_presence import StreamPresence


def granted(push: Push, app: Flask, **options: t.Any) -> StreamPresence:
    with app.test_request_context():
        return push.stream("a", **options).stream_.presence


def test_a_view_grants_presence_and_the_hub_gets_plain_text(push: Push, app: Flask) -> None:
    class Rooms(enum.StrEnum):
        ONE = "room:1"

    presence = granted(
        push,
        app,
        user=7,
        present={Rooms.ONE: {"name": "Ännchen", "ids": (1, 2)}, "b": None},
        watch=(name for name in ("room:1", "room:1", Rooms.ONE, "c")),
        counted=["arena"],
    )
    expected = StreamPresence(
        (("room:1", '{"ids":[1,2],"name":"Ännchen"}'), ("b", "null")),
        watch=("room:1", "c"),
        counted=("arena",),
    )
    assert presence == expected
    names = *(name for name, _ in presence.present), *presence.watch, *presence.counted
    assert {type(name) for name in names} == {str}


@pytest.mark.parametrize("present", [{}, None, MappingProxyType({})])
@pytest.mark.parametrize("others", [[], (), set(), {}])
def test_a_view_that_grants_no_presence_needs_no_user(
    push: Push, app: Flask, present: t.Any, others: t.Any
) -> None:
    found = granted(push, app, present=present, watch=others, counted=others)
    assert found is NOTHING


@pytest.mark.parametrize("user", ["ann", 7, UUID(int=7), "é" * 10])
def test_the_name_of_any_user_is_shown_if_it_is_not_too_long(
    push: Push, app: Flask, user: t.Any
) -> None:
    assert granted(push, app, user=user, present={"a": 1}).shown
    assert granted(push, app, watch=["a"]).watch == ("a",), "a visitor may watch"


def test_the_json_provider_of_the_app_makes_what_is_shown(push: Push, app: Flask) -> None:
    class Mine(type(app.json)):  # type: ignore[misc]
        def dumps(self, data: t.Any, **kwargs: t.Any) -> str:
            return json.dumps({"mine": str(data)}, indent=4)

    app.json = Mine(app)
    presence = granted(push, app, user=7, present={"a": UUID(int=0)})
    assert presence.present == (("a", f'{{"mine":"{UUID(int=0)}"}}'),), "in one line"


LARGE = dict.fromkeys(map(str, range(101)))


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({"present": "a"}, TypeError, r"present=\{'chat': .*not 'a'"),
        ({"present": ["a"]}, TypeError, r"present=\{'chat': "),
        ({"present": {5: 1}}, TypeError, "present is a list of channels, and 5"),
        ({"watch": "room:1"}, TypeError, r"watch=\['chat'\], not 'room:1'"),
        ({"watch": b"a"}, TypeError, r"watch=\['chat'\]"),
        ({"watch": 5}, TypeError, r"watch=\['chat'\]"),
        ({"watch": None}, TypeError, r"watch=\['chat'\]"),
        ({"watch": [["a"]]}, TypeError, "watch is a list of channels, and"),
        ({"counted": "a"}, TypeError, r"counted=\['chat'\]"),
        ({"watch": [""]}, ValueError, "watch: .*non-empty"),
        ({"counted": ["x" * 65]}, ValueError, "counted: .*64 at most"),
        ({"present": {"\udc80": 1}}, ValueError, "present: .*surrogate"),
        ({"watch": ["\udcffpresent:a"]}, ValueError, "watch: .*surrogate"),
        ({"watch": LARGE}, ValueError, "watch has 101.*100 .PUSH_MAX_CHANNELS"),
        ({"present": LARGE}, ValueError, "present has 101.*PUSH_MAX_CHANNELS"),
        ({"counted": LARGE}, ValueError, "counted has 101.*PUSH_MAX_CHANNELS"),
        ({"present": {"a": 1, "b": 1}, "counted": ["b"]}, ValueError, "'b' is in present"),
        ({"present": {"a": 1}, "user": None}, ValueError, "present needs a user.*user="),
        ({"counted": ["a"], "user": None}, ValueError, "counted needs a user"),
        ({"present": {"a": 1}, "user": "x" * 65}, ValueError, "user 'x.*number or a UUID"),
        ({"present": {"a": 1}, "user": "é" * 11}, ValueError, "any other byte three"),
        ({"present": {"a": "x" * 1023}}, ValueError, "'a'. has 1,025 bytes.*1,024"),
        ({"present": {"a": "é" * 512}}, ValueError, "1,026 bytes"),
        ({"present": {"a": float("nan")}}, ValueError, "'a'. can't be shown. .*NaN"),
        ({"present": {"a": "\ud800"}}, ValueError, "'a'. holds a lone surrogate"),
        ({"present": {"a": object()}}, TypeError, "'a'. can't be shown"),
        ({"present": {"a": b"Ann"}}, TypeError, "'a'. can't be shown.*Decode"),
    ],
)
def test_presence_that_cannot_be_granted_raises_an_error_with_the_reason(
    push: Push, app: Flask, options: t.Any, error: type[Exception], problem: str
) -> None:
    with pytest.raises(error, match=problem):
        granted(push, app, **{"user": "ann", **options})


def test_a_user_whose_name_is_too_long_may_be_counted(push: Push, app: Flask) -> None:
    assert granted(push, app, user="x" * 65, counted=["a"]).counted == ("a",)


def test_a_number_that_no_browser_could_parse_again_is_refused(
    push: Push, app: Flask
) -> None:
    app.json.dumps = lambda data, **_: "[1e400]"  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="'a'. can't be shown. Out of range"):
        granted(push, app, user="ann", present={"a": None})


def test_what_is_shown_may_have_1024_bytes(push: Push, app: Flask) -> None:
    presence = granted(push, app, user="ann", present={"a": "é" * 511})
    assert len(presence.present[0][1].encode()) == 1024


def test_a_name_from_the_request_that_is_no_channel_is_answered_with_400(
    push: Push,
) -> None:
    app = make_app(push)
    app.add_url_rule("/watch", view_func=lambda: push.stream("a", watch=["x" * 65]))
    assert app.test_client().get("/watch").status_code == 400


def test_a_broker_that_keeps_no_items_has_no_presence(push: Push, app: Flask) -> None:
    with app.app_context():
        push._services().publisher._keeper = Publisher(Plain())._keeper  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="Plain keeps no items"):
        granted(push, app, watch=["a"])
    assert granted(push, app) is NOTHING
