"""Brokers whose feeds break one promise about own items each, for the tests of the
contract."""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from flask_push._event import Entry
from flask_push._event import OwnChannel
from flask_push.brokers import ItemsPage
from flask_push.brokers import Sink
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.memory.feed import MemoryFeed
from flask_push.brokers.memory.items import Items
from support.broken_item_feeds import Between
from support.broken_item_feeds import Giving
from support.broken_items import Keeping


class _OwnLast(Between):
    def alter(self, entries: cabc.Sequence[Entry]) -> list[Entry]:
        return sorted(entries, key=lambda entry: isinstance(entry.channel, OwnChannel))


class OwnLast(Giving):
    """Delivers own items after all others."""

    between = _OwnLast


class _Unnamed(Between):
    def alter(self, entries: cabc.Sequence[Entry]) -> list[Entry]:
        return [entry._replace(channel=str(entry.channel)) for entry in entries]


class Unnamed(Giving):
    """Its entries name an own channel by a text that is none."""

    between = _Unnamed


class _AnyKind(Items):
    def unread(self, after: int, upto: int) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for name, entries in super().unread(after, upto).items():
            kind, channel = OwnChannel.parts(name)
            name = OwnChannel.of(kind and "own", channel)
            found.setdefault(name, []).extend(e._replace(channel=name) for e in entries)
        return found


class AnyKind(Keeping):
    """Takes all own kinds for one."""

    items_of = _AnyKind


class _OfTheApp(Items):
    def horizons(
        self, names: cabc.Iterable[str], kind: str = ""
    ) -> tuple[dict[str, int], set[str]]:
        numbers, without = {}, set()
        for name in names:
            channel = OwnChannel.parts(name)[1]
            known, rows = super().horizons([channel], kind)
            numbers[name] = known[channel]
            without |= {name} if rows else set()
        return numbers, without


class OfTheApp(Keeping):
    """Gives the horizons of the app's channels for those of own channels."""

    items_of = _OfTheApp


class Forgetting(MemoryBroker):
    """A feed that goes on forgets the own channels."""

    def feed(self, sink: Sink, *args: t.Any, **more: t.Any) -> MemoryFeed:
        given = more.pop("channels", ())
        kept = [name for name in given if not isinstance(name, OwnChannel)]
        return super().feed(sink, *args, **more, channels=kept)


class Plain(MemoryBroker):
    """A page of own items names their channel as an app's."""

    def feed(self, sink: Sink, *args: t.Any, **more: t.Any) -> MemoryFeed:
        feed = super().feed(sink, *args, **more)

        def read_items(
            channels: cabc.Collection[str],
            callback: cabc.Callable[[ItemsPage], None],
            **where: t.Any,
        ) -> None:
            kind, _ = OwnChannel.parts(next(iter(channels)))
            names = [OwnChannel.parts(name)[1] for name in channels]
            page = self.read_items(names, kind=kind, due=True, **where)
            feed._loop.call_soon(lambda: callback(page))

        feed.read_items = read_items  # type: ignore[method-assign]
        return feed
