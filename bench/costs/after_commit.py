"""What `after` adds to a commit, compared with publishing by hand after it.

Commits of all kinds take turns, in random order: what runs after a `publish` is slower by
ten microseconds than what runs after a commit alone. The time of this thread counts, in
which the database, the store and `after` work, and each figure is a median.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import random
import time
from statistics import median

from compare import Result
from compare import Row
from compare import Scale
from sqlalchemy import create_engine
from sqlalchemy import insert
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column
from sqlalchemy.orm import Session

from flask_push import Event
from flask_push import Publisher

DATA = {"id": 4711, "text": "hello, world, " * 8}


class _Base(DeclarativeBase):
    pass


class _Comment(_Base):
    __tablename__ = "comment"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


@contextlib.contextmanager
def _sessions() -> cabc.Iterator[Session]:
    # In memory: the disk would take most of the time.
    engine = create_engine("sqlite://")
    _Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


def after_commit(scale: Scale) -> list[Row]:
    """Microseconds of a transaction that inserts a row: alone, with events that are
    published after it, with `after`, and what `after` adds for each event."""
    rows: list[Row] = []
    with _sessions() as session, contextlib.closing(Publisher("memory:")) as publisher:
        for count in 1, 10:
            rows += _measured(session, publisher, count, scale)
    return rows


def _measured(
    session: Session, publisher: Publisher, count: int, scale: Scale
) -> list[Row]:
    def commit() -> None:
        session.execute(insert(_Comment).values(text="x"))
        session.commit()

    def by_hand() -> None:
        commit()
        publisher.publish_many([Event("comments", DATA) for _ in range(count)])

    def after() -> None:
        session.execute(insert(_Comment).values(text="x"))
        later = publisher.after(session)
        for _ in range(count):
            later.publish("comments", DATA)
        session.commit()

    ways = {"commit alone": commit, "publish_many after it": by_hand, "after": after}
    name = f"a commit with {count} event{'s' if count > 1 else ''}"
    rows = [Row(name, way, "µs of CPU a commit") for way in ways]
    added = Row(name, "after adds for each event", "µs of CPU")
    for way in ways.values():
        for _ in range(100):
            way()
    order = random.Random(0)
    for _ in range(scale.rounds):
        spent: list[list[int]] = [[] for _ in ways]
        turn = [*zip(spent, ways.values(), strict=True)]
        end = time.monotonic() + scale.seconds * len(ways)
        while time.monotonic() < end:
            order.shuffle(turn)
            for times, way in turn:
                begun = time.thread_time_ns()
                way()
                times.append(time.thread_time_ns() - begun)
        costs = [median(times) / 1e3 for times in spent]
        for row, cost in zip(rows, costs, strict=True):
            row.add(Result(cost), costs[0])
        more = max(costs[2] - costs[1], 0.01) / count
        added.add(Result(more), more)
    return [*rows, added]
