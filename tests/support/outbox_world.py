"""Relays of one outbox that take turns at the steps between which they can be cut.

Each relay is a greenlet that stops before each call of the store or of the database. Who
goes on, and what becomes of the call, is chosen by the test. The store and the database are
real ones, in memory.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

import sqlalchemy as sa
from greenlet import getcurrent
from greenlet import greenlet
from greenlet import GreenletExit

from flask_push import Event
from flask_push import NotPublished
from flask_push import Position
from flask_push import Publisher
from flask_push import PublishUncertain
from flask_push._delivery.outbox_ids import Ranges
from flask_push._delivery.outbox_recent import OutboxRow
from flask_push.brokers import ItemChange
from flask_push.brokers import ItemsPage
from flask_push.brokers import NotRead
from flask_push.brokers.memory import MemoryBroker
from flask_push.sqlalchemy import _turns
from flask_push.sqlalchemy._database import OutboxRows
from flask_push.sqlalchemy._row_text import to_text
from flask_push.sqlalchemy._table import outbox_table
from flask_push.sqlalchemy._turns import RelayTurns

CHANNELS = "a", "b"

#: What becomes of a call: as it should be; the process is killed before it, or after it;
#: it fails, and nothing is done; it fails, and all is done; or it fails, and is done later.
OK, KILLED_BEFORE, KILLED_AFTER, FAILED, UNSURE, DELAYED = FATES = (
    *("ok", "killed before", "killed after", "failed", "unsure", "delayed"),
)


class _Gone(sa.exc.OperationalError):
    def __init__(self) -> None:
        super().__init__("", {}, Exception("the database is gone"))


class World:
    """
    :param fate: Says what becomes of the next call of a relay.
    """

    def __init__(self, engine: sa.Engine, fate: cabc.Callable[[], str]) -> None:
        self.engine, self.fate = engine, fate
        metadata = sa.MetaData()
        self.table = outbox_table("push_outbox", metadata)
        metadata.drop_all(engine)
        metadata.create_all(engine)
        self.store = _Store(self)
        self.publisher = Publisher(self.store)
        self.now = 1000.0
        self.relays: list[Process] = []
        self.delayed: list[cabc.Callable[[], object]] = []
        self.committed: list[int] = []
        #: The calls of relays, for tests that go through all of them.
        self.calls = 0

    # For ``time``, in the module that is tested.
    def monotonic(self) -> float:
        return self.now

    def commit(self, *ids: int) -> None:
        """The app commits these rows. They got their numbers earlier."""
        rows = [{"id": id, "data": to_text(Event(CHANNELS[id % 2], str(id)))} for id in ids]
        with self.engine.begin() as connection:
            connection.execute(sa.insert(self.table), rows)
        self.committed += ids

    def process(self) -> Process:
        process = Process(self)
        self.relays.append(process)
        return process

    def arrive(self) -> None:
        """Calls that seemed to have failed are done."""
        delayed, self.delayed = self.delayed, []
        for call in delayed:
            try:
                call()
            except NotPublished:
                pass

    def call(self, function: cabc.Callable[[], t.Any], failures: t.Any) -> t.Any:
        process = getcurrent()
        assert isinstance(process, Process)
        self.calls += 1
        self._main.switch()
        fate, process.fate = process.fate or self.fate(), ""
        if fate == KILLED_BEFORE:
            raise GreenletExit
        if fate == FAILED:
            raise failures[0]
        if fate == DELAYED:
            self.delayed.append(function)
            raise failures[1]
        result = function()
        if fate == KILLED_AFTER:
            raise GreenletExit
        if fate == UNSURE:
            raise failures[1]
        return result

    def run(self, process: Process) -> None:
        """Let a relay go on to its next call."""
        self._main = getcurrent()
        self.now += 0.001
        process.switch()

    def finish(self) -> None:
        """A relay comes that nothing befalls, and publishes all there is."""
        self.fate = lambda: OK
        last = self.process()
        for _ in range(400):
            self.run(last)
            self.now += 0.05
            if last.idle > 2 and not self.rows():
                break
        else:
            raise AssertionError(f"rows are left: {self.rows()}")
        last.kill()

    def rows(self) -> list[int]:
        with self.engine.connect() as connection:
            return [*connection.scalars(sa.select(self.table.c.id))]

    def published(self, channel: str) -> list[int]:
        page = self.store.read([channel], after=0, limit=2**30)
        return [int(entry.data) for entry in page.entries]

    def check(self, ordered: bool = True) -> None:
        """Each committed row was published once."""
        for n, channel in enumerate(CHANNELS):
            expected = [id for id in self.committed if id % 2 == n]
            found = self.published(channel)
            assert sorted(found) == sorted(expected), (found, expected)
            if ordered:
                assert found == sorted(expected), found

    def close_relays(self) -> None:
        self.fate = lambda: OK
        for process in self.relays:
            process.kill()

    def close(self) -> None:
        self.close_relays()
        self.engine.dispose()


class Process(greenlet):  # type: ignore[misc]
    """A process with a relay."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        #: What becomes of its next call, if the test says it.
        self.fate = ""
        #: How many turns have found nothing to do.
        self.idle = 0
        self.turns = RelayTurns(
            "push_outbox", _Rows(world.engine, world.table, world), world.publisher
        )

    def run(self) -> None:
        while True:
            try:
                more = self.turns.turn()
                self.idle = 0 if more or not self.turns.lease.holds else self.idle + 1
                self.world.now += 0.1 if more or self.turns.lease.holds else 0.9
            except (NotPublished, NotRead, PublishUncertain, sa.exc.SQLAlchemyError):
                self.world.now += 0.1

    def kill(self) -> None:
        if self:
            self.throw(GreenletExit)


_STORE = NotPublished("away"), PublishUncertain("away")
_READ = NotRead("away"), NotRead("away")


class _Store(MemoryBroker):
    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def change(self, changes: cabc.Sequence[Event | ItemChange]) -> list[Position]:
        given = [*changes]
        found: list[Position] = self._world.call(
            lambda: super(_Store, self).change(given), _STORE
        )
        return found

    def read_items(self, *args: t.Any, **options: t.Any) -> ItemsPage:
        page: ItemsPage = self._world.call(
            lambda: super(_Store, self).read_items(*args, **options), _READ
        )
        return page


class _Rows(OutboxRows):
    def __init__(self, engine: sa.Engine, table: sa.Table, world: World) -> None:
        super().__init__(engine, table)
        self._world = world

    def next(self, done: Ranges) -> list[OutboxRow]:
        failures = _Gone(), _Gone()
        rows: list[OutboxRow] = self._world.call(
            lambda: super(_Rows, self).next(done), failures
        )
        return rows


def use(world: World, monkeypatch: t.Any) -> None:
    """Let the relays have the clock of the world."""
    monkeypatch.setattr(_turns, "time", world)
