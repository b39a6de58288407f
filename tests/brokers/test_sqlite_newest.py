"""What a process knows of the newest event of each channel, and when it knows nothing."""

from __future__ import annotations

import collections.abc as cabc
import sqlite3
from pathlib import Path

import pytest

from flask_push._event import Event
from flask_push.brokers import ItemChange
from flask_push.brokers import Retention
from flask_push.brokers.sqlite import newest
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.brokers.sqlite.newest import KnownNewest


@pytest.fixture
def brokers(tmp_path: Path) -> cabc.Iterator[tuple[SqliteBroker, SqliteBroker]]:
    """Two processes of one store, as far as it can tell."""
    pair = SqliteBroker(tmp_path / "push.db"), SqliteBroker(tmp_path / "push.db")
    yield pair
    for broker in pair:
        broker.close()


def say(broker: SqliteBroker, *channels: str) -> list[int]:
    return [p.number for p in broker.publish([Event(name, "x") for name in channels])]


def stored(broker: SqliteBroker) -> list[tuple[int, str, int, int]]:
    found = "SELECT number, channel, prev, nth FROM event ORDER BY number"
    with sqlite3.connect(broker.path) as connection:
        return connection.execute(found).fetchall()


def test_events_of_one_process_follow_each_other(
    brokers: tuple[SqliteBroker, SqliteBroker],
) -> None:
    broker, _ = brokers
    first, second = say(broker, "a", "b")
    third, fourth = say(broker, "a", "a")
    assert [row[2:] for row in stored(broker)[2:]] == [(first, 2), (third, 3)]
    assert say(broker, "b") and stored(broker)[-1][2:] == (second, 2)
    assert fourth > third


def test_an_event_follows_those_of_other_processes(
    brokers: tuple[SqliteBroker, SqliteBroker],
) -> None:
    one, other = brokers
    say(one, "a", "b")
    (between,) = say(other, "a")
    say(one, "a", "b")
    rows = stored(one)
    assert rows[-2][2:] == (between, 3)
    assert rows[-1][2:] == (rows[1][0], 2)
    # A change of an item raises the number, too.
    one.change([ItemChange("a", "x", "1")])
    (last,) = say(other, "b")
    say(one, "b")
    assert stored(one)[-1][2:] == (last, 4)


def test_an_event_that_was_forgotten_is_no_longer_the_one_before(tmp_path: Path) -> None:
    broker = SqliteBroker(tmp_path / "push.db", Retention(bytes=4000))
    say(broker, "a")
    for _ in range(40):
        say(broker, "b")
    say(broker, "a")
    with sqlite3.connect(broker.path) as connection:
        (floor,) = connection.execute("SELECT floor FROM store").fetchone()
    *_, (_, name, prev, nth) = stored(broker)
    assert (name, nth) == ("a", 1)
    assert 0 < prev <= floor
    assert prev > min(number for number, *_ in stored(broker)) - 10_000_000
    broker.close()


def test_what_was_not_committed_is_not_known(
    brokers: tuple[SqliteBroker, SqliteBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, _ = brokers
    (first,) = say(broker, "a")

    def fail(last: int, size: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(broker._writing, "commit", fail)
        say(broker, "a")
    say(broker, "a")
    assert [row[2:] for row in stored(broker)][1:] == [(first, 2)]


def test_a_limited_number_of_channels_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newest, "_MOST", 3)
    known = KnownNewest()
    known.note("e", 2, ({}, {"a": (1, 1), "b": (2, 1)}))
    known.note("e", 3, (known.known("e", 2), {"c": (3, 1)}))
    assert known.known("e", 3).keys() == {"a", "b", "c"}
    known.note("e", 4, (known.known("e", 3), {"d": (4, 1)}))
    assert known.known("e", 4) == {"d": (4, 1)}
    assert known.known("f", 4) == known.known("e", 3) == {}
