"""How fast the relay of an outbox is: rows that wait, and the delay of a single one.

The databases are those of the tests. PostgreSQL waits for its disk here.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import quantiles

import sqlalchemy as sa
from compare import Result
from compare import Row
from compare import Scale

from flask_push import Event
from flask_push import Position
from flask_push import Publisher
from flask_push.sqlalchemy import Outbox

sys.path.append(str(Path(__file__).parents[2] / "tests"))

from support.databases import MariaDB  # noqa: E402
from support.databases import PostgreSQL  # noqa: E402

DATA = "x" * 100
#: Rows of one transaction.
BATCH = 100


class DurablePostgreSQL(PostgreSQL):
    def command(self) -> list[str]:
        return [word.replace("--fsync=off", "--fsync=on") for word in super().command()]


@contextlib.contextmanager
def _databases() -> cabc.Iterator[dict[str, str]]:
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = {"SQLite": f"sqlite:///{directory}/app.db"}
        for name, kind in ("PostgreSQL", DurablePostgreSQL), ("MariaDB", MariaDB):
            server = stack.enter_context(kind.started(directory / name))
            urls[name] = server.url(server.create())
        yield urls


@contextlib.contextmanager
def _outbox(url: str) -> cabc.Iterator[tuple[Outbox, Publisher, sa.Engine]]:
    engine = sa.create_engine(url)
    with tempfile.TemporaryDirectory() as directory:
        publisher = Publisher(f"sqlite://{directory}/push.db")
        outbox = Outbox(publisher, sa.MetaData(), engine=engine)
        outbox.table.metadata.drop_all(engine)
        outbox.table.metadata.create_all(engine)
        try:
            yield outbox, publisher, engine
        finally:
            outbox.close()
            publisher.close()
            engine.dispose()


def outbox_rate(scale: Scale) -> list[Row]:
    """Events a second that a relay publishes, of rows that wait; and that a program
    publishes which has them in its memory, in calls of as many."""
    rows: list[Row] = []
    count = max(BATCH, round(20_000 * min(scale.seconds, 1)) // BATCH * BATCH)
    with _databases() as urls:
        direct = Row("relay of an outbox", "no database", "events/s")
        rows = [Row("relay of an outbox", name, "events/s") for name in urls]
        for _ in range(scale.rounds):
            reference = _directly(count)
            direct.add(Result(reference), reference)
            for row, url in zip(rows, urls.values(), strict=True):
                row.add(Result(_rate(url, count)), reference)
    return [direct, *rows]


def _directly(count: int) -> float:
    with tempfile.TemporaryDirectory() as directory:
        publisher = Publisher(f"sqlite://{directory}/push.db")
        events = [Event("a", DATA)] * 500
        began = time.monotonic()
        for start in range(0, count, 500):
            publisher.publish_many(events[: count - start])
        spent = time.monotonic() - began
        publisher.close()
        return count / spent


def _rate(url: str, count: int) -> float:
    with _outbox(url) as (outbox, publisher, engine):
        texts = [{"data": f'{{"channel":"a","data":"{DATA}"}}'}] * BATCH
        for _ in range(count // BATCH):
            with engine.begin() as connection:
                connection.execute(sa.insert(outbox.table), texts)
        began = time.monotonic()
        outbox.relay()
        spent = time.monotonic() - began
        (relay,) = outbox._relays
        assert relay.relayed == count, relay
        return count / spent


def outbox_delay(scale: Scale) -> list[Row]:
    """Milliseconds from the commit of another process to the event in the store. PostgreSQL
    wakes the relay, the others are asked."""
    count = max(10, round(200 * scale.seconds))
    rows: list[Row] = []
    with _databases() as urls:
        for name, url in urls.items():
            row = Row("delay of an outbox", name, "ms (median)")
            for _ in range(scale.rounds):
                delays = sorted(_delays(url, count))
                middle, high = (quantiles(delays, n=100)[n] for n in (49, 98))
                row.add(Result(middle, {"p99": high}), middle)
            rows.append(row)
    return rows


def _delays(url: str, count: int) -> cabc.Iterator[float]:
    # Another engine, of which this process's relay learns nothing.
    other = sa.create_engine(url)
    with _outbox(url) as (outbox, publisher, _):
        (relay,) = outbox._relays
        relay.start()
        notifies = other.dialect.name == "postgresql"
        statement = outbox._insert_and_notify if notifies else outbox._insert
        while not relay._turns.lease.holds or (notifies and not relay._is_notified()):
            time.sleep(0.01)
        commits = []
        for n in range(count):
            time.sleep(random.uniform(0.02, 0.06))
            # What the clock of the store is ahead of ours.
            ahead = Position.parse(publisher.publish("clock", "")).number - _now()
            with other.connect() as connection:
                row = {"data": f'{{"channel":"a","data":"{n}"}}'}
                connection.execute(statement, row)
                connection.commit()
                commits.append(_now() + ahead)
        while len(events := publisher.history("a", count).events) < count:
            time.sleep(0.01)
        for event, at in zip(events, commits, strict=True):
            yield (Position.parse(event.id).number - at) / 1000
    other.dispose()


def _now() -> int:
    return time.monotonic_ns() // 1000
