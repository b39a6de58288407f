"""Databases with one table, and sessions of them, for what waits for their commits."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy import create_engine
from sqlalchemy import Engine
from sqlalchemy import event
from sqlalchemy import ForeignKey
from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column
from sqlalchemy.orm import Session

from flask_push import Publisher


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "row"

    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(100))


class Child(Base):
    """Whose parent must be there at the commit."""

    __tablename__ = "child"

    id: Mapped[int] = mapped_column(primary_key=True)
    parent: Mapped[int] = mapped_column(
        ForeignKey("row.id", deferrable=True, initially="DEFERRED")
    )


def sqlite_engine(path: Path) -> Engine:
    """A file in which savepoints work: the driver begins no transactions of its own."""
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
    begin_ourselves(engine)
    Base.metadata.create_all(engine)
    return engine


def begin_ourselves(engine: Engine) -> None:
    """Without this, a savepoint of SQLite's is a transaction."""

    @event.listens_for(engine, "connect")
    def connect(connection: object, record: object) -> None:
        driver: t.Any = connection
        driver.isolation_level = None
        for setting in "journal_mode = WAL", "synchronous = OFF", "foreign_keys = ON":
            driver.execute(f"PRAGMA {setting}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")


@pytest.fixture
def engine(tmp_path: Path) -> cabc.Iterator[Engine]:
    engine = sqlite_engine(tmp_path / "rows.db")
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> cabc.Iterator[Session]:
    with Session(engine) as session:
        yield session


@pytest.fixture
def publisher() -> cabc.Iterator[Publisher]:
    publisher = Publisher("memory:")
    yield publisher
    publisher.close()


def sent(publisher: Publisher, channel: str = "a") -> list[str]:
    """The data of what was published, in its order."""
    return [event.data for event in publisher.history(channel, 10_000).events]
