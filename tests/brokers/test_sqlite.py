"""What can befall a file that all processes share."""

from __future__ import annotations

import os
import time
import typing as t
from pathlib import Path
from pathlib import PurePath
from pathlib import PurePosixPath
from pathlib import PureWindowsPath
from urllib.parse import urlsplit

import pytest
from support.interrupts import interrupted
from support.sqlite_files import broker as broker
from support.sqlite_files import heard
from support.sqlite_files import path as path
from support.sqlite_files import remove
from support.sqlite_files import say
from support.sqlite_files import store

from flask_push import Event
from flask_push import Publisher
from flask_push.brokers import Broker
from flask_push.brokers import open_broker
from flask_push.brokers.base import Retention
from flask_push.brokers.sqlite import database
from flask_push.brokers.sqlite import path_of
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.brokers.sqlite import url_of
from flask_push.brokers.sqlite.access import if_busy_again
from flask_push.testing import BrokerContract
from flask_push.testing import ItemsContract
from flask_push.testing import OwnLogContract
from flask_push.testing import RunsContract


def test_publishers_that_are_not_closed_leave_nothing_open(path: Path) -> None:
    Publisher(f"sqlite://{path}").publish("a", "0")
    before = os.listdir("/proc/self/fd")
    for n in range(1, 20):
        Publisher(f"sqlite://{path}").publish("a", str(n))
        assert Publisher(f"sqlite://{path}").history("a", 1).events[0].data == str(n)
    assert os.listdir("/proc/self/fd") == before


def test_what_is_kept_is_written_in_the_store(path: Path) -> None:
    app = SqliteBroker(path, Retention(count=3))
    assert heard(app) == []
    script = SqliteBroker(path)
    for n in range(9):
        say(script, str(n))
    assert len(heard(script)) == 3, "the publisher keeps to what the app has said"
    other = SqliteBroker(path, Retention(count=5))
    heard(other)
    for n in range(9):
        say(script, str(n))
    assert len(heard(script)) == 5, "the newest word counts"
    for each in app, script, other:
        each.close()


def test_an_exception_just_when_a_transaction_has_begun_leaves_none(
    path: Path, broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of Ctrl-C, or of a task of Celery that takes too long."""

    def interrupted(work: t.Callable[[], object], deadline: float) -> None:
        if_busy_again(work, deadline)
        raise KeyboardInterrupt

    say(broker, "0")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(database, "if_busy_again", interrupted)
        say(broker, "1")
    other = SqliteBroker(path)
    say(other, "2")
    say(broker, "3")
    assert heard(other) == [b"0", b"2", b"3"]
    other.close()


def test_an_exception_at_any_moment_of_a_transaction_leaves_no_lock_held(
    path: Path, broker: SqliteBroker
) -> None:
    """As that of a signal's handler, which Celery uses for a task that takes too long."""
    say(broker, "0")
    other = SqliteBroker(path)
    for call in lambda: broker.read([]), lambda: say(broker, "x"):
        places = 0
        while interrupted(call, places + 1):
            places += 1
            say(other, "1")
            say(broker, "2")
            broker.read([])
        assert places > 20, call
    other.close()


def test_keys_are_forgotten_with_age(path: Path) -> None:
    broker = SqliteBroker(path, Retention(age=0.05))
    broker.publish([Event("a", "x", key=str(n)) for n in range(50)])
    time.sleep(0.1)
    for _ in range(20):
        say(broker)
    with store(path) as connection:
        assert connection.execute("SELECT count(*) FROM key").fetchone() == (0,)
    broker.close()


def test_what_is_not_stored_does_not_pile_up(path: Path, broker: SqliteBroker) -> None:
    broker.publish([Event("a", "x", store=False) for _ in range(50)])
    with store(path) as connection:
        connection.execute("UPDATE event SET number = number - 20000000")
    for _ in range(10):
        say(broker)
    with store(path) as connection:
        count = "SELECT count(*) FROM event WHERE prev IS NULL"
        assert connection.execute(count).fetchone() == (0,)
        (size,) = connection.execute("SELECT bytes FROM store").fetchone()
        assert size == 10 * 101


class TestSqlite(RunsContract, ItemsContract, OwnLogContract, BrokerContract):
    @pytest.fixture(autouse=True)
    def directory(self, tmp_path: Path) -> None:
        self.path = tmp_path

    def open(self, retention: Retention | None = None) -> Broker:
        return open_broker("sqlite:", self.path, retention=retention)

    def begin_again(self) -> bool:
        remove(self.path / "push.db")
        return True


@pytest.mark.parametrize(
    ("path", "kind", "file", "url"),
    [
        ("/a/b.db", PurePosixPath, "/a/b.db", "sqlite:///a/b.db"),
        ("//a/b.db", PurePosixPath, "/a/b.db", "sqlite:///a/b.db"),
        ("/a%20b/%C3%A4.db", PurePosixPath, "/a b/ä.db", "sqlite:///a%20b/%C3%A4.db"),
        ("/C:/a/b.db", PurePosixPath, "/C:/a/b.db", "sqlite:///C%3A/a/b.db"),
        ("/C:/a/b.db", PureWindowsPath, "C:\\a\\b.db", "sqlite:///C%3A/a/b.db"),
        ("//C%3A/a/b.db", PureWindowsPath, "C:\\a\\b.db", "sqlite:///C%3A/a/b.db"),
    ],
)
def test_a_url_names_one_file_on_each_system(
    path: str, kind: type[PurePath], file: str, url: str
) -> None:
    assert path_of(path, kind) == kind(file)
    assert url_of(kind(file)) == url
    assert path_of(urlsplit(url).path, kind) == kind(file)
