"""What is checked before an item is set: its name, its value, its time and its version."""

from __future__ import annotations

import typing as t
from uuid import UUID

import pytest

from flask_push import Event
from flask_push import Publisher
from flask_push.brokers import KeepsItems
from flask_push.brokers.memory import MemoryBroker


@pytest.fixture
def publisher() -> Publisher:
    return Publisher(MemoryBroker())


def names(publisher: Publisher) -> list[str]:
    return [*publisher.items("a").events]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("AAPL", "AAPL"),
        (0, "0"),
        (-7, "-7"),
        (UUID(int=7), str(UUID(int=7))),
        ("ü" * 10, "ü" * 10),
        ("x" * 64, "x" * 64),
        ("push:mine", "push:mine"),
    ],
)
def test_an_item_is_named_by_text_a_number_or_a_uuid(
    given: t.Any, name: str, publisher: Publisher
) -> None:
    id = publisher.set("a", given, 1)
    assert names(publisher) == [name]
    assert publisher.publish_many([Event("a", 2, item=given)]) > id
    assert names(publisher) == [name]
    publisher.unset("a", given)
    assert names(publisher) == []


@pytest.mark.parametrize(
    ("item", "error", "text"),
    [
        ("", ValueError, "non-empty"),
        (None, TypeError, r"not None\. Pass what identifies the item"),
        (True, TypeError, "not True"),
        (1.5, TypeError, "not 1.5"),
        (b"x", TypeError, "not b'x'"),
        (["x"], TypeError, "text, a whole number or a UUID"),
        ("x" * 65, ValueError, r"64 at most.* or a hash of it"),
        ("ü" * 11, ValueError, r"takes 66 bytes.* 64 at most"),
        ("\ud800", ValueError, "lone surrogate"),
    ],
)
def test_what_cannot_name_an_item_is_refused(
    item: t.Any, error: type[Exception], text: str, publisher: Publisher
) -> None:
    with pytest.raises(error, match=text):
        publisher.set("a", item, 1)
    with pytest.raises(error, match=text):
        publisher.unset("a", "good", item)
    if item != "":
        with pytest.raises(error, match=text):
            publisher.publish_many([Event("a", "event"), Event("a", 1, item=item)])
    assert names(publisher) == [] and publisher.history("a", 9).events == []


def test_an_event_whose_item_is_empty_is_an_ordinary_one(publisher: Publisher) -> None:
    publisher.publish_many([Event("a", 1, item="")])
    assert names(publisher) == [] and len(publisher.history("a", 9).events) == 1


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"store": False}, "store=False, because items are always stored"),
        ({"key": "k"}, "key, because only its newest value is kept"),
        ({"exclude": "c"}, "exclude, because every page needs all items"),
        ({"exclude": ""}, "exclude, because every page needs all items"),
    ],
)
def test_an_item_has_nothing_that_only_an_event_has(
    more: dict[str, t.Any], text: str, publisher: Publisher
) -> None:
    """Law 21."""
    events = [Event("a", "event"), Event("a", 1, item="x", **more)]
    with pytest.raises(ValueError, match=f"The item 'x' can't have {text}"):
        publisher.publish_many(events)
    assert names(publisher) == [] and publisher.history("a", 9).events == []


@pytest.mark.parametrize("more", [{"ttl": 1}, {"version": 0}])
def test_an_event_has_nothing_that_only_an_item_has(
    more: dict[str, t.Any], publisher: Publisher
) -> None:
    with pytest.raises(ValueError, match="Only an item has a ttl or a version"):
        publisher.publish_many([Event("a", "event", **more)])


@pytest.mark.parametrize(
    ("more", "error", "text"),
    [
        ({"ttl": 0}, ValueError, "above 0.*unset to remove one"),
        ({"ttl": -1.5}, ValueError, "above 0, not -1.5"),
        ({"ttl": float("inf")}, ValueError, "Use None for an item that does not end"),
        ({"ttl": float("nan")}, ValueError, "not nan"),
        ({"ttl": True}, TypeError, "not True"),
        ({"ttl": "5"}, TypeError, "number of seconds or None, not '5'"),
        ({"version": -1}, ValueError, "from 0 to"),
        ({"version": 2**63}, ValueError, "from 0 to"),
        ({"version": False}, TypeError, "grows with each change, not False"),
        ({"version": "1"}, TypeError, "not '1'"),
        ({"version": 1.0}, TypeError, "not 1.0"),
        ({"type": "push:mine"}, ValueError, "Flask-Push's own"),
        ({"type": "a\nb"}, ValueError, "line break"),
    ],
)
def test_a_time_a_version_and_a_type_are_checked(
    more: dict[str, t.Any], error: type[Exception], text: str, publisher: Publisher
) -> None:
    with pytest.raises(error, match=text):
        publisher.set("a", "x", 1, **more)
    if "version" in more:
        with pytest.raises(error, match=text):
            publisher.unset("a", "x", **more)
    assert names(publisher) == []


@pytest.mark.parametrize(
    ("channel", "data", "error"),
    [
        ("", 1, ValueError),
        ("a" * 65, 1, ValueError),
        ("a", "\ud800", ValueError),
        ("a", float("nan"), ValueError),
        ("a", "x" * (2**20 + 1), ValueError),
        ("a", b"x", TypeError),
    ],
)
def test_the_value_of_an_item_is_checked_as_an_event_is(
    channel: str, data: t.Any, error: type[Exception], publisher: Publisher
) -> None:
    with pytest.raises(error):
        publisher.set(channel, "x", data)
    if channel != "a":
        with pytest.raises(error):
            publisher.unset(channel, "x")
        with pytest.raises(error):
            publisher.items(channel)
    assert names(publisher) == []


def test_an_item_may_end_very_soon_or_very_late(publisher: Publisher) -> None:
    for ttl in 1e-9, 1, 0.5, 1e300:
        publisher.set("a", f"item {ttl}", 1, ttl=ttl, version=2**63 - 1)
    assert names(publisher) == ["item 1", "item 0.5", "item 1e+300"]


def test_a_broker_gets_names_and_data_as_text(publisher: Publisher) -> None:
    publisher.set("a", 7, {"n": 1}, version=3)
    assert isinstance(publisher._broker, KeepsItems)
    (row,) = publisher._broker.read_items(["a"]).rows
    assert (row.item, row.data, row.version, row.type) == ("7", b'{"n": 1}', 3, "message")
