"""Two machines, each with a hub, and users who are disconnected: a small world in which
everything that is late or lost happens when a test says so.

The hubs, their lists, logs and sockets are real. The store is in this process, and its
feeds lag behind it. A *view* decides at one time, and its stream reaches the hub at
another.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import os
import select
import socket
import typing as t
from dataclasses import dataclass

from flask_push import Position
from flask_push._delivery.disconnect import Disconnect
from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._event import Entry
from flask_push._event import Event
from flask_push._event import Page
from flask_push._event import Proof
from flask_push._hub.hub import Hub
from flask_push._ipc.client import Client
from flask_push.brokers import OwnEntry
from flask_push.brokers import OwnPage
from flask_push.brokers import Sink
from flask_push.brokers.own import OwnPages
from flask_push.sse import Parser

Operation = tuple[t.Any, ...]


class Broken(AssertionError):
    """A law was broken."""


class LaggingStore:
    """One channel, and the log of disconnects. Its feeds move when a test says so."""

    url = "lagging:"

    def __init__(self, newest_only: bool = False) -> None:
        self.epoch, self.last, self.horizon = "e0000", 100, 0
        self.events: list[Entry] = []
        self.disconnects: list[OwnEntry] = []
        self._newest_only = newest_only

    def publish(self, events: t.Sequence[Event]) -> list[Position]:
        self.last += 1
        before = self.events[-1].number if self.events else 100
        self.events.append(Entry(self.last, before, "a", "message", b"x"))
        return [Position(self.epoch, self.last)]

    def append(self, log: str, data: bytes, keep: float) -> Position:
        self.last += 1
        if self._newest_only:
            self.disconnects = [said for said in self.disconnects if said.data != data]
        self.disconnects.append(OwnEntry(self.last, data))
        return Position(self.epoch, self.last)

    def numbers(self) -> list[int]:
        events = [entry.number for entry in self.events]
        return sorted(events + [said.number for said in self.disconnects])

    def forget(self, count: int) -> None:
        """Remove the oldest disconnects."""
        for said in self.disconnects[:count]:
            self.horizon = said.number
        del self.disconnects[:count]

    def begin_again(self, lost: int) -> None:
        """Begin another epoch, without the newest of all that was stored."""
        numbers = self.numbers()
        since = numbers[-lost] if 0 < lost <= len(numbers) else self.last + 1
        self.events = [entry for entry in self.events if entry.number < since]
        self.disconnects = [said for said in self.disconnects if said.number < since]
        self.last += 1
        self.epoch = f"e{int(self.epoch[1:]) + 1:04}"

    def read(
        self,
        channels: cabc.Collection[str],
        *,
        after: int | None = None,
        last: int = 0,
        limit: int = 0,
    ) -> Page:
        if after is None:
            numbers = [entry.number for entry in self.events]
            after = numbers[-last - 1] if last < len(numbers) else 100
        new = [entry for entry in self.events if entry.number > after]
        proofs = dict.fromkeys(channels, Proof(0))
        return Page(self.epoch, after, self.last, self.last, new, proofs)

    def read_own(self, log: str, after: int = 0) -> OwnPage:
        since = max(after, self.horizon)
        new = [said for said in self.disconnects if said.number > since]
        return OwnPage(self.epoch, since, self.last, new)

    def feed(
        self,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        *,
        after: Position | None = None,
        channels: cabc.Collection[str] = (),
    ) -> LaggingFeed:
        return LaggingFeed(self, sink, after, channels)

    def close(self) -> None: ...


class LaggingFeed:
    retention = 10**9

    def __init__(
        self,
        store: LaggingStore,
        sink: Sink,
        after: Position | None,
        channels: cabc.Collection[str],
    ) -> None:
        self._store = store
        self._sink = sink
        self._epoch, self._end = after or ("", 0)
        self._watched, self._new = {*channels}, set[str]()
        self._own = OwnPages(sink)
        self._reads: list[cabc.Callable[[], None]] = []

    def watch(self, channels: cabc.Collection[str]) -> None:
        self._new |= {*channels}

    def unwatch(self, channels: cabc.Collection[str]) -> None:
        self._watched -= {*channels}
        self._new -= {*channels}

    def read(
        self,
        channels: cabc.Collection[str],
        callback: cabc.Callable[[Page], None],
        *,
        after: int | None = None,
        last: int = 0,
    ) -> None:
        def answer() -> None:
            page = self._store.read(channels, after=after, last=last)
            self._give_own(page.reach)
            callback(page)

        self._reads.append(answer)

    def close(self) -> None:
        self._reads = []

    def turn(self, count: int) -> None:
        """Hand over so many events and disconnects, and then what was asked for."""
        store = self._store
        numbers = [number for number in store.numbers() if number > self._end][:count]
        end = numbers[-1] if len(numbers) == count else store.last
        if store.epoch != self._epoch:
            self._epoch, end = store.epoch, store.last
            self._give_own(end)
            self._sink.deliver(store.epoch, [], end)
        else:
            self._give_own(end)
            new = [e for e in store.events if self._end < e.number <= end]
            new = [entry for entry in new if entry.channel in self._watched]
            self._sink.deliver(store.epoch, new, end)
        self._end = end
        new_channels, self._new = self._new, set()
        self._watched |= new_channels
        self._sink.watched(sorted(new_channels))
        reads, self._reads = self._reads, []
        for answer in reads:
            answer()

    def _give_own(self, end: int) -> None:
        store = self._store
        page = store.read_own("disconnect", self._own.after("disconnect", store.epoch))
        if page.since <= end:
            found = [said for said in page.entries if said.number <= end]
            page = page._replace(end=end, entries=found)
        self._own.give("disconnect", page)


@dataclass
class View:
    """A request whose view decides, perhaps after a while."""

    user: str
    machine: int
    seen: str
    decided: int | None = None


@dataclass
class Given:
    """A stream that a hub has, or had, and when its view decided."""

    user: str
    decided: int
    ours: socket.socket


@dataclass(frozen=True)
class Rules:
    """The rules of the app and of the store: which position a stream carries, and a ticket;
    and which disconnects the store keeps."""

    seen: str = "begin"
    ticket: str = "seen"
    newest_only: bool = False


class World:
    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.now = 0
        self.store = LaggingStore(rules.newest_only)
        self.loop = asyncio.get_running_loop()
        #: By epoch, in the order in which they began.
        self.epochs = [self.store.epoch]
        self.ended: list[tuple[int, int, str, int]] = []
        self.noted: list[Position | None] = [None, None]
        self.seen = [Position(self.store.epoch, 100)] * 2
        self.hubs = [self.make_hub(0), self.make_hub(1)]
        self.queues: list[list[tuple[Stream, int]]] = [[], []]
        self.views: list[View] = []
        self.tickets: list[tuple[Stream, int]] = []
        self.given: list[Given] = []

    def make_hub(self, machine: int, state: t.Any = None) -> Hub:
        def note(position: Position) -> None:
            self.noted[machine] = position

        options = Options(retry=0.5, heartbeat=1000)
        store = t.cast(t.Any, self.store)
        return Hub(store, options, self.loop, state, note)

    def close(self) -> None:
        for hub in self.hubs:
            hub.stop()
        for given in self.given:
            given.ours.close()

    def order(self, position: Position) -> tuple[int, int]:
        return self.epochs.index(position.epoch), position.number

    async def play(self, operations: cabc.Iterable[Operation]) -> None:
        for name, *args in operations:
            self.now += 1
            getattr(self, f"do_{name}")(*args)
            await asyncio.sleep(0)
        self.check()

    # What may happen.

    def do_publish(self) -> None:
        self.store.publish([])

    def do_end(self, user: str, machine: int) -> None:
        position = self.store.append("disconnect", Disconnect(user).to_bytes(), 3600)
        self.ended.append((*self.order(position), user, self.now))
        self.seen[machine] = max(self.seen[machine], position, key=self.order)

    def do_begin(self, user: str, machine: int) -> None:
        self.views.append(View(user, machine, str(self.seen[machine])))

    def do_decide(self, index: int) -> None:
        for view in [v for v in self.views if v.decided is None][index : index + 1]:
            view.decided = self.now

    def do_hand(self, index: int) -> None:
        """A view's stream is on its way to the hub; and a return ticket is made."""
        for view in [v for v in self.views if v.decided is not None][index : index + 1]:
            self.views.remove(view)
            assert view.decided is not None
            late = self.rules.seen == "stream"
            seen = str(self.seen[view.machine]) if late else view.seen
            more: dict[str, t.Any] = {"last": 4 * (len(self.given) % 2)}
            stream = Stream(("a",), "c", user=view.user, session="", seen=seen, **more)
            self.queues[view.machine].append((stream, view.decided))
            if self.rules.ticket == "made":
                position = Position(self.store.epoch, self.store.last)
                stream = stream._replace(seen=str(position))
            self.tickets.append((stream, view.decided))

    def do_adopt(self, machine: int) -> None:
        for stream, decided in self.queues[machine][:1]:
            del self.queues[machine][0]
            self.adopt(self.hubs[machine], stream, decided)

    def do_redeem(self, index: int, machine: int) -> None:
        hub = self.hubs[machine]
        for stream, decided in self.tickets[::-1][index : index + 1]:
            if not hub.disconnects.refuses(stream):
                ours = self.adopt(hub, stream, decided)
                if is_closed(ours):
                    raise Broken("a browser comes with the same ticket for ever")

    def adopt(self, hub: Hub, stream: Stream, decided: int) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.given.append(Given(t.cast(str, stream.user), decided, ours))
        hub.adopt(stream, Client(theirs.detach()))
        return ours

    def do_turn(self, machine: int, count: int) -> None:
        feed = self.hubs[machine]._feed._feed
        t.cast(t.Any, feed).turn(count)

    def do_tell(self, machine: int) -> None:
        """The processes of a machine read their hub's position."""
        if (noted := self.noted[machine]) is not None:
            self.seen[machine] = max(self.seen[machine], noted, key=self.order)

    def do_restart(self, machine: int) -> None:
        self.hubs[machine].stop()
        self.queues[machine].clear()
        self.hubs[machine] = self.make_hub(machine)

    def do_takeover(self, machine: int) -> None:
        self.hubs[machine] = self.make_hub(machine, self.hubs[machine].freeze())

    def do_forget(self, count: int) -> None:
        self.store.forget(count)

    def do_epoch(self, lost: int) -> None:
        self.store.begin_again(lost)
        self.epochs.append(self.store.epoch)

    # What must hold.

    def check(self) -> None:
        """No event after a disconnect was written to a stream that it names, if its view
        decided before."""
        for given in self.given:
            written = [self.order(p) for p in positions(given.ours)]
            for epoch, number, user, time in self.ended:
                if user == given.user and given.decided < time:
                    if any(order > (epoch, number) for order in written):
                        raise Broken("an event after the disconnect was written")

    async def check_return(self) -> None:
        """Who is allowed a stream has one at the second attempt."""
        for machine, hub in enumerate(self.hubs):
            for _ in range(4):
                self.do_turn(machine, 99)
                await asyncio.sleep(0)
            for _ in range(2):
                self.do_tell(machine)
                seen = str(self.seen[machine])
                stream = Stream(("a",), "c", user="u", session="", seen=seen)
                ours = self.adopt(hub, stream, self.now)
                self.do_turn(machine, 99)
                if b"push:open" in received(ours):
                    break
            else:
                raise Broken("a user who is allowed a stream has none")


def received(sock: socket.socket) -> bytes:
    with contextlib.suppress(BlockingIOError):
        return os.read(sock.fileno(), 2**20)
    return b""


def is_closed(sock: socket.socket) -> bool:
    """Whether the hub has closed its end."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return any(mask & select.POLLHUP for _, mask in poll.poll(0))


def positions(sock: socket.socket) -> list[Position]:
    """Those of the events that were written."""
    events = Parser().feed(received(sock))
    return [Position.parse(e.id) for e in events if not e.type.startswith("push:")]
