"""Changes that are sent together: in which calls, in which order, and how many."""

from __future__ import annotations

import pytest
from support.sessions import publisher as publisher

from flask_push import _changes
from flask_push import Event
from flask_push import Publisher
from flask_push._changes import size_of
from flask_push._delivery.disconnect import Disconnect
from flask_push.brokers import ItemChange


def test_only_a_disconnect_is_sent_by_itself() -> None:
    a, b = Event("a", "1"), ItemChange("a", "i", None)
    end = Disconnect(user="7")
    parts = _changes._parts([a, b, end, end, a, b])
    assert parts == [[a, b], [end], [end], [a, b]]


def test_a_size_is_in_bytes_of_utf_8() -> None:
    assert size_of(Event("a", "äx")) == 3
    assert size_of(ItemChange("a", "i", None)) == 0
    assert size_of(Disconnect(user="7", reason="ab")) == 2


def test_a_transaction_holds_no_more_than_the_bounds(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_changes, "MAX_CHANGES", 3)
    monkeypatch.setattr(_changes, "MAX_BYTES", 10)
    with publisher.held() as later:
        later.publish("a", "12345")
        with pytest.raises(ValueError, match="11 bytes.*Commit more often"):
            later.publish("a", "123456")
        later.unset("a", "i", "j")
        with pytest.raises(ValueError, match="4 changes"):
            later.disconnect(user=7)
        assert repr(later) == "<Held [3 changes]>"
        later.drop()
        later.publish("a", "1234567890")
        later.drop()
