"""Who is present, as a Push and a Publisher read it, in each store."""

from __future__ import annotations

import collections.abc as cabc

import pytest
from support.each_store import url as url
from support.plain_broker import Plain
from support.presence import store
from support.pushes import push as push

from flask_push import Member
from flask_push import Presence
from flask_push import Publisher
from flask_push import Push


@pytest.fixture
def publisher(url: str) -> cabc.Iterator[Publisher]:
    publisher = Publisher(url, timeout=20)
    yield publisher
    publisher.close()


def test_a_user_of_several_hubs_is_present_once_with_the_newest_info(
    publisher: Publisher,
) -> None:
    position = store(
        publisher._broker,
        ("room:1", "hubA.ann", {"name": "Ann"}),
        ("room:1", "hubB.b.e.n", {"name": "Ben"}),
        ("room:2", "hubA.carl", None),
        ("room:2", "hubA.dora", 7),
        ("room:1", "hubB.ann", {"name": "Ann (phone)"}),
    )
    expected = {
        "ann": Member("ann", {"name": "Ann (phone)"}),
        "b.e.n": Member("b.e.n", {"name": "Ben"}),
    }
    assert publisher.presence("room:1") == Presence(expected, 2, position)
    assert publisher.presence("room:2").members == {"dora": Member("dora", 7)}
    position = store(publisher._broker, ("room:1", "hubB.ann", None))
    expected["ann"] = Member("ann", {"name": "Ann"})
    found = publisher.presence("room:1")
    assert found == Presence(expected, 2, position)
    assert found.position == publisher.position()
    store(publisher._broker, ("room:1", "hubA.ann", None))
    assert [*publisher.presence("room:1").members] == ["b.e.n"]


def test_users_who_are_counted_are_in_the_count_alone(publisher: Publisher) -> None:
    assert publisher.presence("arena") == Presence({}, 0, publisher.position())
    store(
        publisher._broker,
        ("arena", "hubA", 4000),
        ("arena", "hubB", 300),
        ("arena", "hubB.ann", "the speaker"),
    )
    found = publisher.presence("arena")
    assert (found.count, [*found.members]) == (4301, ["ann"])


def test_presence_is_apart_from_the_items_of_the_channel(publisher: Publisher) -> None:
    publisher.set("room:1", "hubA.ann", {"name": "Ann"})
    assert publisher.presence("room:1").members == {}
    store(publisher._broker, ("room:1", "hubA.ben", None), ("room:1", "hubA.carl", 1))
    assert [*publisher.items("room:1").events] == ["hubA.ann"]
    assert [*publisher.presence("room:1").members] == ["carl"]


def test_a_channel_lists_a_thousand_users(push: Push) -> None:
    broker = push._services().broker
    store(broker, *(("a", f"hub{n // 600}.{n}", n) for n in range(1200)))
    found = push.presence("a")
    assert found.count == len(found.members) == 1000
    assert found.members["999"] == Member("999", 999)
    # The users who are listed stay with what is newest of them.
    store(broker, ("a", "hub9.0", "new"), ("a", "hub9.1100", "new"))
    assert len(push.presence("a").members) == 1000


def test_presence_of_a_name_that_is_no_channel_is_refused(push: Push) -> None:
    with pytest.raises(ValueError, match="non-empty"):
        push.presence("")
    with pytest.raises(ValueError, match="at most"):
        push.presence("x" * 65)


def test_a_broker_that_keeps_no_items_has_no_presence() -> None:
    text = r"Plain keeps no items \(flask_push.brokers.KeepsItems\). Use memory:"
    with pytest.raises(RuntimeError, match=text):
        Publisher(Plain()).presence("a")
