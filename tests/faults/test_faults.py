"""Readers and publishers on a real server, while everything is killed, all the time.

The judgement is made afterwards, by :mod:`checker`. Each safeguard of the store that is
taken out has to make it find something.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from support.fault_runs import CHANNELS
from support.fault_runs import everything
from support.fault_runs import killing
from support.fault_runs import running


def test_nothing_is_lost_when_anything_is_killed_or_moved(tmp_path: Path) -> None:
    with running(tmp_path, PUSH_KEEP=1_000_000) as run:
        run.go(everything(run), deliveries=5_000, cuts=300, each=4)
        assert run.finish() == []
        assert run.missing() == []


def test_readers_get_a_gap_for_events_that_the_store_has_dropped(tmp_path: Path) -> None:
    with running(tmp_path, PUSH_KEEP=20, PUSH_LOG_BYTES=4096) as run:
        run.go(killing(run), deliveries=1_000, cuts=150, each=3)
        assert run.finish() == []
        assert run.gaps()


def test_readers_that_are_cut_thousands_of_times_lose_nothing(tmp_path: Path) -> None:
    with running(tmp_path, PUSH_KEEP=1_000_000) as run:
        for client in run.clients:
            client.channels = list(CHANNELS)
            client.impatience = 1000
        while len(run.publishers) > 1:
            run.end(run.publishers.pop())
        run.go([], deliveries=1_000, cuts=3_000, each=0)
        assert run.finish() == []
        assert not run.gaps()


@pytest.mark.slow
def test_nothing_is_lost_for_long(tmp_path: Path) -> None:
    for keep in 1_000_000, 20:
        (directory := tmp_path / str(keep)).mkdir()
        with running(directory, PUSH_KEEP=keep) as run:
            for _ in range(10):
                run.go(everything(run), deliveries=0, cuts=0, each=20)
            assert run.finish() == []


MUTANTS = {
    "flock": (
        "flask_push.brokers.sqlite.lock",
        "if not try_exclusive(fd):",
        "if False:",
    ),
    "prev": (
        "flask_push.brokers.sqlite.statements",
        "(last, event.channel, prev, nth + 1,",
        "(last, event.channel, floor, nth + 1,",
    ),
    "epoch": (
        "flask_push.brokers.sqlite.statements",
        "WHERE boot != ? OR inode != ? OR last < ?",
        # The first epoch stays. Without one, no position could be read.
        "WHERE epoch = '' AND (boot != ? OR inode != ? OR last < ?)",
    ),
    "idempotency": (
        "flask_push._event_checks",
        "return event if data is event.data else replace(event, data=data)",
        "return replace(event, data=data, key=None)",
    ),
}


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the store's file is damaged, and not only locked, say."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    damage = sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR
    return code in damage or "no such table" in str(error)


@pytest.mark.parametrize("safeguard", MUTANTS)
def test_without_a_safeguard_something_is_lost(safeguard: str, tmp_path: Path) -> None:
    keep = 20 if safeguard == "prev" else 1_000_000
    with running(tmp_path, MUTANTS[safeguard], PUSH_KEEP=keep) as run:
        faults = {
            "flock": [run.move_store],
            "prev": [],
            "epoch": [run.back_up, run.restore],
            "idempotency": [run.kill_publisher],
        }
        try:
            run.go(faults[safeguard], deliveries=1_000, cuts=100, each=12)
            # Some readers may never reach the end. That alone proves nothing.
            wrong = [line for line in run.finish(patience=3) if "the end" not in line]
            wrong += run.missing()
        except sqlite3.DatabaseError as error:
            # The lock is what keeps the file whole, and nothing else is.
            if safeguard != "flock" or not is_damage(error):
                raise
            wrong = [str(error)]
        assert wrong
