"""What a broker has to do, as tests that every broker can inherit.

::

    class TestMyBroker(BrokerContract):
        @pytest.fixture(autouse=True)
        def server(self, tmp_path): ...

        def open(self, retention):
            return MyBroker(self.url, retention)

Each test opens a broker on a store that is empty. This file tests feeds; the others test
what is stored and how long it is kept.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time

from .._event import Event
from .._event import MAX_NUMBER
from .._event import Position
from ..brokers import Broker
from ..brokers import Retention
from ._retention_contract import RetentionContract
from ._sink import RecordingSink
from ._sink import until


class BrokerContract(RetentionContract):
    """Inherit it, and implement ``open``."""

    def test_a_hub_hears_what_it_watches_from_then_on(self) -> None:
        async def test(broker: Broker, hub: RecordingSink) -> None:
            broker.publish([Event("a", "before")])
            await hub.watch("a", "غرفة")
            start = hub.end
            broker.publish([Event("a", "1"), Event("b", "no"), Event("غرفة", "2")])
            (last,) = broker.publish([Event("a", "3", type="said")])
            await until(lambda: hub.end >= last.number)
            assert [entry.data for entry in hub.entries] == [b"1", b"2", b"3"]
            assert hub.entries[-1].type == "said"
            assert hub.entries[0].prev is not None and hub.entries[0].prev <= start
            assert hub.entries[2].prev == hub.entries[0].number
            assert last == Position(hub.epoch, hub.entries[-1].number)

        self.run(test)

    def test_a_feed_delivers_the_connection_that_an_event_excludes(self) -> None:
        name = "d0nt-te11_me0000"

        async def test(broker: Broker, hub: RecordingSink) -> None:
            await hub.watch("a")
            broker.publish([Event("a", "1", "said", exclude=name), Event("a", "2")])
            broker.publish([Event("a", "3", "said", store=False, exclude=name)])
            await until(lambda: len(hub.entries) == 3)
            found = sorted((e.data, e.type, e.exclude) for e in hub.entries)
            assert found == [
                (b"1", "said", name),
                (b"2", "message", ""),
                (b"3", "said", name),
            ]

        self.run(test)

    def test_a_hub_stops_hearing_and_may_begin_again(self) -> None:
        async def test(broker: Broker, hub: RecordingSink) -> None:
            await hub.watch("a")
            hub.feed.unwatch(["a"])
            del hub.watching["a"]
            broker.publish([Event("a", "no")])
            await hub.watch("b")
            await hub.watch("a")
            broker.publish([Event("a", "yes")])
            await until(lambda: hub.received("a"))
            assert hub.received("a") == [b"yes"]

        self.run(test)

    def test_what_is_not_stored_is_heard_once_and_not_kept(self) -> None:
        async def test(broker: Broker, hub: RecordingSink) -> None:
            await hub.watch("a")
            broker.publish([Event("a", "1"), Event("a", "typing", store=False)])
            broker.publish([Event("a", "2")])
            await until(lambda: len(hub.entries) == 3)
            assert hub.received("a") == [b"1", b"typing", b"2"]
            assert hub.entries[1].prev is None
            assert hub.entries[2].prev == hub.entries[0].number
            page = broker.read(["a"], after=0)
            assert [entry.data for entry in page.entries] == [b"1", b"2"]

        self.run(test)

    def test_a_hub_reads_history(self) -> None:
        async def test(broker: Broker, hub: RecordingSink) -> None:
            positions = broker.publish([Event("a", str(n)) for n in range(9)])
            page = await hub.read("a", after=positions[5].number)
            assert [entry.data for entry in page.entries] == [b"6", b"7", b"8"]
            assert page.epoch == hub.epoch, "an epoch is delivered before it is read of"
            page = await hub.read("a", last=2)
            assert [entry.data for entry in page.entries] == [b"7", b"8"]
            assert (await hub.read("a", after=MAX_NUMBER)).end == positions[-1].number

        self.run(test)

    def test_hubs_that_join_while_others_publish_miss_nothing(self) -> None:
        """History up to where a hub began to watch, and what it heard, are all."""

        async def test(broker: Broker, hub: RecordingSink) -> None:
            stop = threading.Event()
            sent: list[tuple[int, str, bytes]] = []

            def publish(seed: int) -> None:
                rng = random.Random(seed)
                while not stop.is_set():
                    name = rng.choice("abcdefgh")
                    data = str(rng.random())
                    (position,) = broker.publish([Event(name, data)])
                    sent.append((position.number, name, data.encode()))
                    time.sleep(0.000_2)

            threads = [threading.Thread(target=publish, args=(n,)) for n in range(2)]
            for thread in threads:
                thread.start()
            start = hub.end
            try:
                for name in "abcdefgh":
                    await hub.watch(name)
                    await asyncio.sleep(0.02)
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
            await until(lambda: hub.end >= max(sent)[0])
            for name in "abcdefgh":
                since = hub.watching[name]
                expected = [(n, d) for n, c, d in sorted(sent) if c == name and n > since]
                heard = [(e.number, e.data) for e in hub.entries if e.channel == name]
                assert heard == expected
                chain = [entry for entry in hub.entries if entry.channel == name]
                for before, entry in zip(chain, chain[1:], strict=False):
                    assert entry.prev == before.number
            assert hub.end > start

        self.run(test)

    def test_a_feed_goes_on_where_another_has_ended(self) -> None:
        async def test(broker: Broker, hub: RecordingSink) -> None:
            await hub.watch("a", "b")
            (first,) = broker.publish([Event("a", "1")])
            # A hub is given up only where its feed has vouched for the end.
            await until(lambda: hub.received("a") and hub.end >= first.number)
            hub.feed.close()
            broker.publish([Event("a", "2"), Event("c", "no"), Event("b", "3")])
            second = RecordingSink(broker, hub)
            try:
                await until(lambda: second.received("b"))
                broker.publish([Event("a", "4")])
                await until(lambda: len(second.entries) == 3)
                assert [entry.data for entry in second.entries] == [b"2", b"3", b"4"]
                assert second.entries[0].prev == hub.entries[0].number
                assert second.missing == 0
            finally:
                second.feed.close()

        self.run(test)

    def test_a_feed_says_that_the_store_has_forgotten_what_it_should_deliver(self) -> None:
        async def test(broker: Broker, hub: RecordingSink) -> None:
            await hub.watch("a")
            hub.feed.close()
            broker.publish([Event("a", "forgotten")])
            for _ in range(80):
                (last,) = broker.publish([Event("b", "x" * 1000)])
            second = RecordingSink(broker, hub)
            try:
                await until(lambda: second.end >= last.number)
                assert second.missing >= last.number
                (position,) = broker.publish([Event("a", "then")])
                await until(lambda: second.received("a"))
                assert second.received("a") == [b"then"]
                await until(lambda: second.end >= position.number)
            finally:
                second.feed.close()

        self.run(test, Retention(bytes=20_000))

    def test_several_hubs_hear_the_same(self) -> None:
        async def test(broker: Broker, hub: RecordingSink) -> None:
            other = self.open() if self.shared else broker
            second = RecordingSink(other)
            try:
                await hub.watch("a")
                await second.watch("a")
                for n in range(200):
                    (broker if n % 2 else other).publish([Event("a", str(n))])
                await until(lambda: len(hub.entries) == len(second.entries) == 200)
                assert hub.entries == second.entries
            finally:
                second.feed.close()
                other.close()

        self.run(test)
