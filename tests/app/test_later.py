"""What is held is sent when the caller says so."""

from __future__ import annotations

import pytest
from support.sessions import publisher as publisher
from support.sessions import sent

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
