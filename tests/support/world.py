"""A small world around the log, to which Hypothesis does anything.

:class:`Store` is the specification of a broker's log, kept as simply as possible.
:class:`World` is the smallest hub there can be: it drives a :class:`Log` the way the
real one does. A test says how many bytes each of its sockets takes.
:class:`CheckedReader` is a browser that knows, from the store, everything it should have
been given, and raises :exc:`AssertionError` at the first byte that breaks the promise.
"""

from __future__ import annotations

import json
import types
import typing as t
import zlib
from dataclasses import dataclass
from dataclasses import field

from flask_push._delivery import gzip as _gzip
from flask_push._delivery.channel import Frame
from flask_push._delivery.log import Log
from flask_push._delivery.readers import Readers
from flask_push._delivery.snapshot import LogState
from flask_push._delivery.subscription import ReaderGroup
from flask_push._delivery.subscription import Subscription
from flask_push._event import Entry
from flask_push._event import Event
from flask_push._event import Page
from flask_push._event import Position
from support.reader import StreamReader
from support.world_store import CHANNELS as CHANNELS
from support.world_store import RETENTION as RETENTION
from support.world_store import Store as Store


@dataclass
class CheckedReader:
    """A browser, and the promise that it got."""

    store: Store
    channels: frozenset[str]
    name: str
    #: Whether its stream is compressed.
    gzip: bool = False
    last_id: str = ""
    epoch: str = ""
    #: By channel, the number up to which it has everything or a gap.
    through: dict[str, int] = field(default_factory=dict)
    #: It sent a position that no store could honour, and must get a gap.
    lost: bool = False
    #: Channels of which it is past an event without a gap so far. True for those whose loss
    #: only a hub's feed knows.
    owed: dict[str, bool] = field(default_factory=dict)
    transients: set[str] = field(default_factory=set)
    opened: bool = False
    hub: World | None = None

    def __post_init__(self) -> None:
        self.received = StreamReader(gzip=self.gzip)

    def connect(self, hub: World) -> None:
        self.hub = hub
        self.opened = False
        self.received.begin()
        if self.gzip:
            self.received.feed(_gzip.HEADER)

    def receive(self, data: bytes) -> None:
        try:
            events = self.received.feed(data)
        except zlib.error as error:
            raise AssertionError(f"it can't be read: {error}") from error
        for event in events:
            self.take(event)
            # Without one it reconnects with the id that its page put into the address.
            self.last_id = self.received.last_id or self.last_id

    def take(self, event: Event) -> None:
        position = Position.parse(event.id)
        assert self.opened or event.type == "push:open"
        if event.type == "push:open":
            self.opened = True
            if event.id:
                # The store has now reached the position that was in its future.
                self.lost = False
            if event.id and event.id != self.last_id:
                if not self.through:
                    self.reset(position)
                self.reach(position)
        elif event.type == "push:gap":
            self.be_told(json.loads(event.data), position)
        elif event.data.startswith("transient"):
            assert event.channel in self.channels
            assert event.data not in self.transients, "twice"
            number = int(event.data.split()[1])
            assert self.store.excluded[number] != self.name, "its own"
            self.transients.add(event.data)
            assert position.number >= max(self.through.values()), "back to an older id"
            self.reach(position)
        else:
            channel, number = event.data.split()[0], int(event.data.split()[1])
            assert (channel, number) == (event.channel, position.number)
            assert self.store.excluded[number] != self.name, "its own"
            assert channel in self.channels, "not asked for"
            assert self.through[channel] < position.number, "twice, or out of order"
            assert channel not in self.owed, "a gap must come first"
            self.reach(position, but=position.number)

    def reach(self, position: Position, but: int = 0, told: t.Container[str] = ()) -> None:
        """Reach a position: after a reconnect, nothing up to it is sent again."""
        assert position.epoch == self.epoch, "another epoch, untold"
        for name in self.channels:
            for number in self.meant(name):
                if not self.through[name] < number <= position.number or number == but:
                    continue
                if name in told:
                    continue
                if self.store.proof(name).since > position.number:
                    self.owed[name] = False
                else:
                    assert number in self.store.unheard[name], f"{name} {number} is lost"
                    self.owed.setdefault(name, True)
            self.through[name] = max(self.through[name], position.number)

    def reset(self, position: Position) -> None:
        self.epoch = position.epoch
        self.through = dict.fromkeys(self.channels, position.number)
        self.owed.clear()

    def be_told(self, gap: dict[str, t.Any], position: Position) -> None:
        told = set(gap["channels"])
        if self.lost or self.epoch != position.epoch:
            assert told == self.channels, "only some channels told of a new epoch"
            assert position.number >= self.store.birth or position.epoch != self.store.epoch
            self.lost = False
            self.reset(position)
            return
        for name in told:
            assert self.through[name] < position.number, "told twice"
            if not self.owed.pop(name, None):
                assert self.through[name] < self.cause(name), f"{name} told without cause"
        self.reach(position, told=told)

    def cause(self, name: str) -> int:
        """A reader from before this number may get a gap."""
        if any(self.store.unheard.values()):
            # After a loss, a hub can't tell a predecessor that it never received from
            # one that the store has forgotten.
            return self.store.number + 1
        return max(self.store.trimmed[name], self.store.floor, self.store.outrun[name])

    def meant(self, name: str) -> list[int]:
        """The events of a channel that it must get."""
        return [n for n in self.store.ever[name] if self.store.excluded[n] != self.name]

    def unseen(self) -> list[tuple[str, int]]:
        return [
            (name, number)
            for name in sorted(self.channels)
            for number in self.meant(name)
            if self.epoch != self.store.epoch or number > self.through[name]
        ]


class Connection(Subscription):
    """A connection of a reader."""

    def __init__(self, client: CheckedReader, position: Position | None) -> None:
        self.client = client
        self.position = position
        self.room = 0
        self.wants_page = False
        self.begun = False

    @property
    def public_id(self) -> str:
        return self.client.name


def fail(entry: Entry, position: Position, error: Exception) -> None:
    """For a :class:`Log` of which all events can be sent."""
    raise error


class World:
    """A hub that only decides, without anything else."""

    def __init__(
        self, store: Store, module: types.ModuleType | None, max_bytes: int
    ) -> None:
        self.store = store
        self.unfed: list[Entry] = []
        store.feeds.append(self.unfed)
        log_class: type[Log] = Log if module is None else module.Log
        reading: type[Subscription] = (
            Subscription if module is None else module.Subscription
        )
        self.advance, self.advance_all = reading.advance, reading.advance_all
        self.pack = reading.pack
        self.log_state: type[LogState] = LogState if module is None else module.LogState
        self.make_log: t.Callable[[], Log] = lambda: log_class(
            report=fail, max_bytes=max_bytes
        )
        self.make_reading: type[Readers] = Readers if module is None else module.Readers
        self.begin_log()
        self.readers: list[Connection] = []
        self.unwatched: list[str] = []
        self.waiting: list[Connection] = []
        #: Channels of which the feed has lost an event, without another one since.
        self.unnoticed: set[str] = set()
        #: What its feed has delivered. A successor's feed lacks what was forgotten before.
        self.handed: set[tuple[str, int | None]] = set()
        #: The number up to which the feed has delivered everything.
        self.vouched = 0

    def begin_log(self) -> None:
        self.log = self.make_log()
        self.reading = self.make_reading(self.log, lambda: 0.5)

    # What happens in the hub.

    def connect(self, reader: Connection, room: int) -> None:
        reader.room = room
        # Another hub, or one that has forgotten the channel since, does not know what a
        # feed lost, so it sends no gap for it.
        for name in CHANNELS:
            elsewhere = reader.client.hub is not self or name not in self.log.holds()
            if elsewhere and reader.client.owed.get(name):
                del reader.client.owed[name]
        reader.client.connect(self)
        self.readers.append(reader)
        self.unwatched += self.join(reader)
        if not reader.group.missing:
            self.start(reader)

    def join(self, reader: Connection) -> list[str]:
        return self.reading.join(reader, reader.client.channels, reader.client.gzip)

    def start(self, reader: Connection) -> None:
        if reader.position is None or not reader.position.epoch:
            self.begin(reader)
        else:
            reader.wants_page = True

    def begin(self, reader: Connection, page: Page | None = None) -> None:
        if self.reading.begin(reader, "connection", reader.position, page):
            reader.begun = True
            self.pump(reader, page)
        else:
            reader.wants_page = True

    def pump(self, reader: Connection, page: Page | None = None) -> None:
        while True:
            frames = self.reading.read(reader, 200, page)
            if frames is None:
                if reader.cursor > self.log.end or page is not None:
                    self.waiting.append(reader)
                else:
                    reader.wants_page = True
                return
            if not frames:
                reader.group.admit(id(reader), reader)
                return
            frames = self.pack(reader, frames)
            written = self.write(reader, frames)
            if written < sum(len(frame) for _, frame in frames):
                self.advance(reader, frames, written)
                return
            self.advance_all(reader, frames)

    def write(self, reader: Connection, frames: t.Sequence[Frame]) -> int:
        data = b"".join(frame for _, frame in frames)
        written = min(reader.room, len(data))
        reader.room -= written
        reader.client.receive(data[:written])
        return written

    def answer(self, reader: Connection, limit: int) -> None:
        """Answer with the page for which a reader waits."""
        reader.wants_page = False
        if reader.begun:
            after = reader.cursor
        else:
            position = t.cast(Position, reader.position)
            after = self.reading.lacks(reader, position)
        page = self.store.page(reader.client.channels, after, limit)
        if reader.begun:
            self.pump(reader, page)
        else:
            self.begin(reader, page)

    def flush(self, touched: t.Iterable[ReaderGroup], start: int) -> None:
        for group in touched:
            frames = t.cast("list[Frame]", group.turn)
            apart = group.gaps
            names, group.excluded = group.excluded, frozenset()
            group.turn, group.gaps = [], False
            told = frames[-1][0] if frames else 0
            for key, reader in list(group.live.items()):
                if apart:
                    del group.live[key]
                    reader.cursor = start
                    self.pump(reader)
                    continue
                own = reader.public_id in names
                if own:
                    sent = [
                        (number, reader.unless_excluded(frame)) for number, frame in frames
                    ]
                sent = group.pack(sent if own else frames)
                written = self.write(reader, sent)
                if written < sum(len(frame) for _, frame in sent):
                    del group.live[key]
                    reader.cursor = start
                    self.advance(reader, sent, written)
                elif own:
                    reader.last_id_number = max(reader.last_id_number, group.last_id_number)
                    self.advance(reader, sent, written)
                    told = min(told, reader.last_id_number)
            if frames and not apart:
                group.last_id_number = told
        waiting, self.waiting = self.waiting, []
        for reader in waiting:
            self.pump(reader)

    def replace(self) -> None:
        """Have another hub take over everything, with only what can be sent."""
        chains = self.log_state.of(self.log)
        places = []
        for reader in self.readers:
            if reader.group.live.pop(id(reader), None):
                reader.cursor = self.log.end
                reader.last_id_number = max(
                    reader.last_id_number, reader.group.last_id_number
                )
            places.append((reader.epoch, reader.cursor, reader.rest, reader.last_id_number))
        self.begin_log()
        self.waiting = []
        for reader, place in zip(self.readers, places, strict=True):
            self.join(reader)
            reader.epoch, reader.cursor, reader.rest, reader.last_id_number = place
        chains.restore(self.log)
        self.unwatched = [c.name for c in self.log.channels.values() if not c.held]
        held = [e for entries in self.store.held.values() for e in entries]
        self.unfed[:] = sorted(e for e in held if e.number > self.log.end)
        if self.store.floor > self.log.end and self.store.epoch == self.log.epoch:
            self.log.hole = self.store.number
        for reader in self.readers:
            reader.wants_page = False
            if reader.begun:
                self.pump(reader)
            elif not reader.group.missing:
                self.start(reader)

    # What happens around it.

    def feed(self, count: int, skip: int = 0) -> None:
        """Deliver the next events, without the first few if it loses some."""
        unfed = self.unfed
        if self.store.epoch != self.log.epoch:
            # A feed that meets a new epoch begins with a snapshot.
            count, skip = len(unfed), 0
        lost, unfed[:skip] = unfed[:skip], []
        batch, unfed[:count] = unfed[:count], []
        for entry in lost:
            if entry.prev is not None:
                self.store.unheard[entry.channel].append(entry.number)
                self.unnoticed.add(entry.channel)
        self.unnoticed -= {entry.channel for entry in batch if entry.prev is not None}
        self.take_note(batch)
        start = self.log.end
        end = None if unfed or self.unnoticed else self.store.number
        if batch or end:
            self.flush(self.log.turn(self.store.epoch, batch, end), start)
        if end and not self.log.hole:
            self.vouched = end

    def take_note(self, entries: t.Iterable[Entry]) -> None:
        """Record events that name a predecessor that this hub never received, because
        the store forgot it first."""
        for entry in entries:
            before = entry.channel, entry.prev
            if (entry.prev or 0) > self.vouched and before not in self.handed:
                self.store.outrun[entry.channel] = entry.number
            self.handed.add((entry.channel, entry.number))

    def tick(self) -> None:
        """The hub's timer."""
        for reader in t.cast("list[Connection]", self.reading.aged(RETENTION // 4)):
            del reader.group.live[id(reader)]
            self.reading.reopen(reader, "connection")
            self.pump(reader)

    def grant(self, reader: Connection, room: int) -> None:
        reader.room += room
        idle = reader.begun and not reader.wants_page and reader not in self.waiting
        if idle and id(reader) not in reader.group.live:
            self.pump(reader)

    def watch(self, count: int = 3) -> None:
        """The feed watches some of the channels that it was asked for."""
        self.feed(len(self.unfed))
        names, self.unwatched = self.unwatched[:count], self.unwatched[count:]
        for group in self.log.hold(names):
            for reader in self.readers:
                if reader.group is group and not reader.begun and not reader.wants_page:
                    self.start(reader)

    def fill(self, limit: int) -> None:
        start = self.log.end
        page = self.store.page(self.log.holds(), start, limit)
        self.take_note(page.entries)
        self.flush(self.log.fill(page), start)

    def cut(self, reader: Connection) -> None:
        self.tick()
        if reader.group.live.pop(id(reader), None):
            id_number = Position.parse(reader.client.last_id).number
            assert self.log.end - id_number <= RETENTION // 4, "aged into a gap"
        self.readers.remove(reader)
        if reader in self.waiting:
            self.waiting.remove(reader)
        for name in self.reading.leave(reader):
            if name in self.unwatched:
                self.unwatched.remove(name)

    def settle(self) -> None:
        """Let everything happen that is under way."""
        for reader in self.readers:
            reader.room = 10**9
        for name in sorted(self.unnoticed):
            self.store.publish(name, 1)
        for _ in range(100):
            self.watch()
            while self.log.hole:
                self.fill(1)
            for reader in list(self.readers):
                if reader.wants_page:
                    self.answer(reader, 1)
                self.grant(reader, 0)
            if all(id(reader) in reader.group.live for reader in self.readers):
                break
        else:
            raise AssertionError(f"never live: {self.log}")
        for reader in self.readers:
            assert not reader.client.unseen() and not reader.client.owed
