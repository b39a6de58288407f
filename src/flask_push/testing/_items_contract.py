"""Tests of brokers that keep items.

::

    class TestMyBroker(ItemsContract, BrokerContract): ...
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import random
import threading
import time
import typing as t

from .._event import Event
from ..brokers import Broker
from ..brokers import ItemChange
from ..brokers import Retention
from ..brokers.items import MIN_TOMBSTONES
from ..brokers.items import UNSET
from ._item_judge import Both
from ._item_judge import numbers_of
from ._item_judge import set_
from ._item_judge import SOON
from ._item_judge import unset
from ._item_sink import ItemRecordingSink
from ._own_items_contract import OwnItemsContract
from ._sink import RecordingSink
from ._sink import until


class ItemsContract(OwnItemsContract):
    """Inherit it beside :class:`BrokerContract` if your broker is a
    :class:`.KeepsItems`."""

    def test_a_feed_delivers_rows_and_events_in_one_order(self) -> None:
        async def test(broker: Both, hub: ItemRecordingSink) -> None:
            broker.change([set_("before")])
            await hub.watch("a", "غرفة")
            # Those of another kind have the channel's name only by chance.
            broker.change([set_("i", "secret", kind="own"), unset("i", kind="own")])
            changes: list[Event | ItemChange]
            changes = [Event("a", "1"), set_("i", "2", type="t"), Event("a", "3")]
            positions = broker.change([*changes, set_("no", "no", "b")])[:3]
            positions += broker.change([set_("ä.", "4", "غرفة"), unset("before")])
            await until(lambda: hub.end >= positions[-1].number)
            assert [e.number for e in hub.entries] == numbers_of(positions)
            found = [(e.channel, e.item, e.type, e.data) for e in hub.entries]
            assert found == [
                ("a", "", "message", b"1"),
                ("a", "i", "t", b"2"),
                ("a", "", "message", b"3"),
                ("غرفة", "ä.", "message", b"4"),
                ("a", "before", UNSET, b""),
            ]
            assert hub.entries[2].prev == hub.entries[0].number

        self._run_items(test)

    def test_a_feed_stops_to_deliver_rows_and_may_begin_again(self) -> None:
        async def test(broker: Both, hub: ItemRecordingSink) -> None:
            await hub.watch("a")
            hub.feed.unwatch(["a"])
            del hub.watching["a"], hub.known["a"]
            broker.change([set_("i", "no")])
            await hub.watch("b")
            await hub.watch("a")
            assert "a" in hub.known and "a" not in hub.without
            broker.change([set_("i", "yes")])
            await until(lambda: hub.items_of("a"))
            assert hub.items_of("a") == [("i", "message", b"yes")]

        self._run_items(test)

    def test_a_feed_gives_the_horizon_of_a_channel_before_it_watches_it(self) -> None:
        async def test(broker: Both, hub: ItemRecordingSink) -> None:
            birth = broker.read_items("ab").horizons
            broker.change([set_("i"), set_("j", channel="c"), unset("j", "c")])
            # The sink fails if a channel is watched first.
            await hub.watch("a", "b")
            await hub.watch("c")
            assert {name: hub.known[name] for name in "ab"} == birth
            assert hub.known == dict(broker.read_items("abc").horizons)
            assert hub.without == {"b"}

        self._run_items(test)

    def test_a_feed_gives_a_horizon_again_before_an_end_that_passes_it(self) -> None:
        async def test(broker: Both, hub: ItemRecordingSink) -> None:
            await hub.watch("a", "b")
            names = [f"i{n}" for n in range(MIN_TOMBSTONES + 5)]
            gone = []
            for start in range(0, len(names), 500):
                broker.change([set_(name) for name in names[start : start + 500]])
            for start in range(0, len(names), 500):
                gone += broker.change([unset(name) for name in names[start : start + 500]])
                await until(lambda: hub.end >= gone[-1].number)  # noqa: B023
            horizon = gone[4].number
            assert broker.read_items(["a"]).horizons == {"a": horizon}
            known = [given["a"] for end, given in hub.ends if end >= gone[-1].number]
            assert known and set(known) == {horizon}
            assert hub.known["b"] < horizon

        self._run_items(test)

    def test_a_row_that_supersedes_others_leaves_no_hole(self) -> None:
        async def test(broker: Both, hub: ItemRecordingSink) -> None:
            await hub.watch("a")
            for n in range(20):
                # Meanwhile, the feed's loop is not running: it may see only the newest.
                for m in range(5):
                    broker.change([set_("i", f"{n}.{m}"), set_(f"j{m}", str(n))])
                (last,) = broker.publish([Event("a", "x")])
                await until(lambda: len(hub.events_of("a")) > n)  # noqa: B023
                assert hub.living("a")["i"] == b"%d.4" % n
            await until(lambda: hub.end >= last.number)
            assert hub.living("a") == living(broker, "a") and not hub.missing

        self._run_items(test)

    def test_a_feed_that_goes_on_delivers_what_was_changed_since(self) -> None:
        async def test(broker: Both, hub: ItemRecordingSink) -> None:
            await hub.watch("a")
            (first,) = broker.change([set_("i", "1")])
            await until(lambda: hub.items_of("a") and hub.end >= first.number)
            hub.feed.close()
            broker.change([set_("i", "2"), set_("j", "3"), Event("a", "4"), unset("j")])
            # The sink fails if the horizons do not come first.
            second = ItemRecordingSink(broker, hub)
            try:
                await until(lambda: second.events_of("a") and len(second.rows) == 2)
                (last,) = broker.change([set_("k", "5")])
                await until(lambda: second.end >= last.number)
                assert second.living("a") == {"i": b"2", "k": b"5"}
                assert second.rows["a", "j"][1] == UNSET
                assert second.missing == 0 and second.known.keys() == {"a"}
            finally:
                second.feed.close()

        self._run_items(test)

    def test_events_that_the_store_has_forgotten_concern_items_too(self) -> None:
        async def test(broker: Both, hub: ItemRecordingSink) -> None:
            await hub.watch("a")
            hub.feed.close()
            broker.change([Event("a", "forgotten"), set_("i", "kept")])
            for _ in range(80):
                (last,) = broker.publish([Event("b", "x" * 1000)])
            second = ItemRecordingSink(broker, hub)
            try:
                await until(lambda: second.end >= last.number)
                assert second.missing >= last.number
                await second.read_all("a")
                assert second.living("a") == {"i": b"kept"}
                (position,) = broker.change([set_("i", "then")])
                await until(lambda: second.end >= position.number)
                assert second.living("a") == {"i": b"then"}
            finally:
                second.feed.close()

        self._run_items(test, Retention(bytes=20_000))

    def test_the_pages_of_a_feed_have_items(self) -> None:
        async def test(broker: Both, hub: ItemRecordingSink) -> None:
            broker.change([Event("a", "1"), set_("i"), set_("j"), unset("j")])
            page = await hub.read("a", after=0)
            assert page == broker.read(["a"], after=0, items=True)
            assert [entry.item for entry in page.entries] == ["", "i", "j"]
            assert page.horizons.keys() == {"a"} and page.epoch == hub.epoch

        self._run_items(test)

    def test_a_feed_reads_living_rows_and_those_that_are_due(self) -> None:
        async def test(broker: Both, hub: ItemRecordingSink) -> None:
            first, *numbers = numbers_of(
                broker.change([set_("i", ttl=SOON), set_("j"), set_("k"), set_("l")])
            )
            broker.change([unset("k")])
            self.wait(SOON + 0.02)
            page = await hub.read_items("a", "b")
            assert page == broker.read_items("ab", due=True)
            assert [row.item for row in page.rows] == ["i", "j", "l"]
            assert page.epoch == hub.epoch and page.horizons.keys() == {"a", "b"}
            page = await hub.read_items("a", after=first, upto=numbers[1])
            assert [row.item for row in page.rows] == ["j"] and page.reach == numbers[1]
            await hub.watch("a")
            (gone,) = broker.change(broker.due())
            await until(lambda: hub.end >= gone.number)
            assert hub.items_of("a") == [("i", UNSET, b"")]

        self._run_items(test)

    def test_a_hub_that_joins_while_others_change_has_all_items(self) -> None:
        async def test(broker: Both, hub: ItemRecordingSink) -> None:
            other = self.open_items() if self.shared else broker
            with writing(broker, other) as sent:
                for name in "abcd":
                    await hub.watch(name)
                    await hub.read_all(name)
                    await asyncio.sleep(0.02)
            await until(lambda: hub.end >= max(sent)[0])
            for name in "abcd":
                assert hub.living(name) == living(broker, name)
                since = hub.watching[name]
                events = [d for n, c, d in sorted(sent) if c == name and n > since]
                assert hub.events_of(name) == events
            other.close()

        self._run_items(test)

    def test_a_new_epoch_begins_with_the_horizons(self) -> None:
        async def test(broker: Both, hub: ItemRecordingSink) -> None:
            broker.change([set_("i", "old")])
            await hub.watch("a", "b")
            before = hub.epoch
            if not self.begin_again():
                return
            # The sink fails if the epoch is delivered first.
            await until(lambda: hub.epoch != before)
            assert hub.known.keys() == {"a", "b"}
            (last,) = broker.change([set_("j", "new")])
            await until(lambda: hub.end >= last.number and hub.items_of("a"))
            assert hub.items_of("a")[-1] == ("j", "message", b"new")
            assert last.epoch == hub.epoch

        self._run_items(test)

    def test_a_feed_says_whether_rows_have_a_time_to_live(self) -> None:
        async def test(broker: Both, hub: ItemRecordingSink) -> None:
            await hub.watch("a")
            # Of a channel that no sink watches, and of any kind.
            unwatched = {"channel": "b", "kind": "own"}
            broker.change([set_("i", ttl=600, **unwatched), Event("a", "1")])
            await until(lambda: hub.has_timed)
            broker.change([set_("i", "other", **unwatched), Event("a", "2")])
            await until(lambda: not hub.has_timed)

        self._run_items(test)

    def test_a_sink_without_items_receives_all_events_and_no_rows(self) -> None:
        async def test(broker: Broker, hub: RecordingSink) -> None:
            both = t.cast(Both, broker)
            await hub.watch("a")
            both.change([set_("i", "no"), Event("a", "1"), set_("j", "no"), unset("i")])
            (last,) = both.change([set_("k", "no")])
            await until(lambda: hub.end >= last.number)
            broker.publish([Event("a", "2")])
            await until(lambda: len(hub.entries) == 2)
            assert hub.received("a") == [b"1", b"2"] and not hub.missing
            assert hub.entries[1].prev == hub.entries[0].number
            page = await hub.read("a", after=0)
            assert [entry.data for entry in page.entries] == [b"1", b"2"]
            assert not page.horizons

        self.run(test)


@contextlib.contextmanager
def writing(*brokers: Both) -> cabc.Iterator[list[tuple[int, str, bytes]]]:
    """Each broker changes items and publishes events in a thread of its own. The events are
    returned, with their numbers and channels."""
    stop = threading.Event()
    sent: list[tuple[int, str, bytes]] = []

    def write(broker: Both, seed: int) -> None:
        rng = random.Random(seed)
        while not stop.is_set():
            channel, item = rng.choice("abcd"), f"{seed}{rng.choice('ijk')}"
            data = str(rng.random())
            change = set_(item, data, channel)
            if rng.random() < 0.3:
                change = unset(item, channel)
            _, position = broker.change([change, Event(channel, data)])
            sent.append((position.number, channel, data.encode()))
            time.sleep(0.000_2)

    threads = [
        threading.Thread(target=write, args=(each, n)) for n, each in enumerate(brokers)
    ]
    for thread in threads:
        thread.start()
    try:
        yield sent
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def living(broker: Both, channel: str) -> dict[str, bytes]:
    """The channel's items, as a store has them."""
    return {row.item: row.data for row in broker.read_items([channel], limit=2**30).rows}
