"""Disks that are full or fail: events are stored, refused, or uncertain."""

from __future__ import annotations

import contextlib
import os
import signal
import typing as t
from pathlib import Path

import pytest
from support.sqlite_files import broker as broker
from support.sqlite_files import heard
from support.sqlite_files import in_child
from support.sqlite_files import path as path
from support.sqlite_files import say
from support.sqlite_files import store

from flask_push import Event
from flask_push import NotPublished
from flask_push import PublishUncertain
from flask_push.brokers.sqlite import SqliteBroker


def test_a_full_disk_stores_nothing_or_is_uncertain(path: Path) -> None:
    """A limit on the size of files stands for the disk."""
    import resource

    broker = SqliteBroker(path)
    say(broker, "before")

    def act() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
        with pytest.raises((NotPublished, PublishUncertain)):
            for _ in range(100):
                broker.publish([Event("a", "x" * 10_000, key="k")])
                broker.publish([Event("a", "x" * 10_000)])
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        broker.publish([Event("a", "after", key="last")])
        broker.publish([Event("a", "after", key="last")])

    assert in_child(act) == 0
    data = heard(broker)
    assert data[0] == b"before" and data.count(b"after") == 1
    with store(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    broker.close()


def test_a_disk_that_is_full_at_first_is_used_when_it_is_not(path: Path) -> None:
    import resource

    broker = SqliteBroker(path)

    def act() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
        with pytest.raises(NotPublished):
            say(broker)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        say(broker, "after")

    assert in_child(act) == 0
    assert heard(broker) == [b"after"]
    broker.close()


def test_what_is_not_published_is_not_stored_whatever_descriptors_are_left(
    path: Path,
) -> None:
    import resource

    def act() -> None:
        broker = SqliteBroker(path)
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.dup(0)
        published = []
        for more in range(12):
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + more, hard))
            with contextlib.suppress(NotPublished):
                say(broker, str(more))
                published.append(b"%d" % more)
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        assert 0 < len(published) < 12
        assert heard(broker) == published

    assert in_child(act) == 0


def test_a_disk_that_fails_behind_an_event_does_not_unpublish_it(
    path: Path, broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> t.NoReturn:
        raise OSError("No space left on device")

    say(broker, "1")
    monkeypatch.setattr(os, "pwrite", fail)
    say(broker, "2")
    assert heard(broker) == [b"1", b"2"]
