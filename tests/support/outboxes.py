"""Outboxes on real databases."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import typing as t

import pytest
import sqlalchemy as sa

from flask_push import Publisher
from flask_push.sqlalchemy import Outbox
from flask_push.sqlalchemy._relaying import Relay
from support.databases import Database
from support.sessions import begin_ourselves


class Shop(t.NamedTuple):
    """A database with a table of orders and an outbox, and its publisher."""

    engine: sa.Engine
    orders: sa.Table
    outbox: Outbox
    publisher: Publisher

    def sent(self, channel: str = "a") -> list[str]:
        return [event.data for event in self.publisher.history(channel, 10_000).events]

    def rows(self) -> list[t.Any]:
        with self.engine.connect() as connection:
            table = self.outbox.table
            return [*connection.execute(sa.select(table).order_by(table.c.id))]


def relay_of(shop: Shop) -> Relay:
    """Its only one, in this process."""
    (relay,) = shop.outbox._relays
    return relay


@contextlib.contextmanager
def opened(
    engine: sa.Engine, url: str = "memory:", **options: t.Any
) -> cabc.Iterator[Shop]:
    metadata = sa.MetaData()
    number = sa.Column("id", sa.Integer, primary_key=True)
    orders = sa.Table("orders", metadata, number, sa.Column("text", sa.String(50)))
    publisher = Publisher(url)
    outbox = Outbox(publisher, metadata, engine=engine, **options)
    metadata.create_all(engine)
    try:
        yield Shop(engine, orders, outbox, publisher)
    finally:
        outbox.close()
        publisher.close()


@pytest.fixture
def shop(database: Database) -> cabc.Iterator[Shop]:
    """On each database in turn."""
    with opened(database.engine) as shop:
        yield shop


@pytest.fixture
def direct() -> cabc.Iterator[Shop]:
    """With a database in memory: its rows are published where they are committed."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    begin_ourselves(engine)
    with opened(engine) as shop:
        yield shop
    engine.dispose()
