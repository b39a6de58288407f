"""Items are set, unset and read, by a Push and by a Publisher, in each store."""

from __future__ import annotations

import collections.abc as cabc
import enum
import typing as t
from pathlib import Path

import pytest
from support.apps import app as app
from support.apps import make_app
from support.apps import push as push
from support.each_store import STORES
from support.each_store import url as url
from support.plain_broker import Plain
from support.servers import until

from flask_push import Event
from flask_push import Items
from flask_push import ItemsFull
from flask_push import NotPublished
from flask_push import NotRead
from flask_push import Position
from flask_push import Publisher
from flask_push import PublishUncertain
from flask_push import Push
from flask_push._app_publisher import AppPublisher
from flask_push._config import Config
from flask_push.brokers import Broker
from flask_push.brokers import ItemChange
from flask_push.brokers import Retention
from flask_push.brokers.memory import MemoryBroker


@pytest.fixture
def publisher(url: str) -> cabc.Iterator[Publisher]:
    publisher = Publisher(url, timeout=20)
    yield publisher
    publisher.close()


def values(items: Items) -> dict[str, t.Any]:
    return {name: event.json for name, event in items.events.items()}


def test_items_are_the_newest_values_in_the_order_of_their_changes(
    publisher: Publisher,
) -> None:
    for name, value in ("a", 1), ("b", 2), ("a", 3), ("c", None):
        publisher.set("prices", name, value)
    publisher.set("others", "a", 9)
    id = publisher.unset("prices", "b")
    items = publisher.items("prices")
    assert [*values(items).items()] == [("a", 3), ("c", None)]
    assert items.position == publisher.position() == id.partition(".")[0]
    assert publisher.history("prices", 9).events == []


def test_an_item_is_read_as_it_was_set(publisher: Publisher) -> None:
    id = publisher.set("room:1", "a.b", {"n": 1}, type="said", version=7)
    items = publisher.items("room:1")
    event = Event(
        "room:1", '{"n": 1}', "said", id=id, item="a.b", version=7, ttl=None, key=None
    )
    assert items == Items({"a.b": event}, id.partition(".")[0])
    assert id == f"{items.position}.room~3a1.a~2eb"
    assert publisher.items("none").events == {}


class Word(str, enum.Enum):  # noqa: UP042
    """Python writes a member of it as ``Word.RED`` in some places, and in others as red."""

    RED = "red"


class Count(int, enum.Enum):
    ONE = 1


def test_members_of_enums_are_the_text_and_the_numbers_that_they_are(
    publisher: Publisher,
) -> None:
    for name in Word.RED, Count.ONE:
        publisher.set(Word.RED, name, Word.RED, type=Word.RED)
        publisher.set(Word.RED, name, Word.RED, type=Word.RED, version=Count.ONE)
    id = publisher.publish(Word.RED, Word.RED, type=Word.RED, key=Word.RED)
    assert publisher.publish("red", "the same key", key="red") == id
    for channel in "red", Word.RED:
        found = publisher.items(channel).events
        events = [*found.values(), *publisher.history(channel, 9).events]
        assert [*found] == ["red", "1"]
        names = [event.id.partition(".")[2] for event in events]
        assert names == ["red.red", "red.1", "red"]
        for event in events:
            parts = event.channel, event.type, event.data
            assert repr(parts) == "('red', 'red', 'red')"
    publisher.unset(Word.RED, Word.RED, Count.ONE)
    assert publisher.items("red").events == {}


def test_items_and_events_of_one_call_are_stored_together(publisher: Publisher) -> None:
    events = [
        Event("log", 1),
        Event("prices", 2, item="a"),
        Event("prices", 3),
        Event("prices", 4, item="a", type="t", ttl=60, version=1),
    ]
    id = publisher.publish_many(event for event in events)
    found = publisher.items("prices")
    assert values(found) == {"a": 4} and found.events["a"].id == id
    (published,) = publisher.history("prices", 9).events
    assert (published.json, published.item) == (3, "") and published.id < id
    last = publisher.publish_many([Event("prices", 5, item="a"), Event("log", 6)])
    assert last.endswith(".log")
    with pytest.raises(TypeError):
        publisher.publish_many([Event("prices", 7, item="b"), Event("log", object())])
    assert [*publisher.items("prices").events] == ["a"]


def test_several_items_are_unset_at_once(publisher: Publisher) -> None:
    publisher.publish_many(Event("prices", n, item=n) for n in range(5))
    id = publisher.unset("prices", 0, "1", 3)
    assert [*publisher.items("prices").events] == ["2", "4"]
    assert id.endswith(".prices.3")
    assert publisher.unset("prices", *publisher.items("prices").events)
    assert publisher.items("prices").events == {}
    position = publisher.position()
    assert publisher.unset("prices", "none") == f"{position}.prices.none"
    assert publisher.unset("prices") == ""
    assert publisher.position() == position


def test_an_older_version_changes_nothing(publisher: Publisher) -> None:
    id = publisher.set("flags", "beta", "on", version=2)
    assert publisher.set("flags", "beta", "off", version=1) == id
    assert publisher.set("flags", "beta", "off", version=2) == id
    assert publisher.unset("flags", "beta", version=1) == id
    assert publisher.items("flags").events["beta"].data == "on"
    gone = publisher.unset("flags", "beta", version=3)
    assert publisher.set("flags", "beta", "on", version=3) == gone
    assert publisher.items("flags").events == {}


def test_an_item_whose_time_is_over_is_not_there(publisher: Publisher) -> None:
    publisher.set("typing", "ann", True, ttl=0.001)
    publisher.set("typing", "ben", True, ttl=3600)
    until(lambda: [*publisher.items("typing").events] == ["ben"])
    before = publisher.items("typing").events["ben"].id
    assert publisher.set("typing", "ben", True, ttl=3600) == before, "it is no event"


def test_items_are_read_at_once_however_many_there_are(publisher: Publisher) -> None:
    data = "x" * 1000
    for start in range(0, 3000, 1000):
        publisher.publish_many(Event("a", data, item=n) for n in range(start, start + 1000))
    assert [*publisher.items("a").events] == [str(n) for n in range(3000)]


# A full channel.


@pytest.fixture
def small(url: str, push: Push, tmp_path: Path) -> cabc.Iterator[Push]:
    config: dict[str, t.Any] = dict(
        PUSH_MAX_ITEMS=3, PUSH_ITEMS_BYTES=2000, PUSH_PUBLISH_TIMEOUT=20
    )
    app = make_app(push, PUSH_BROKER_URL=url, PUSH_RUN_DIR=str(tmp_path), **config)
    yield push
    with app.app_context():
        push._services().close()


def test_a_full_channel_refuses_more_items_and_stores_nothing(small: Push) -> None:
    small.publish_many(Event("a", n, item=n) for n in range(3))
    with pytest.raises(ItemsFull, match=r"4 items, more than 3 \(PUSH_MAX_ITEMS\)"):
        small.publish_many([Event("a", "event"), Event("a", 3, item=3)])
    with pytest.raises(NotPublished, match=r"more than 2,000 \(PUSH_ITEMS_BYTES\)"):
        small.set("a", 0, "x" * 2000)
    assert values(small.items("a")) == {"0": 0, "1": 1, "2": 2}
    assert small.history("a", 9).events == []
    small.set("a", 0, "changed")
    small.set("b", 0, "another channel")
    small.unset("a", 1)
    small.set("a", 3, 3)
    assert [*small.items("a").events] == ["2", "0", "3"]


def test_a_channel_that_is_full_of_items_whose_time_is_over_is_not_full(
    small: Push,
) -> None:
    for channel in "b", "a":
        for n in range(3):
            small.set(channel, n, "x", ttl=0.001)
    until(lambda: not small.items("a").events)
    small.set("a", "new", "x")
    assert [*small.items("a").events] == ["new"]


@pytest.mark.parametrize("url", STORES[1:], indirect=True)
def test_the_bounds_of_the_app_that_opens_the_store_last_count(
    url: str, small: Push, tmp_path: Path
) -> None:
    """A Publisher does not change them."""
    small.publish_many(Event("a", n, item=n) for n in range(3))
    publisher = Publisher(url, timeout=20)
    with pytest.raises(ItemsFull, match="more than 3"):
        publisher.set("a", 3, 3)
    other = Push()
    config: dict[str, t.Any] = dict(
        PUSH_BROKER_URL=url, PUSH_RUN_DIR=str(tmp_path), PUSH_MAX_ITEMS=4
    )
    app = make_app(other, **config)
    with app.app_context():
        other.set("a", 3, 3)
        with pytest.raises(ItemsFull, match="more than 4"):
            other.set("a", 4, 4)
        other._services().close()
    with pytest.raises(ItemsFull, match="more than 4"):
        publisher.set("a", 4, 4)
    publisher.close()


class Refusing(MemoryBroker):
    """The items that are due can't be unset."""

    error: Exception | None = None
    calls = 0

    def change(self, changes: cabc.Sequence[Event | ItemChange]) -> list[Position]:
        self.calls += 1
        is_due = [isinstance(each, ItemChange) and each.due for each in changes]
        if self.error is not None and all(is_due):
            raise self.error
        return super().change(changes)


@pytest.mark.parametrize("error", [NotPublished, PublishUncertain, NotRead])
def test_a_channel_stays_full_if_what_is_due_cannot_be_unset(
    error: type[Exception],
) -> None:
    broker = Refusing(Retention(items=1))
    publisher = Publisher(broker)
    publisher.set("a", "old", 1, ttl=0.001)
    until(lambda: not publisher.items("a").events)
    broker.error = error("the store is busy")
    with pytest.raises(ItemsFull):
        publisher.set("a", "new", 1)
    broker.error = None
    publisher.set("a", "new", 1)


def test_a_full_channel_has_room_however_many_items_of_others_are_due() -> None:
    broker = Refusing(Retention(items=1200))
    publisher = Publisher(broker)
    for channel in "bcdefghijka":
        publisher.publish_many(Event(channel, n, item=n, ttl=0.001) for n in range(1200))
    until(lambda: not publisher.items("a").events)
    before = broker.calls
    publisher.publish_many(Event("a", n, item=f"new {n}") for n in range(1200))
    # The call is made only twice, because it may be long.
    assert broker.calls - before == 2 + 3
    assert len(publisher.items("a").events) == 1200
    with pytest.raises(ItemsFull):
        publisher.set("a", "another", 1)


# Brokers of others.


def test_a_broker_that_keeps_no_items_says_so() -> None:
    assert isinstance(plain := Plain(), Broker)
    publisher = Publisher(plain)
    text = r"Plain keeps no items \(flask_push.brokers.KeepsItems\). Use memory:"
    calls: list[cabc.Callable[[], object]] = [
        lambda: publisher.set("a", "x", 1),
        lambda: publisher.unset("a", "x"),
        lambda: publisher.items("a"),
        lambda: publisher.publish_many([Event("a", "event"), Event("a", 1, item="x")]),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match=text):
            call()
    assert publisher.history("a", 9).events == []
    publisher.publish("a", "event")


def test_the_position_of_a_change_is_known_if_it_is_certainly_new() -> None:
    publisher = AppPublisher(MemoryBroker(), Config(), str)

    def known() -> str:
        return str(publisher.known)

    assert publisher.set("a", "x", 1) == f"{known()}.a.x"
    assert publisher.unset("a", "x") == f"{known()}.a.x"
    events = [Event("b", 1), Event("a", 1, item="x")]
    assert publisher.publish_many(events) == f"{known()}.a.x"
    before = known()
    publisher.set("a", "x", 2, version=1)
    publisher.set("a", "y", 2, ttl=60)
    assert known() == before, "the position of a row may be of an earlier epoch"
    id = publisher.publish_many([Event("b", 1), Event("a", 3, item="x", version=1)])
    assert before < known() and id.endswith(".a.x")


def test_nothing_is_asked_of_the_store_if_a_name_or_a_version_is_refused() -> None:
    broker = Refusing()
    publisher = Publisher(broker)
    calls: list[cabc.Callable[[], object]] = [
        lambda: publisher.set("", "x", 1),
        lambda: publisher.set("a" * 65, "x", 1),
        lambda: publisher.unset("", "x"),
        lambda: publisher.unset("a" * 65, "x"),
        lambda: publisher.unset("a", "x" * 65),
        lambda: publisher.unset("a", "x", version=-1),
    ]
    for call in calls:
        with pytest.raises(ValueError):
            call()
    assert broker.calls == 0
