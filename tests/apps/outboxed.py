"""An app with an outbox, and a writer that publishes with it until it is killed."""

from __future__ import annotations

import logging
import os
import random
import time
import typing as t

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

from flask_push import Push
from flask_push._delivery import outbox_lease
from flask_push._system import logs
from flask_push.sqlalchemy import Outbox

logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(message)s")
# Kills are frequent here, and each line of the log matters.
logs.PAUSE = 0.0
outbox_lease.LOST_AFTER = float(os.environ["LOST_AFTER"])

CHANNELS = "abc"
THINGS = 6

app = Flask(__name__, instance_path=os.environ["INSTANCE"])
app.config |= {"PUSH_KEEP": 10**7, "PUSH_STORE_BYTES": 2**30}
app.config.from_prefixed_env()
push = Push(app)
engine = sa.create_engine(os.environ["DATABASE"])
metadata = sa.MetaData()
outbox = Outbox(push, metadata, engine=engine)
#: Each change counts the version of a thing, which has the same channel always.
things = sa.Table(
    "thing",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
)
#: What was published, written in the same transaction.
written = sa.Table(
    "written",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("channel", sa.String(20), nullable=False),
    sa.Column("data", sa.String(100), nullable=False),
)

if engine.dialect.name == "sqlite":

    @sa.event.listens_for(engine, "connect")
    def connect(connection: t.Any, record: object) -> None:
        # SQLAlchemy's way to have savepoints.
        connection.isolation_level = None
        connection.execute("PRAGMA busy_timeout = 20000")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")


def make_tables() -> None:
    metadata.create_all(engine)
    with engine.begin() as connection:
        rows = [{"id": thing, "version": 0} for thing in range(THINGS)]
        connection.execute(sa.insert(things), rows)
    # Forked processes have their own connections.
    engine.dispose()


class Undone(Exception):
    """The writer has changed its mind."""


class Writer:
    def __init__(self, name: str, pause: float) -> None:
        self.name, self.pause = name, pause
        self.rng = random.Random(name)
        self.count = 0

    def run(self) -> t.NoReturn:
        with app.app_context():
            while True:
                try:
                    self.transaction()
                except Undone:
                    pass
                except sa.exc.DBAPIError:
                    # The database is away, or there was a deadlock.
                    time.sleep(0.05)
                time.sleep(self.rng.expovariate(1 / self.pause))

    def transaction(self) -> None:
        chosen = sorted(self.rng.choices(range(THINGS), k=self.rng.choice([1, 1, 2, 3, 9])))
        if self.rng.random() < 0.5:
            with Session(engine) as session, session.begin():
                self.change(session, chosen)
        else:
            with engine.begin() as connection:
                self.change(connection, chosen)

    def change(self, within: Session | sa.Connection, chosen: list[int]) -> None:
        for thing in chosen:
            if self.rng.random() < 0.3:
                try:
                    with within.begin_nested():
                        self.publish(within, thing)
                        if self.rng.random() < 0.5:
                            raise Undone
                except Undone:
                    pass
            else:
                self.publish(within, thing)
        if self.rng.random() < 0.1:
            raise Undone

    def publish(self, within: Session | sa.Connection, thing: int) -> None:
        one = things.c.id == thing
        within.execute(sa.update(things).where(one).values(version=things.c.version + 1))
        version = within.scalar(sa.select(things.c.version).where(one))
        self.count += 1
        channel, data = CHANNELS[thing % 3], f"{self.name} {self.count} {thing} {version}"
        outbox.publish(within, channel, data)
        outbox.set(within, "things", thing, version)
        within.execute(sa.insert(written).values(channel=channel, data=data))
