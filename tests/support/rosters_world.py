"""The world of :mod:`items_world`, with a roster that some of the clients watch."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass
from dataclasses import field
from functools import partial

from flask_push._delivery.roster import PRESENT
from flask_push._delivery.snapshot import LogState
from flask_push._event import Entry
from flask_push._event import Event
from flask_push._event import OwnChannel
from flask_push._event import Page
from flask_push._event import Position
from flask_push.brokers.items import ItemRow
from flask_push.brokers.items import ItemsPage
from support.items_store import ItemsStore
from support.items_store import Life
from support.items_store import Row
from support.items_world import Connection
from support.items_world import ItemsClient
from support.items_world import ItemsHub

NAME = "roster"
ROSTER = OwnChannel(PRESENT, NAME)

#: The users who are present and their info, and how many are counted.
Present = tuple[dict[str, str], int]


@dataclass
class RostersLife(Life):
    """What a store with a roster has in one epoch."""

    roster: dict[str, Row] = field(default_factory=dict)
    roster_horizon: int = 100
    roster_last: int = 100


class RostersStore(ItemsStore):
    life: RostersLife

    def _begin(self) -> None:
        if not isinstance(self.life, RostersLife):
            self.life = RostersLife()
        #: Who was present at each number of the epoch.
        self.presents: dict[int, Present] = {}
        super()._begin()

    def _note(self) -> None:
        super()._note()
        self.presents[self.number] = self.present()

    def present(self) -> Present:
        users: dict[str, Row] = {}
        counted = 0
        for item, row in self.life.roster.items():
            _, dot, user = item.partition(".")
            if row.value is None:
                continue
            if not dot:
                counted += int(row.value)
            elif user not in users or users[user].number < row.number:
                users[user] = row
        return {user: row.value or "" for user, row in users.items()}, counted

    def enter(self, item: str, value: str | None) -> None:
        """A hub stores a row, or unsets it."""
        row = self.life.roster.get(item)
        if value is None and (row is None or row.value is None):
            return
        self.number += 1
        prev, self.life.roster_last = self.life.roster_last, self.number
        self.life.roster.pop(item, None)
        self.life.roster[item] = Row(self.number, value)
        self._push(self._own_row(item, self.life.roster[item], prev))

    def forget(self, count: int) -> None:
        super().forget(count)
        life = self.life
        tombs = [(row.number, i) for i, row in life.roster.items() if row.value is None]
        for number, item in sorted(tombs)[:count]:
            if number != life.roster_last:
                del life.roster[item]
                life.roster_horizon = max(life.roster_horizon, number)

    @staticmethod
    def _own_row(item: str, row: Row, prev: int) -> Entry:
        return ItemsStore._row(item, row, prev)._replace(channel=ROSTER)

    def horizons(self) -> dict[str, int]:
        return {**super().horizons(), ROSTER: self.life.roster_horizon}

    def without(self) -> set[str]:
        return super().without() | (set() if self.life.roster else {ROSTER})

    def page(self, names: t.Collection[str], after: int, limit: int) -> Page:
        """As a feed reads it, which hands over rows of the roster, too."""
        page = super().page([name for name in names if name != ROSTER], after, 10_000)
        entries = list(page.entries)
        if ROSTER in names:
            prev = min(self.life.roster_horizon, after)
            for item, row in self.life.roster.items():
                if row.number > after:
                    entries.append(self._own_row(item, row, prev))
                    prev = row.number
        entries.sort()
        full = len(entries) > limit
        reach = entries[limit - 1].number if full else self.number
        return page._replace(entries=entries[:limit], reach=reach)

    def _at(self, row: Row) -> Position:
        return Position(self.epoch, row.number)

    def roster_page(self, after: int, limit: int) -> ItemsPage:
        rows = [
            ItemRow(
                Position(self.epoch, row.number),
                ROSTER,
                item,
                "message",
                row.value.encode(),
            )
            for item, row in self.life.roster.items()
            if row.value is not None and after < row.number
        ]
        reach = self.number if len(rows) <= limit else rows[limit - 1].number
        horizons: dict[str, int] = {ROSTER: self.life.roster_horizon}
        rows = rows[:limit]
        return ItemsPage(self.epoch, after, reach, self.number, rows, horizons)


class RostersClient(ItemsClient):
    """A browser that may watch the roster."""

    store: RostersStore

    def __init__(self, store: RostersStore, claims: bool, every: float = 0) -> None:
        super().__init__(store, claims, every)
        self.watches = True
        self.members: dict[str, str] = {}
        self.counted = 0

    def take(self, event: Event) -> None:
        if event.type == "push:items":
            assert ("watch" in event.json) == self.watches
            self.members, self.counted = {}, 0
        if event.type not in ("push:joined", "push:left", "push:count"):
            super().take(event)
            return
        data, position = event.json, Position.parse(event.id)
        assert self.watches and event.channel == data["channel"] == NAME
        assert position.epoch == self.epoch, "a member of another epoch, untold"
        if event.type == "push:joined":
            self.members[data["user"]] = json.dumps(data["info"])
        elif event.type == "push:left":
            self.members.pop(data["user"], None)
        else:
            self.counted = data["count"]

    def take_whole(self, position: Position, data: dict[str, t.Any]) -> None:
        super().take_whole(position, data)
        assert data.get("watch", []) == ([NAME] if self.watches else [])
        store = self.store
        if position.epoch != store.epoch or position.number not in store.presents:
            return
        members, counted = store.presents[position.number]
        if self.watches:
            for user in {*members, *self.members}:
                if self.members.get(user) != members.get(user):
                    assert self._follows(user, position), f"{user} is not as was"
            if self.counted != counted:
                assert self._follows("", position), "the count is not as it was"

    def _follows(self, user: str, position: Position) -> bool:
        """Whether something has changed since the position."""
        life = self.store.life
        rows = [row.number for i, row in life.roster.items() if i.partition(".")[2] == user]
        return max([life.roster_horizon, *rows]) > position.number

    def check(self) -> None:
        members, counted = self.store.present()
        if self.watches:
            assert self.members == members, "the members are not those who are there"
            assert self.counted == counted, "the count is wrong"


class RostersHub(ItemsHub):
    store: RostersStore
    watched = (*ItemsHub.watched, ROSTER)

    def begin(self, state: LogState | None = None) -> None:
        #: A page that was asked for, and is on its way.
        self.answer: t.Callable[[], None] | None = None
        super().begin(state)

    def enter(self, connection: Connection) -> None:
        client = connection.client
        assert isinstance(client, RostersClient)
        names = client.channels | ({ROSTER} if client.watches else set())
        self.readers.join(connection, names, every=client.every)

    def start(self, connection: Connection) -> bool:
        return not connection.group.missing and super().start(connection)

    def turn(self, count: int) -> None:
        super().turn(count)
        self.settle_rosters()
        roster = self.log.rosters.by_name.get(ROSTER)
        if (
            roster is not None
            and not roster.is_watched
            and self.log.epoch == self.store.epoch
        ):
            self.tell_horizons()
            roster.is_watched = True
            self.settle_rosters()

    def read(self) -> None:
        """Take the next page of the roster, or ask for it."""
        answer, self.answer = self.answer, None
        if answer is not None:
            answer()
            self.settle_rosters()
            return
        for roster in self.log.rosters.partial:
            reading = roster.reading
            if roster.is_watched and not self.log.hole:
                if not reading.is_asked and not reading.is_done:
                    reading.is_asked = True
                    self.ask(roster, 0)

    def ask(self, roster: t.Any, after: int) -> None:
        page = self.store.roster_page(after, 2)
        self.answer = partial(self.take_page, roster, roster.reading, page)

    def take_page(self, roster: t.Any, reading: t.Any, page: ItemsPage) -> None:
        if roster.reading is not reading:
            return
        if page.epoch != self.log.epoch:
            reading.is_asked = False
            return
        reading.read(page.rows, page.end)
        if page.reach < page.end:
            self.ask(roster, page.reach)
        else:
            reading.is_done = True

    def settle_rosters(self) -> None:
        for roster in self.log.settle_rosters():
            again = roster.held
            self.log.hold([roster.name])
            for connection in self.connections if again else ():
                if roster in connection.group.rosters and connection.begun:
                    self.begin_again(connection)

    def begin_again(self, connection: Connection) -> None:
        group: t.Any = connection.group
        if group.live.pop(id(connection), None) is not None:
            connection.cursor = group.place(self.log.end)
            assert connection.client is not None
            connection.client.falls_behind()
        elif group.every:
            group.late.pop(id(connection), None)
        self.readers.send_again(connection)

    def take_over(self) -> None:
        states, log = self.rules.roster.all_of(self.log), self.log
        super().take_over()
        if self.log is log:
            return
        for state in states:
            state.restore(self.log)
        self.log.hold(list(self.log.rosters.by_name))
        for connection in self.connections:
            self.readers.resume(connection)

    def lose(self) -> None:
        """As :meth:`ItemsHub.lose`, of items or of the roster."""
        rows = [entry for entry in self.queue if entry.item]
        for name in {row.channel: None for row in rows}:
            same = [row for row in rows if row.channel == name]
            if len(same) > 1 and self.pushes and self.joined:
                self.queue.remove(same[0])
                self.unnoticed = max(self.unnoticed, same[1].number)
                return
