"""What the tests of items have in common: changes, and the judge of a store."""

from __future__ import annotations

import collections.abc as cabc
import random
import typing as t

from .._event import Event
from .._event import Position
from ..brokers import Broker
from ..brokers import Entry
from ..brokers import ItemChange
from ..brokers import KeepsItems
from ._item_model import ItemModel
from ._item_model import Shown

#: Seconds for which an item lives that is due soon.
SOON = 0.05


class Both(KeepsItems, Broker, t.Protocol): ...


def set_(item: str, data: str = "x", channel: str = "a", **more: t.Any) -> ItemChange:
    return ItemChange(channel, item, data, **more)


def unset(item: str, channel: str = "a", **more: t.Any) -> ItemChange:
    return ItemChange(channel, item, None, **more)


def numbers_of(positions: cabc.Iterable[Position]) -> list[int]:
    return [position.number for position in positions]


def numbers_in(entries: cabc.Iterable[Entry]) -> list[int]:
    return [entry.number for entry in entries]


def refused(
    error: type[Exception], broker: Both, *changes: Event | ItemChange, words: str = ""
) -> None:
    """Nothing of the call is stored."""
    names = {change.channel for change in changes}
    before = broker.read(names, after=0, items=True)
    try:
        broker.change(changes)
    except error as found:
        assert words in str(found)
    else:
        raise AssertionError(f"{changes!r:.200} was not refused")
    assert broker.read(names, after=0, items=True) == before


def any_change(rng: random.Random, model: ItemModel) -> Event | ItemChange:
    """A change that concerns few items, so that rules meet."""
    if rng.random() < 0.1:
        return Event(rng.choice("ab"), "event")
    kind = rng.choice(["", "", "", "own"])
    channel, item = rng.choice("ab"), rng.choice("ijklmnop")
    row = model.rows.get((kind, channel, item))
    expect = None
    if rng.random() < 0.15:
        expect = rng.choice([str(row.position), "wrong", ""] if row else ["", "", "wrong"])
    version = rng.choice([None, None, None, rng.randrange(4)])
    if rng.random() < 0.3:
        due = rng.random() < 0.2
        version = None if due else version
        return unset(item, channel, kind=kind, version=version, expect=expect, due=due)
    data = rng.choice(["x", "y", "z" * rng.randrange(400)])
    about: dict[str, t.Any] = {"ttl": rng.choice([None, None, SOON, 600])}
    about |= {"type": rng.choice(["message", "t"]), "owner": rng.choice(["", "me"])}
    return set_(item, data, channel, kind=kind, version=version, expect=expect, **about)


def judge(broker: Both, model: ItemModel, after: int) -> None:
    """The broker has the rows, the horizons, the owners and the due rows of the model.

    :raises Undecided: If the clock does not decide what is right.
    """
    pages = {kind: broker.read_items("ab", kind=kind, due=True) for kind in ("", "own")}
    model.check_horizons(
        {(kind, name): page.horizons[name] for kind, page in pages.items() for name in "ab"}
    )
    for kind, found in pages.items():
        assert list(found.rows) == model.living_or_due(kind, "a", "b"), "living rows"
        owned = [row for row in found.rows if row.owner == "me"]
        assert broker.owned("me", kind=kind) == owned, "owned rows"
        before = model.living(kind, "a", "b")
        found = broker.read_items("ab", kind=kind)
        if before == model.living(kind, "a", "b"):
            assert list(found.rows) == before, "rows that are not due"
    page = broker.read("ab", after=after, limit=2**30, items=True)
    shown: list[Shown] = [
        (entry.number, entry.channel, entry.item, entry.type, entry.data)
        for entry in page.entries
        if entry.item
    ]
    assert shown == model.after(after, "a", "b"), "rows of a page"
    assert page.horizons == broker.read_items("ab").horizons, "horizons of a page"
    assert page.end == model.end, "the store's position"
    keys = model.due()
    due = {(each.kind, each.channel, each.item) for each in broker.due(1000)}
    if keys == model.due():
        assert due == keys, "rows that are due"
