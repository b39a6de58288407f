"""Two hubs that only decide, with the real log and readers, beside a store with items.

:class:`ItemsHub` drives them as the real hub does. :class:`ItemsClient` is a browser that
knows, from the store, everything it should have got. It raises :exc:`AssertionError` at the
first event that breaks the promise.
"""

from __future__ import annotations

import json
import types
import typing as t

from flask_push._delivery.all_items import LivingPieces
from flask_push._delivery.all_items import take_rows
from flask_push._delivery.log import Log
from flask_push._delivery.readers import Readers
from flask_push._delivery.snapshot import LogState
from flask_push._delivery.snapshot import RosterState
from flask_push._delivery.subscription import ItemsPlace
from flask_push._delivery.subscription import ReaderGroup
from flask_push._delivery.subscription import Subscription
from flask_push._event import Entry
from flask_push._event import Event
from flask_push._event import item_of
from flask_push._event import Page
from flask_push._event import Position
from flask_push._event import UNSET
from flask_push.brokers import ItemsPage
from support.items_store import ITEMS
from support.items_store import ItemsStore
from support.items_store import LOG
from support.reader import StreamReader


class Rules(t.NamedTuple):
    """The classes that decide: the real ones, or those of a mutant."""

    log: type[Log] = Log
    readers: type[Readers] = Readers
    subscription: type[Subscription] = Subscription
    state: type[LogState] = LogState
    place: type[ItemsPlace] = ItemsPlace
    take_rows: t.Callable[[ReaderGroup, ItemsPage, Log], LivingPieces] = take_rows
    roster: type[RosterState] = RosterState

    @classmethod
    def of(cls, m: types.ModuleType) -> Rules:
        states = m.LogState, m.ItemsPlace, m.take_rows, m.RosterState
        return cls(m.Log, m.Readers, m.Subscription, *states)


def fail(entry: Entry, position: Position, error: Exception) -> None:
    raise error


class Connection(Subscription):
    """A connection of a client. Without a client, it keeps a hub's channels watched."""

    def __init__(self, client: ItemsClient | None) -> None:
        self.client = client
        self.begun = False

    @property
    def holds(self) -> str:
        return self.client.holds if self.client and self.client.claims else ""

    @property
    def asks_for_items(self) -> bool:
        return self.client is not None and self.client.claims


class ItemsClient:
    """A browser.

    :param claims: Whether it says, when it reconnects, that it holds the items.
    :param every: The pause between two writes to it.
    """

    def __init__(self, store: ItemsStore, claims: bool, every: float = 0) -> None:
        self.store, self.claims, self.every = store, claims, every
        self.channels = {LOG, ITEMS}
        #: Whether its socket takes what comes while it is live.
        self.eager = True
        self.hub: ItemsHub | None = None
        self.last_id = self.holds = self.epoch = ""
        #: The number up to which it has the log's events, or a gap.
        self.through = 0
        #: Whether it is past an event that the store has trimmed, without a gap so far.
        self.owed = False
        self.items: dict[str, str] = {}
        self.numbers: dict[str, int] = {}
        self.whole = False
        self.received = StreamReader()
        #: The events that the store does not keep: those it has got, and those it must get.
        self.passed: list[str] = []
        self.expects: list[str] = []
        #: The items in the write that it gets.
        self.written: list[str] = []

    def connect(self, hub: ItemsHub) -> None:
        self.cut()
        self.received.begin()
        self.hub, self.connection = hub, Connection(self)
        hub.join(self.connection)

    def cut(self) -> None:
        self.falls_behind()
        if self.hub is not None:
            self.hub.leave(self.connection)
            self.hub = None

    def deliver(self, count: int) -> None:
        for _ in range(count):
            if self.hub is None or not self.hub.send(self.connection):
                return

    def falls_behind(self) -> None:
        """What the store does not keep is not for a reader that is behind (law 14)."""
        self.expects = list(self.passed)

    def receive_all(self, frames: t.Iterable[t.Any]) -> None:
        """Receive what is written to all live readers together."""
        self.written = []
        self.receive(b"".join(frame for _, frame in frames))
        assert self.passed == self.expects, "an event that is not kept is lost"

    def receive(self, data: bytes) -> None:
        for event in self.received.feed(data):
            self.take(event)
            self.last_id = self.received.last_id or self.last_id

    def take(self, event: Event) -> None:
        position = Position.parse(event.id)
        data = json.loads(event.data) if event.type.startswith("push:") else {}
        if event.type == "push:gap":
            self.take_gap(position)
            return
        if event.type == "push:items":
            self.items, self.holds, self.whole = {}, "", False
            return
        # The parser gives an event without an id that of the one before it.
        if event.id and not self.epoch:
            self.epoch, self.through = position.epoch, position.number
            if event.channel == LOG:
                self.through -= 1
        if event.type == "push:open":
            if event.id != self.last_id:
                self.reach(position)
        elif event.type == "push:whole":
            self.take_whole(position, data)
        elif event.channel == LOG and event.data.startswith("t"):
            self.passed.append(event.data)
            if position.number > self.through:
                self.reach(position)
        elif event.channel == LOG:
            assert position.number > self.through, "an event twice, or too old"
            assert not self.owed, "the gap must come first"
            self.reach(position, but=position.number)
        else:
            assert event.channel == ITEMS
            assert ITEMS in self.channels
            self.take_item(event, position, data)

    def take_item(self, event: Event, position: Position, data: t.Any) -> None:
        item, parts = item_of(event.id), event.id.split(".")
        assert item
        assert item not in self.written or not self.every, "an item twice in one write"
        self.written.append(item)
        number = Position.parse(f"{position.epoch}-{parts[-1]}").number
        if len(parts) == 3:
            number = position.number
        if position.number > self.through:
            self.reach(position)
        assert position.epoch == self.epoch, "an item of another epoch, untold"
        assert self.numbers.get(item, 0) <= number, "an item became older"
        assert len(parts) > 3 or self.numbers.get(item) != number, "a change twice"
        self.numbers[item] = number
        if event.type == UNSET:
            assert data == {"channel": ITEMS, "item": item} and len(parts) == 3
            self.items.pop(item, None)
        else:
            self.items[item] = event.data

    def take_gap(self, position: Position) -> None:
        if position.epoch != self.epoch:
            self.epoch, self.through, self.owed = position.epoch, position.number, False
            self.numbers.clear()
            self.whole, self.holds = False, ""
            return
        assert position.number > self.through, "a gap twice"
        assert self.is_trimmed(), "a gap without cause"
        self.owed = False
        self.reach(position, told=True)

    def is_trimmed(self) -> bool:
        """Whether there may be a gap."""
        other = self.store.epoch != self.epoch
        return other or self.store.life.since > self.through

    def take_whole(self, position: Position, data: dict[str, t.Any]) -> None:
        assert set(data["channels"]) == self.channels
        self.whole, self.holds = True, data["holds"]
        store = self.store
        if position.epoch == store.epoch and position.number in store.states:
            meant = store.states[position.number]
            for item in {*meant, *self.items} if ITEMS in self.channels else ():
                row = store.life.rows.get(item)
                follows = (row.number if row else store.life.horizon) > position.number
                if self.items.get(item) != meant.get(item):
                    assert follows, f"{item} is not as it was, and nothing follows"
        if position.number > self.through:
            self.reach(position)

    def reach(self, position: Position, but: int = 0, told: bool = False) -> None:
        """Have everything up to the position: after a reconnect, none of it follows."""
        assert position.epoch == self.epoch, "another epoch, untold"
        store = self.store
        for number in store.ever if store.epoch == self.epoch else ():
            if self.through < number <= position.number and number != but and not told:
                assert store.life.since > position.number, "an event is lost"
                self.owed = True
        self.through = max(self.through, position.number)


class ItemsHub:
    """
    :param pushes: Whether its feed pushes what happens. Otherwise, it reads it.
    """

    #: What its feed hands over.
    watched: tuple[str, ...] = (LOG, ITEMS)

    def __init__(self, store: ItemsStore, rules: Rules, pushes: bool) -> None:
        self.store, self.rules, self.pushes = store, rules, pushes
        self.queue: list[Entry] = []
        store.queues.append(self.queue)
        #: The row with which it becomes clear that the one before it was lost.
        self.unnoticed = 0
        self.connections: list[Connection] = []
        self.begin()

    def begin(self, state: LogState | None = None) -> None:
        self.log = self.rules.log(report=fail, max_bytes=100_000)
        #: Paced groups for which something waits.
        self.paced: dict[t.Any, None] = {}
        self.readers = self.rules.readers(self.log, lambda: 0.5)
        self.readers.join(Connection(None), {LOG, ITEMS})
        if state is not None:
            return
        self.queue.clear()
        self.joined = True
        self.meet_epoch()
        self.log.hold([LOG, ITEMS])

    def meet_epoch(self) -> None:
        store = self.store
        self.tell_horizons()
        self.queue.clear()
        self.unnoticed = 0
        self.joined = True
        start = self.log.end
        self.flush(self.log.turn(store.epoch, (), store.number), start)

    def tell_horizons(self) -> None:
        store = self.store
        self.log.take_horizons(store.epoch, store.horizons(), store.without())
        self.told = store.horizons()

    def restart(self) -> None:
        for connection in list(self.connections):
            assert connection.client is not None
            connection.client.cut()
        self.begin()

    def take_over(self) -> None:
        """Let another hub continue, with what the old one can send to it."""
        if not self.log.is_whole() or self.log.end < self.unnoticed:
            return
        self.pace()
        state = self.rules.state.of(self.log)
        places = []
        for c in self.connections:
            if c.group.live.pop(id(c), None) is not None:
                c.cursor = self.log.end
            position = c.items.position if c.items and c.items.sending else c.cursor
            items = c.items.to_json(c.cursor) if c.items else None
            places.append((c.epoch, position, c.rest, items))
        self.begin(state)
        for c, (epoch, position, rest, items) in zip(self.connections, places, strict=True):
            self.enter(c)
            c.epoch, c.cursor, c.rest = epoch, position, rest
            if items is not None:
                c.items, c.cursor = self.rules.place.from_json(items, position)
        state.restore(self.log)
        self.tell_horizons()

    def turn(self, count: int) -> None:
        log, store, start = self.log, self.store, self.log.end
        if log.epoch != store.epoch:
            self.meet_epoch()
        elif log.hole:
            self.flush(log.fill(store.page([LOG, ITEMS], start, count)), start)
        elif self.pushes and self.joined:
            batch, self.queue[:count] = self.queue[:count], []
            end = None if self.queue else store.number
            self.flush(log.turn(store.epoch, batch, end), start)
        else:
            page = store.page(self.watched, start, count)
            self.joined = page.reach == page.end
            if self.joined:
                self.queue.clear()
            horizons = store.horizons().items()
            if any(self.told[name] < number <= page.reach for name, number in horizons):
                self.tell_horizons()
            if store.life.since > start:
                log.hole = max(log.hole, store.number)
                self.flush(log.turn(store.epoch, (), None), start)
            else:
                end = page.end if self.joined else None
                self.flush(log.turn(store.epoch, page.entries, end), start)

    def lose(self) -> None:
        """Lose a row before it is pushed. The feed does not notice, but the next row shows
        it."""
        rows = [entry for entry in self.queue if entry.item]
        if len(rows) > 1 and self.pushes and self.joined:
            self.queue.remove(rows[0])
            self.unnoticed = rows[1].number

    def cut(self) -> None:
        """Lose the link to the store. A feed that has lost a row has noticed it by then."""
        if self.log.end >= self.unnoticed:
            self.joined = False
            self.queue.clear()

    def flush(self, touched: list[ReaderGroup], start: int) -> None:
        for group in touched:
            frames, group.turn = group.turn, []
            if group.every:
                t.cast(t.Any, group).wait(start)
                self.paced[group] = None
                continue
            apart, group.gaps = group.gaps, False
            for key, connection in list(group.live.items()):
                client = connection.client
                if apart or not client.eager:
                    del group.live[key]
                    connection.cursor = start
                    client.falls_behind()
                else:
                    client.receive_all(frames)

    def pace(self) -> None:
        """Write to all paced groups for which something waits."""
        groups, self.paced = self.paced, {}
        for group in groups:
            start, frames, _ = group.take()
            for key, connection in list(group.live.items()):
                client = connection.client
                if frames is None or not client.eager:
                    del group.live[key]
                    connection.cursor = start
                    client.falls_behind()
                else:
                    client.receive_all(frames)

    def pass_by(self, data: str) -> None:
        """Have the feed hand over an event that the store does not keep."""
        entry = Entry(self.log.end, None, LOG, "message", data.encode())
        if self.log.hole:
            return
        for connection in self.connections:
            client = connection.client
            if client is not None and id(connection) in connection.group.live:
                client.expects.append(data)
        self.flush(self.log.turn(self.log.epoch, [entry]), self.log.end)

    def evict(self, channel: str, count: int) -> None:
        """Drop the oldest that the log has."""
        found = self.log.channels[channel]
        if channel == LOG:
            numbers = [number for number, _ in found.between(0, self.log.end)]
            if numbers:
                self.log.budget.drop(found, numbers[:count][-1])
        elif found.items is not None:
            numbers = [piece.number for piece in found.items.between(0, self.log.end)]
            if numbers:
                self.log.item_budget.drop(found.items, numbers[:count][-1])

    # Its readers.

    def join(self, connection: Connection) -> None:
        self.connections.append(connection)
        self.enter(connection)

    def enter(self, connection: Connection) -> None:
        client = connection.client
        assert client is not None
        self.readers.join(connection, client.channels, every=client.every)

    def leave(self, connection: Connection) -> None:
        connection.group.leave(id(connection))
        self.connections.remove(connection)
        self.readers.leave(connection)
        if not connection.group.members:
            self.paced.pop(connection.group, None)

    def start(self, connection: Connection) -> bool:
        client = connection.client
        assert client is not None
        position, page = Position.parse(client.last_id), None
        if position.epoch:
            after = self.readers.lacks(connection, position)
            page = self.store.page(client.channels, after, 3)
        begun = self.readers.begin(
            connection, "connection", position if client.last_id else None, page
        )
        connection.begun = begun
        return begun

    def send(self, connection: Connection) -> bool:
        """Send the next frame. False if there is none now."""
        client = connection.client
        assert client is not None
        if not connection.begun and not self.start(connection):
            return False
        group: t.Any = connection.group
        if id(connection) in group.live or (group.every and id(connection) in group.late):
            return False
        client.written = []
        frames = self.readers.read(connection, 1)
        if frames is None and (place := connection.items) and place.sending:
            after, upto = connection.cursor, max(place.position, self.log.end)
            if place.base < 0:
                return False
            found = self.store.items_page(client.channels, after, upto, 2)
            rows = self.rules.take_rows(connection.group, found, self.log)
            frames = self.readers.read(connection, 1, None, rows)
        elif frames is None:
            if connection.cursor > self.log.end:
                return False
            page: Page = self.store.page(client.channels, connection.cursor, 3)
            frames = self.readers.read(connection, 1, page)
        if frames is None:
            return False
        if not frames:
            connection.group.admit(id(connection), connection)
            return False
        _, frame = frames[0]
        self.rules.subscription.advance(connection, frames, len(frame))
        client.receive(bytes(frame))
        return True


def settle(
    store: ItemsStore, hubs: t.Sequence[ItemsHub], clients: t.Sequence[ItemsClient]
) -> None:
    """Let everything arrive, and check that it is true."""
    for client in clients:
        if client.hub is None:
            client.connect(hubs[0])
    for _ in range(60):
        for hub in hubs:
            hub.turn(9)
            hub.pace()
        for client in clients:
            client.deliver(9)
    for client in clients:
        assert client.epoch == store.epoch, "it never got to the new epoch"
        assert all(number <= client.through for number in store.ever), "an event is missing"
        assert not client.owed, "a gap is missing"
        if ITEMS in client.channels:
            assert client.items == store.truth(), "the items are not what they are"
        assert client.connection.items is None, "it never got push:whole"
        assert client.whole or not client.claims
        assert client.passed == client.expects, "an event came that is not for it"
