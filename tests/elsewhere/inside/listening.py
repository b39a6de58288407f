"""A program listens to a store with a hub in a thread, which needs nothing of Linux."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from flask_push import Listener
from flask_push import Publisher
from flask_push.brokers import open_broker


def data_of(listener: Listener, count: int) -> list[str]:
    """The data of so many events of the app."""
    found: list[str] = []
    while len(found) < count:
        event = next(listener)
        if not event.type.startswith("push:"):
            found.append(event.data)
    return found


@pytest.mark.parametrize("store", ["memory:", "sqlite:"])
def test_a_listener_gets_what_is_published_until_it_is_closed(
    store: str, tmp_path: Path
) -> None:
    publisher = Publisher(open_broker(store, tmp_path).url)
    with publisher.listen("a", timeout=30) as listener:
        for number in range(3):
            publisher.publish("a", str(number))
        assert data_of(listener, 3) == ["0", "1", "2"]
        position = listener.position
        publisher.set("a", "x", "3")
        assert data_of(listener, 1) == ["3"]
        ended = threading.Thread(target=list, args=[listener])
        ended.start()
        listener.close()
        ended.join(30)
        assert not ended.is_alive()
    with publisher.listen("a", since=position, timeout=30) as listener:
        publisher.publish("a", "4")
        assert sorted(data_of(listener, 2)) == ["3", "4"]
    publisher.close()
