"""Events in lists of one process."""

from __future__ import annotations

import asyncio
import os

import pytest
from support.failing import Store

from flask_push import Event
from flask_push.brokers import Broker
from flask_push.brokers import open_broker
from flask_push.brokers import Page
from flask_push.brokers import Retention
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing import BrokerContract
from flask_push.testing import ItemsContract
from flask_push.testing import OwnLogContract
from flask_push.testing import RunsContract
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until


class TestMemory(RunsContract, ItemsContract, OwnLogContract, BrokerContract):
    shared = False

    def open(self, retention: Retention | None = None) -> Broker:
        self.broker = open_broker("memory:", retention=retention)
        return self.broker

    def begin_again_with_rows(self) -> bool:
        return self.begin_again()

    def begin_again(self) -> bool:
        assert isinstance(self.broker, MemoryBroker)
        Store.begin_again(self.broker)
        return True


@pytest.mark.parametrize("url", ["memory:x", "memory://", "memory:///tmp/x"])
def test_a_url_with_a_path_is_refused(url: str) -> None:
    with pytest.raises(
        ValueError, match=f"'memory:' takes no path, but the URL is '{url}'"
    ):
        open_broker(url)


def test_events_are_those_of_one_broker() -> None:
    broker, other = MemoryBroker(), MemoryBroker()
    broker.publish([Event("a", "1")])
    assert not other.read(["a"], after=0).entries
    assert other.read([]).epoch != broker.read([]).epoch


def test_a_feed_of_a_loop_that_has_ended_holds_no_publisher_up() -> None:
    broker = MemoryBroker()

    async def main() -> RecordingSink:
        sink = RecordingSink(broker)
        await sink.watch("a")
        return sink

    sink = asyncio.run(main())
    (position,) = broker.publish([Event("a", "1")])
    assert [e.number for e in broker.read(["a"], after=0).entries] == [position.number]
    # It can be closed, once or twice.
    sink.feed.close()
    sink.feed.close()
    assert sink.entries == []


def test_a_page_is_not_handed_to_a_feed_that_is_closed() -> None:
    async def main() -> None:
        sink = RecordingSink(MemoryBroker())
        pages: list[Page] = []
        sink.feed.read(["a"], pages.append)
        assert pages == [], "never during the call"
        await until(lambda: pages)
        sink.feed.read(["a"], pages.append)
        sink.feed.close()
        await asyncio.sleep(0.01)
        assert len(pages) == 1

    asyncio.run(main())


def test_a_child_of_a_fork_has_a_copy_and_rings_no_feed_of_its_parent() -> None:
    broker = MemoryBroker()
    broker.publish([Event("a", "1")])

    async def main() -> None:
        sink = RecordingSink(broker)
        await sink.watch("a")
        child = os.fork()
        if child == 0:
            try:
                broker.publish([Event("a", "2")])
                count = len(broker.read(["a"], after=0).entries)
                os._exit(0 if count == 2 and not broker._feeds else 1)
            finally:
                os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        (last,) = broker.publish([Event("a", "3")])
        await until(lambda: sink.end >= last.number)
        assert sink.received("a") == [b"3"]
        sink.feed.close()

    asyncio.run(main())


def test_a_child_of_a_fork_during_a_publish_begins_again() -> None:
    """The thread that holds the lock is not in the child."""
    broker = MemoryBroker()
    broker.publish([Event("a", "1")])
    epoch = broker.read([]).epoch
    with broker._lock:
        child = os.fork()
        if child == 0:
            try:
                page = broker.read(["a"], after=0)
                os._exit(0 if page.epoch != epoch and not page.entries else 1)
            finally:
                os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert broker.read([]).epoch == epoch
