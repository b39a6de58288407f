"""What is held is sent when the caller says so."""

from __future__ import annotations

import collections.abc as cabc

import pytest
from support.sessions import publisher as publisher
from support.sessions import sent

from flask_push import Event
from flask_push import Publisher


def test_held_sends_in_order_and_returns_the_last_id(publisher: Publisher) -> None:
    with publisher.held() as later:
        later.publish("a", "1")
        later.set("a", "item", 5)
        later.publish("a", {"n": 2})
        assert sent(publisher) == []
        id = later.send()
        assert later.send() == ""
    assert sent(publisher) == ["1", '{"n": 2}']
    assert id == publisher.history("a", 1).events[0].id


def test_an_exception_drops_what_is_held(publisher: Publisher) -> None:
    with pytest.raises(ZeroDivisionError), publisher.held() as later:
        later.publish("a", "1")
        raise ZeroDivisionError
    assert sent(publisher) == []


def test_a_forgotten_send_is_an_error_that_names_it(publisher: Publisher) -> None:
    with pytest.raises(RuntimeError, match=r"later\.send\(\).*later\.drop\(\)"):
        with publisher.held() as later:
            later.publish("a", "1")
    with publisher.held() as later:
        later.publish("a", "1")
        later.drop()
    assert sent(publisher) == []


def test_a_change_after_the_block_is_refused(publisher: Publisher) -> None:
    with publisher.held() as later:
        pass
    with pytest.raises(RuntimeError, match="is over"):
        later.publish("a", "1")


def test_what_is_given_is_checked_and_made_json_at_once(publisher: Publisher) -> None:
    data = {"n": 1}
    with publisher.held() as later:
        later.publish("a", data, key="k")
        data["n"] = 2
        later.publish("a", "again", key="k")
        wrong: list[cabc.Callable[[], None]] = [
            lambda: later.publish("a", object()),
            lambda: later.publish("", "1"),
            lambda: later.publish_many([Event("a", "not kept"), Event("a", b"bytes")]),
            lambda: later.set("a", "", 1),
            lambda: later.set("a", "i", 1, ttl=-1),
            lambda: later.unset("a", "i", ""),
            lambda: later.disconnect(),
        ]
        for call in wrong:
            with pytest.raises((TypeError, ValueError)):
                call()
        assert repr(later) == "<Held [2 changes]>"
        later.send()
    assert sent(publisher) == ['{"n": 1}']


def test_items_are_set_and_unset_and_streams_end_in_their_order(
    publisher: Publisher,
) -> None:
    publisher.set("a", "old", 1)
    with publisher.held() as later:
        later.set("a", "i", 1, version=3)
        later.set("a", "i", 0, version=2)
        later.publish_many([Event("a", 2, item="j"), Event("a", "log")])
        later.unset("a", "old", "absent")
        later.disconnect(user=7, reason="removed")
        position = later.send()
    items = publisher.items("a")
    assert {name: event.json for name, event in items.events.items()} == {"i": 1, "j": 2}
    assert sent(publisher) == ["log"] and position == publisher.position()
