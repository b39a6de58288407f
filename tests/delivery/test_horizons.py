"""Which readers need all items again."""

from __future__ import annotations

from flask_push._delivery.channel import Channel
from flask_push._delivery.horizons import Horizons
from flask_push._delivery.item_log import ItemBudget
from flask_push._delivery.item_log import ItemLog
from flask_push._delivery.item_log import ItemPiece
from flask_push._delivery.subscription import ReaderGroup


def channels(*held: str) -> dict[str, Channel[ReaderGroup]]:
    found = {name: Channel[ReaderGroup](name) for name in ("a", "b", "c")}
    for name in held:
        found[name].hold(10)
    return found


def test_channels_without_rows_have_no_items() -> None:
    horizons, found = Horizons(ItemBudget(1000)), channels()
    horizons.take(found, {"a": 3, "b": 4, "gone": 5}, {"b"}, 10)
    assert found["a"].items is not None and found["b"].items is None
    assert [channel.horizon for channel in found.values()] == [3, 4, 0]


def test_the_latest_horizons_of_a_coming_epoch_count() -> None:
    horizons, found = Horizons(ItemBudget(1000)), channels("a", "b", "c")
    found["c"].items = ItemLog(8)
    horizons.announce("other", {"a": 1}, ())
    horizons.announce("epoch", {"a": 5, "b": 6}, {"a", "b"})
    horizons.announce("epoch", {"a": 7}, ())
    horizons.begin("epoch", found.values(), 20)
    a, b, c = found.values()
    assert (a.horizon, b.horizon, c.horizon) == (7, 6, 0)
    assert a.items is not None and a.items.floor == 20
    assert b.items is None
    # Its readers may have items of the epoch before.
    assert c.items is not None and c.items.floor == 0


def test_a_horizon_beyond_the_end_drops_the_items_and_touches_live_readers() -> None:
    budget = ItemBudget(10_000)
    horizons, found = Horizons(budget), channels("a")
    channel = found["a"]
    group = ReaderGroup((channel,))
    channel.groups.add(group)
    channel.items = ItemLog(10)
    budget.put(channel.items, ItemPiece(11, "i", True, b""))
    horizons.rise(channel, 11, 11)
    assert len(channel.items) == 1
    horizons.rise(channel, 15, 11)
    assert not channel.items and channel.items.floor == 15
    touched: list[ReaderGroup] = []
    horizons.touch(touched, 14)
    assert not touched
    horizons.touch(touched, 15)
    assert touched == [group] and group.gaps
    horizons.touch(touched, 16)
    assert touched == [group]


def test_readers_of_a_version_without_items_get_them_with_the_next_event() -> None:
    horizons, found = Horizons(ItemBudget(1000)), channels("a", "b")
    horizons.doubtful |= {"a", "b"}
    horizons.take(found, {"a": 3, "b": 3}, {"b"}, 10)
    assert (found["a"].horizon, found["b"].horizon) == (11, 3)
    assert found["b"].items is None and not horizons.doubtful
