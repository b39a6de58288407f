"""A small world around one run and those that follow it, to which anything happens.

:class:`FollowHub` is the smallest hub that there can be. A :class:`FollowClient` knows
from the store what it should be sent, and raises :exc:`AssertionError` at the first byte
that breaks the promise.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from dataclasses import field

from flask_push._delivery.channel import Frame
from flask_push._delivery.chunks import Unchunker
from flask_push._delivery.follow import Follow
from flask_push._delivery.follow import Framing
from flask_push._delivery.followed import ALL
from flask_push._delivery.followed import RunGroup
from flask_push._delivery.followed import RunPieces
from flask_push._delivery.following import OVER
from flask_push._delivery.log import Log
from flask_push._delivery.readers import Readers
from flask_push._delivery.run_rows import PROGRESS
from flask_push._delivery.run_rows import STATUS
from flask_push._delivery.run_wires import Why
from flask_push._delivery.run_wires import WIRES
from flask_push._delivery.snapshot import LogState
from flask_push._delivery.subscription import ReaderGroup
from flask_push._delivery.subscription import Subscription
from flask_push._event import Entry
from flask_push._event import Event
from flask_push._event import Page
from flask_push._event import Position
from flask_push.sse import Parser
from support.follows_store import CHANNEL
from support.follows_store import OWN
from support.follows_store import RunStore
from support.follows_store import Stored
from support.follows_store import TAG


@dataclass
class FollowClient:
    """A client, and the promise that it got."""

    store: RunStore
    wire: str = "push"
    framing: Framing = "none"
    hub: FollowHub | None = None
    reader: FollowReader | None = None
    #: Ids and the number of events that it has, over all connections.
    last_id: str = ""
    received: int = 0
    status: str = ""
    statuses: list[str] = field(default_factory=list)
    gaps: int = 0
    progress: int = 0
    #: Whether a response has said that it is complete.
    is_done: bool = False
    #: Whether all of the run was forgotten then.
    gone: bool = False
    #: Whether it may be sent that something else is missing than rows that were forgotten,
    #: and the reasons that it was sent.
    takes_all: bool = False
    reasons: list[str] = field(default_factory=list)
    opened: bool = False

    @property
    def is_plain(self) -> bool:
        return WIRES[self.wire].is_plain

    def connect(self, hub: FollowHub) -> None:
        self.hub, self.opened = hub, False
        self.parser, self.chunks = Parser(), Unchunker()
        self.body = b""
        after, skip = self.store.first, 0
        if self.last_id:
            after = Position.parse(self.last_id).number
            skip = int((self.last_id.split(".") + ["", "0"])[2] or 0)
        follow = Follow(
            *(CHANNEL, TAG, self.wire, self.store.epoch, after, skip, self.framing)
        )
        self.reader = FollowReader(self, follow)
        hub.connect(self.reader)

    def cut(self) -> None:
        if self.hub is not None and self.reader is not None:
            self.hub.leave(self.reader)
            self.hub = self.reader = None

    def end(self) -> None:
        """The hub ends the stream, which is complete."""
        assert self.hub is not None and self.reader is not None
        if self.framing == "chunked":
            assert self.chunks.is_whole, "it has no last chunk"
        self.is_done = True
        if not self.is_plain and not self.status:
            self.gone = not any(item.startswith(TAG) for item in self.store.rows)
        self.cut()

    def receive(self, data: bytes) -> None:
        if self.is_plain:
            self.body += self.chunks.feed(data) if self.framing == "chunked" else data
            self.check_body()
            return
        for event in self.parser.feed(data):
            self.take(event)
            self.last_id = event.id or self.last_id

    def check_body(self) -> None:
        if not any(whole.startswith(self.body) for whole in self.bodies()):
            assert self.is_cut_short() or self.takes_all, self.body

    def bodies(self) -> list[bytes]:
        """What it may be sent."""
        known = self.store.body(self.wire)
        if not self.store.has_forgotten_events:
            return [known]
        return [known, self.store.body(self.wire, knows_last=False)]

    def is_cut_short(self) -> bool:
        """Whether the body ends with what says that the run is not whole."""
        words: tuple[Why, ...] = ("gap", "restarted")
        for why in words:
            word = WIRES[self.wire].broken(why)
            for length in range(len(word), 0, -1):
                if self.body.endswith(word[:length]):
                    begin = self.body[: len(self.body) - length]
                    if self.store.body(self.wire).startswith(begin):
                        return why != "gap" or self.store.horizon > self.store.first
        return False

    def take(self, event: Event) -> None:
        assert not self.status, "something follows the end"
        assert self.opened or event.type == "push:open"
        number = Position.parse(event.id).number
        if event.type == "push:open":
            self.opened = True
            if self.last_id and event.id != self.last_id:
                # It needs no channel, unless it says how many events of a row there were.
                assert event.id == self.last_id.split(".")[0], "another place"
                assert self.last_id.count(".") < 2, "another place"
        elif event.type == "push:gap":
            self.take_gap(event.json["reason"], number)
        elif event.type == STATUS:
            assert event.json["status"] not in self.statuses, "twice"
            self.statuses.append(event.json["status"])
            if event.json["status"] == self.store.ended:
                self.status = self.store.ended
                assert self.received == len(self.store.texts), "it ends too early"
        elif event.type == PROGRESS:
            # It has no id of its own.
            assert event.id == self.last_id and event.json["done"] >= self.progress
            self.progress = event.json["done"]
        else:
            assert event.data == self.store.texts[self.received], (event, self.received)
            self.received += 1

    def take_gap(self, reason: str, number: int) -> None:
        if reason == "trimmed":
            self.gaps += 1
            # Something is forgotten that it has not got.
            assert Position.parse(self.last_id).number < number <= self.store.horizon
        else:
            assert self.takes_all, reason
            self.reasons.append(reason)
        rows = [row for row in self.store.ever if row.number > number]
        texts = [r for r in rows if r.type == "message" and r.item.startswith(TAG)]
        total = len(self.store.texts)
        self.received = int(texts[0].item.split(".")[2]) if texts else total

    def check(self) -> None:
        """Everything that was under way has happened."""
        if self.is_plain:
            if self.is_done:
                whole = self.body in self.bodies()
                assert (whole and self.store.ended) or self.is_cut_short()
            else:
                assert not self.store.ended and self.body == self.store.body(self.wire)
        elif self.gaps and self.is_done and not self.status:
            # All of the run was forgotten, so it was asked to come again.
            assert self.gone
        else:
            assert self.received == len(self.store.texts)
            assert self.status == self.store.ended
            assert self.is_done == bool(self.store.ended)
            if not self.gaps:
                assert self.progress == self.store.count


class FollowReader(Subscription):
    """A connection of a client."""

    def __init__(self, client: FollowClient, follow: Follow) -> None:
        self.client, self._follow = client, follow
        self.room = 0
        self.begun = self.wants_page = self.waits = False

    @property
    def follow(self) -> Follow:
        return self._follow

    def leave_live(self, cursor: int) -> None:
        """As that of the hub's connection."""
        del self.group.live[id(self)]
        self.last_id_number = max(self.last_id_number, self.group.last_id_number)
        self.cursor = max(cursor, self.last_id_number)


def fail(entry: Entry, position: Position, error: Exception) -> None:
    raise error


class FollowHub:
    """A hub that only decides."""

    def __init__(self, store: RunStore, max_bytes: int) -> None:
        self.store, self.max_bytes = store, max_bytes
        self.unfed: list[Stored] = []
        store.feeds.append(self.unfed)
        self.readers: list[FollowReader] = []
        self.watches = self.unnoticed = False
        self.told = 0
        self.begin()

    def begin(self) -> None:
        self.log = Log(report=fail, max_bytes=self.max_bytes)
        self.reading = Readers(self.log, lambda: 0.5)
        self.log.turn(self.store.epoch, [], self.store.number)
        self.unfed.clear()

    # Readers.

    def connect(self, reader: FollowReader) -> None:
        self.readers.append(reader)
        if self.reading.join(reader, (CHANNEL,)):
            self.watch()
        if not reader.group.missing:
            self.start(reader)

    def watch(self) -> None:
        """The feed watches the channel from here on."""
        self.unfed[:] = [row for row in self.unfed if row.number > self.log.end]
        self.told = 0
        self.tell_horizon()
        self.log.hold([OWN])

    def start(self, reader: FollowReader) -> None:
        assert self.reading.begin(reader, "connection")
        reader.begun = True
        self.pump(reader)

    def leave(self, reader: FollowReader) -> None:
        reader.group.leave(id(reader))
        self.readers.remove(reader)
        self.reading.leave(reader)

    def pump(self, reader: FollowReader, rows: RunPieces | None = None) -> None:
        group = reader.group
        assert isinstance(group, RunGroup)
        while True:
            frames = self.reading.read(reader, 60, None, rows)
            if frames is None:
                in_vain = rows is not None and rows.after == group.begin_page(reader)
                reader.waits = in_vain or reader.cursor > self.log.end
                reader.wants_page = not reader.waits
                return
            if frames is OVER:
                reader.client.end()
                return
            if not frames:
                group.admit(id(reader), reader)
                return
            written = self.write(reader, frames)
            if written < sum(len(frame) for _, frame in frames):
                reader.advance(frames, written)
                return
            reader.advance_all(frames)

    def write(self, reader: FollowReader, frames: t.Sequence[Frame]) -> int:
        data = b"".join(frame for _, frame in frames)
        written = min(reader.room, len(data))
        reader.room -= written
        reader.client.receive(data[:written])
        return written

    def grant(self, reader: FollowReader, room: int) -> None:
        """The client reads so many bytes."""
        reader.room += room
        live = id(reader) in reader.group.live
        if reader.begun and not (reader.wants_page or reader.waits or live):
            self.pump(reader)

    def answer(self, limit: int) -> None:
        """Read a page for all readers of a group that wait for one."""
        waiting = [reader for reader in self.readers if reader.wants_page]
        if not waiting:
            return
        group = waiting[0].group
        assert isinstance(group, RunGroup)
        together = [reader for reader in waiting if reader.group is group]
        after = min(group.begin_page(reader) for reader in together)
        rows = self.reading.following.take(group, self.store.page(after, limit))
        for reader in together:
            reader.wants_page = False
            self.pump(reader, rows)

    # The feed.

    def feed(self, count: int, lose: int = 0) -> None:
        """Deliver the next rows, without the first few if they are lost on their way."""
        self.tell_horizon()
        unfed = self.unfed
        lost, unfed[:lose] = unfed[:lose], []
        self.unnoticed |= bool(lost)
        batch, unfed[:count] = unfed[:count], []
        self.unnoticed &= not batch
        end = None if unfed or self.unnoticed else self.store.number
        self.turn([row.entry for row in batch], end)

    def elsewhere(self) -> None:
        """An event of another channel arrives, whatever is missing before it."""
        if self.unfed:
            number = self.unfed[0].number - 1
        else:
            number = self.store.number
        if number > self.log.end:
            self.turn([Entry(number, 0, "other", "message", b"")], None)

    def read(self) -> None:
        """Deliver what a feed has read from the store: the newest row of each item. It
        reads from where it has everything, because the log's end may be behind a row that
        was lost."""
        self.tell_horizon()
        after = self.log.proved
        prev = min(self.store.horizon, after)
        entries = []
        for row in sorted(self.store.rows.values()):
            if row.number > after:
                entries.append(row._replace(prev=prev).entry)
                prev = row.number
        self.unfed.clear()
        self.unnoticed &= not any(entry.number > self.log.end for entry in entries)
        self.turn(entries, None if self.unnoticed else self.store.number)

    def tell_horizon(self) -> None:
        if self.store.horizon > self.told:
            self.told = self.store.horizon
            horizons: dict[str, int] = {OWN: self.told}
            self.log.take_horizons(self.store.epoch, horizons, ())

    def miss(self) -> None:
        """The feed has missed everything up to the store's end."""
        self.unfed.clear()
        self.unnoticed = False
        start = self.log.end
        self.log.hole = self.store.number
        page = self.page_of_nothing()
        self.flush(self.log.fill(page), start)

    def page_of_nothing(self) -> Page:
        end = self.store.number
        return Page(self.store.epoch, self.log.end, end, end, [], {})

    def turn(self, entries: list[Entry], end: int | None) -> None:
        start = self.log.end
        self.flush(self.log.turn(self.store.epoch, entries, end), start)

    def flush(self, touched: list[ReaderGroup], start: int) -> None:
        """As the hub's fan-out."""
        for group in touched:
            assert isinstance(group, RunGroup)
            frames = t.cast("list[Frame]", group.turn)
            apart, group.turn, group.gaps = group.gaps, [], False
            place = group.place(start)
            for reader in list(group.live.values()):
                if apart:
                    reader.leave_live(place)
                    self.pump(reader)
                    continue
                written = self.write(reader, frames)
                if written < sum(len(frame) for _, frame in frames):
                    reader.leave_live(start)
                    reader.advance(frames, written)
            if not apart:
                group.last_id_number = frames[-1][0]
                if group.last_id_number == ALL:
                    for reader in list(group.live.values()):
                        reader.client.end()
        for reader in [reader for reader in self.readers if reader.waits]:
            reader.waits = False
            self.pump(reader)

    def replace(self) -> None:
        """Have another hub take over everything, with only what can be sent."""
        if not self.log.is_whole():
            return
        state = LogState.of(self.log)
        places = []
        for reader in self.readers:
            if id(reader) in reader.group.live:
                reader.leave_live(reader.group.place(self.log.end))
            places.append((reader.epoch, reader.cursor, reader.rest, reader.last_id_number))
        self.log = Log(report=fail, max_bytes=self.max_bytes)
        self.reading = Readers(self.log, lambda: 0.5)
        for reader, place in zip(self.readers, places, strict=True):
            self.reading.join(reader, (CHANNEL,))
            reader.epoch, reader.cursor, reader.rest, reader.last_id_number = place
        state.restore(self.log)
        self.log.take_horizons(self.store.epoch, {OWN: self.store.horizon}, ())
        self.log.hold([OWN])
        self.unfed[:] = [row for row in self.unfed if row.number > self.log.end]
        for reader in list(self.readers):
            reader.wants_page = reader.waits = False
            if reader.begun:
                self.pump(reader)
            else:
                self.start(reader)

    def settle(self) -> None:
        if self.unnoticed:
            # Only the next row says that one was lost.
            self.store.record()
        for _ in range(60):
            self.read()
            for reader in list(self.readers):
                self.grant(reader, 10**6)
            self.answer(2)
        for reader in self.readers:
            assert id(reader) in reader.group.live, f"never live: {self.log}"
