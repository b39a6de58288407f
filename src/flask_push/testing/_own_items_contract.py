"""Tests of feeds that deliver items of Flask-Push's own kinds.

A sink watches them by an :class:`.OwnChannel`. No name of an app's channel leads to them.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from .._event import Event
from .._event import OwnChannel
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
from ._item_store_contract import ItemStoreContract
from ._sink import RecordingSink
from ._sink import until

OWN = OwnChannel("own", "a")


def own(item: str, data: str | None = "x", **more: t.Any) -> ItemChange:
    """A change of an item of the own channel, if `more` names no other."""
    return ItemChange(**{"channel": "a", "item": item, "data": data, "kind": "own", **more})


class OwnItemsContract(ItemStoreContract):
    """A part of :class:`ItemsContract`."""

    def begin_again(self) -> bool:
        """Begin another epoch of the store of this test, as if it had been emptied while it
        is used. ``False`` if that can't be: then it is not tested."""
        return False

    def test_a_feed_delivers_own_items_in_order_with_all_others(self) -> None:
        async def test(broker: Both, hub: ItemRecordingSink) -> None:
            other = OwnChannel("own", "غرفة")
            await hub.watch("a", OWN, other)
            changes: list[Event | ItemChange]
            changes = [own("i", "1"), Event("a", "2"), set_("i", "3"), own("j", "4")]
            changes += [own("ä.", "5", channel="غرفة"), own("k", None), own("l", type="t")]
            positions = broker.change(changes)
            await until(lambda: hub.end >= positions[-1].number)
            # Nothing was stored for this one.
            del positions[5]
            positions += broker.change([own("i", None), unset("i")])
            await until(lambda: hub.end >= positions[-1].number)
            found = [(e.channel, e.item, e.type, e.data) for e in hub.entries]
            assert found == [
                (OWN, "i", "message", b"1"),
                ("a", "", "message", b"2"),
                ("a", "i", "message", b"3"),
                (OWN, "j", "message", b"4"),
                (other, "ä.", "message", b"5"),
                (OWN, "l", "t", b"x"),
                (OWN, "i", UNSET, b""),
                ("a", "i", UNSET, b""),
            ]
            assert [entry.number for entry in hub.entries] == numbers_of(positions)
            kinds = [OwnChannel.parts(entry.channel)[0] for entry in hub.entries]
            assert kinds == ["own", "", "", "own", "own", "own", "own", ""]

        self._run_items(test)

    def test_a_feed_delivers_only_the_own_channels_that_are_watched(self) -> None:
        async def test(broker: Both, hub: ItemRecordingSink) -> None:
            await hub.watch(OWN, OwnChannel("other", "b"))
            changes: list[Event | ItemChange] = [Event("a", "no"), set_("i", "no")]
            changes += [own("i", "no", kind="other"), own("i", "no", channel="b")]
            broker.change([*changes, own("i", "1")])
            await until(lambda: hub.items_of(OWN))
            hub.feed.unwatch([OWN])
            del hub.watching[OWN], hub.known[OWN]
            broker.change([own("i", "no")])
            await hub.watch("b")
            await hub.watch(OWN)
            assert OWN in hub.known and OWN not in hub.without
            (last,) = broker.change([own("j", "2")])
            await until(lambda: hub.end >= last.number)
            assert hub.items_of(OWN) == [("i", "message", b"1"), ("j", "message", b"2")]
            assert len(hub.entries) == 2

        self._run_items(test)

    def test_a_feed_gives_the_horizons_of_own_channels(self) -> None:
        async def test(broker: Both, hub: ItemRecordingSink) -> None:
            empty = OwnChannel("own", "b")
            broker.change([set_("i"), set_("i", channel="b")])
            names = [f"i{n}" for n in range(MIN_TOMBSTONES + 5)]
            for start in range(0, len(names), 500):
                broker.change([own(name) for name in names[start : start + 500]])
            # The sink fails if a channel is watched first.
            await hub.watch("a", OWN, empty)
            assert hub.without == {empty}
            before = broker.read_items("ab", kind="own").horizons
            assert (hub.known[OWN], hub.known[empty]) == (before["a"], before["b"])
            gone = []
            for start in range(0, len(names), 500):
                gone += broker.change([own(n, None) for n in names[start : start + 500]])
                await until(lambda: hub.end >= gone[-1].number)  # noqa: B023
            assert broker.read_items("a", kind="own").horizons == {"a": gone[4].number}
            known = [given for end, given in hub.ends if end >= gone[-1].number]
            assert known and {given[OWN] for given in known} == {gone[4].number}
            assert hub.known["a"] < gone[0].number

        self._run_items(test)

    def test_a_feed_that_goes_on_delivers_own_items_too(self) -> None:
        async def test(broker: Both, hub: ItemRecordingSink) -> None:
            await hub.watch("a", OWN)
            (first,) = broker.change([own("i", "1")])
            await until(lambda: hub.items_of(OWN) and hub.end >= first.number)
            hub.feed.close()
            broker.change([own("i", "2"), own("j", "3"), Event("a", "4"), own("j", None)])
            second = ItemRecordingSink(broker, hub)
            try:
                await until(lambda: second.events_of("a") and len(second.rows) == 2)
                (last,) = broker.change([own("k", "5")])
                await until(lambda: second.end >= last.number)
                assert second.living(OWN) == {"i": b"2", "k": b"5"}
                assert second.rows[OWN, "j"][1] == UNSET
                assert second.missing == 0 and second.known.keys() == {"a", OWN}
            finally:
                second.feed.close()

        self._run_items(test)

    def test_a_feed_reads_own_items(self) -> None:
        async def test(broker: Both, hub: ItemRecordingSink) -> None:
            other = OwnChannel("own", "b")
            changes = [own("i", ttl=SOON, owner="me"), own("j", channel="b"), own("k")]
            numbers = numbers_of(broker.change([set_("i"), *changes, own("l")])[1:])
            broker.change([own("l", None)])
            self.wait(SOON + 0.02)
            page = await hub.read_items(OWN, other)
            assert [(row.channel, row.item) for row in page.rows] == [
                (OWN, "i"),
                (other, "j"),
                (OWN, "k"),
            ]
            assert page.rows[0].owner == "me"
            known = broker.read_items("ab", kind="own").horizons
            assert page.horizons == {OWN: known["a"], other: known["b"]}
            names = [*page.horizons, *(row.channel for row in page.rows)]
            assert all(isinstance(name, OwnChannel) for name in names)
            page = await hub.read_items(OWN, after=numbers[0], upto=numbers[2])
            assert [row.item for row in page.rows] == ["k"] and page.reach == numbers[2]

        self._run_items(test)

    def test_a_new_epoch_begins_with_the_horizons_of_own_channels(self) -> None:
        async def test(broker: Both, hub: ItemRecordingSink) -> None:
            broker.change([own("i", "old")])
            await hub.watch(OWN, OwnChannel("own", "b"))
            before = hub.epoch
            if not self.begin_again():
                return
            # The sink fails if the epoch is delivered first.
            await until(lambda: hub.epoch != before)
            assert hub.known.keys() == {OWN, OwnChannel("own", "b")}
            (last,) = broker.change([own("j", "new")])
            await until(lambda: hub.end >= last.number and hub.items_of(OWN))
            assert hub.items_of(OWN)[-1] == ("j", "message", b"new")

        self._run_items(test)

    # How the tests open the broker.

    def _run_items(
        self,
        test: cabc.Callable[[Both, ItemRecordingSink], cabc.Awaitable[None]],
        retention: Retention | None = None,
    ) -> None:
        async def main(broker: Broker, hub: RecordingSink) -> None:
            await test(t.cast(Both, broker), t.cast(ItemRecordingSink, hub))

        self.run(main, retention, sink=ItemRecordingSink)
