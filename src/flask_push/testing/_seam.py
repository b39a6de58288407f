"""What stands between a publisher and its broker while a test captures or fails.

It has the broker's methods, so nothing notices it. Those that store something first ask
what fails, then call the broker, and then note what was stored. So what a test captures was
stored, in whatever order its blocks are nested. Runs have a way to the broker of their own,
and so have hubs: neither goes through here.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import threading
import typing as t
from dataclasses import replace

from .._delivery.wire import to_json
from .._event import Event
from .._event import event_id
from .._event import Position
from .._event import UNSET
from .._publisher import Publisher
from ..brokers import Broker
from ..brokers import ItemChange
from ..brokers import KeepsItems
from ..brokers import KeepsRuns
from ..brokers import NotPublished
from ..brokers import PublishUncertain

Failure = type[NotPublished] | type[PublishUncertain]
_Change = Event | ItemChange
T = t.TypeVar("T")

_TEXTS: dict[Failure, str] = {
    NotPublished: "A test lets publishing fail (testing.failing): nothing was stored.",
    PublishUncertain: "A test lets publishing fail (testing.failing): it was stored, but"
    " no one could know.",
}

# Held to place and to remove a seam.
_placing = threading.Lock()


class Publishes(t.Protocol):
    """A :class:`.Push` or a :class:`.Publisher`."""

    def _sender(self) -> Publisher: ...


class Seam:
    """:param broker: What it stands before."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        #: The lists of the blocks that capture, and what those that fail raise, in the
        #: order in which they began.
        self.lists: list[list[Event]] = []
        self.failures: list[Failure] = []
        self.blocks = 0
        # What is captured has the order of the store.
        self._lock = threading.Lock()
        methods = {name: getattr(broker, name) for name in dir(broker) if name[0] != "_"}
        # What a broker can do is asked by isinstance, which looks for these names.
        vars(self).update(methods)
        for name in {"publish", "change"} & methods.keys():
            vars(self)[name] = self._storing(methods[name])
        if "append" in methods:
            vars(self)["append"] = self._failing(methods["append"])

    def _storing(
        self, store: cabc.Callable[[cabc.Sequence[_Change]], list[Position]]
    ) -> cabc.Callable[[cabc.Sequence[_Change]], list[Position]]:
        def capture(changes: cabc.Sequence[_Change]) -> list[Position]:
            with self._lock:
                if not self.lists:
                    return store(changes)
                page = self.broker.read([], after=0)
                positions = store(changes)
                before = Position(page.epoch, page.end)
                events = [*_stored(changes, positions, before)]
                for each in self.lists:
                    each += events
                return positions

        return self._failing(capture)

    def _failing(self, store: cabc.Callable[..., T]) -> cabc.Callable[..., T]:
        def store_or_fail(*args: t.Any) -> T:
            failure = self.failures[-1] if self.failures else None
            if failure is NotPublished:
                raise failure(_TEXTS[failure])
            result = store(*args)
            if failure is not None:
                raise failure(_TEXTS[failure])
            return result

        return store_or_fail


@contextlib.contextmanager
def seam_of(push: Publishes) -> cabc.Iterator[Seam]:
    """The seam of a publisher, which is removed at the end of the last such block."""
    if not hasattr(push, "_sender"):
        raise TypeError(f"This takes a Push or a Publisher, not {push!r:.80}.")
    publisher = push._sender()
    with _placing:
        broker = t.cast(Broker | Seam, publisher._broker)
        if not isinstance(broker, Seam):
            if isinstance(broker, KeepsRuns):
                # Otherwise the first run in the block would keep the seam as its broker.
                publisher._runs()
            broker = Seam(broker)
            _place(publisher, t.cast(Broker, broker))
        broker.blocks += 1
    try:
        yield broker
    finally:
        with _placing:
            broker.blocks -= 1
            if not broker.blocks:
                _place(publisher, broker.broker)


def _place(publisher: Publisher, broker: Broker) -> None:
    publisher._broker = broker
    # It is found again at the next item, if the broker keeps any.
    publisher._items = broker if isinstance(broker, KeepsItems) else None


def _stored(
    changes: cabc.Sequence[_Change], positions: cabc.Sequence[Position], end: Position
) -> cabc.Iterator[Event]:
    """Those that are new. A store that has the key of an event, or that an item does not
    change, returns an older position.

    :param end: That of the store before the call.
    """
    for change, position in zip(changes, positions, strict=True):
        is_new = position.epoch != end.epoch or position.number > end.number
        if isinstance(change, Event):
            if is_new or not change.store:
                yield replace(change, id=event_id(position, change.channel))
        elif is_new and not change.kind and not change.due:
            yield _item_event(change, position)
        if is_new:
            end = position


def _item_event(change: ItemChange, position: Position) -> Event:
    channel, item, data, type, ttl, version = change[:6]
    if data is None:
        type, data = UNSET, to_json({"channel": channel, "item": item})
    id = event_id(position, channel, item)
    return Event(channel, data, type, id=id, item=item, ttl=ttl, version=version)
