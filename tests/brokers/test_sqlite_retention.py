"""How many bytes a store keeps, and what it forgets."""

from __future__ import annotations

import random
import time
from pathlib import Path

from support.sqlite_stores import ask
from support.sqlite_stores import broker as broker
from support.sqlite_stores import held
from support.sqlite_stores import path as path
from support.sqlite_stores import say
from support.sqlite_stores import store

from flask_push import Event
from flask_push.brokers.base import Retention
from flask_push.brokers.sqlite import SqliteBroker

# Bytes.


def test_bytes_are_those_of_what_is_held(path: Path) -> None:
    """After anything that can be published, and whatever was forgotten for it."""
    rng = random.Random(seed := random.randrange(10**6))
    print("seed", seed)
    broker = SqliteBroker(path, Retention(count=7, bytes=20_000))
    for _ in range(150):
        broker.publish(
            [
                Event(
                    rng.choice("abcdefgh"),
                    "x" * rng.choice([0, 10, 1000]),
                    rng.choice(["message", "t" * 90]),
                    rng.choice([None, str(rng.randrange(50)), "k" * 200]),
                    rng.random() < 0.7,
                )
                for _ in range(rng.choice([1, 1, 1, 20]))
            ]
        )
        with store(path) as connection:
            row = connection.execute("SELECT bytes, passing FROM store").fetchone()
            (events,) = connection.execute("SELECT total(size) FROM event").fetchone()
            (keys,) = connection.execute(
                "SELECT total(60 + length(channel) + length(key)) FROM key"
            ).fetchone()
            (not_stored,) = connection.execute(
                "SELECT total(size) FROM event WHERE prev IS NULL"
            ).fetchone()
        assert row == (events + keys, not_stored)
        assert row[0] < 40_000
    broker.close()


def test_large_events_drive_out_as_many_bytes_of_small_ones(path: Path) -> None:
    broker = SqliteBroker(path, Retention(bytes=300_000, count=10_000))
    for _ in range(5):
        broker.publish([Event("small", "x") for _ in range(600)])
    for n in range(10):
        broker.publish([Event(f"large {n}", "x" * 100_000)])
        assert ask(path, "SELECT bytes FROM store") <= 500_000
    broker.close()


def test_many_events_forget_no_more_than_they_may_while_others_wait(path: Path) -> None:
    broker = SqliteBroker(path, Retention(count=100_000))
    for _ in range(10):
        broker.publish([Event("a", "x") for _ in range(1000)])
    broker.close()
    smaller = SqliteBroker(path, Retention(count=100_000, bytes=110_000))
    held(smaller)
    before = ask(path, "SELECT count(*) FROM event")
    smaller.publish([Event("b", "x") for _ in range(1000)])
    forgotten = before + 1000 - ask(path, "SELECT count(*) FROM event")
    assert 1000 < forgotten <= 2 * 1000 + 500
    for _ in range(10):
        smaller.publish([Event("b", "x") for _ in range(1000)])
    assert ask(path, "SELECT bytes FROM store") <= 110_000, "and it catches up"
    smaller.close()


def test_the_file_stays_within_what_may_be_kept_however_many_keys_there_are(
    path: Path,
) -> None:
    broker = SqliteBroker(path, Retention(bytes=2**20, count=10))
    for n in range(40):
        broker.publish([Event("a", "", key=f"{n} {m} {'k' * 200}") for m in range(500)])
    broker.close()
    assert path.stat().st_size < 4 * 2**20


def test_what_is_not_stored_has_a_part_of_the_bytes(path: Path) -> None:
    broker = SqliteBroker(path, Retention(bytes=80_000))
    for n in range(100):
        say(broker, f"{n} {'x' * 1000}")
    before = held(broker)
    assert len(before) > 60_000 // 1100
    for _ in range(100):
        say(broker, "x" * 1000, store=False)
    assert ask(path, "SELECT passing FROM store") <= 10_000 + 1100
    after = held(broker)
    assert after == before[-len(after) :]
    assert len(after) > len(before) * 3 / 4
    broker.close()


def test_the_floor_does_not_rise_with_events_that_are_not_stored(path: Path) -> None:
    """It is the number up to which events are forgotten that readers may have missed."""
    broker = SqliteBroker(path, Retention(age=0.2))
    birth = broker.read(["a"], after=0).proofs["a"].since
    broker.publish([Event("b", "x", store=False) for _ in range(5)])
    time.sleep(0.3)
    for _ in range(5):
        broker.publish([Event("b", "x", store=False)])
    assert ask(path, "SELECT count(*) FROM event") < 10
    assert broker.read(["a"], after=0).proofs["a"].since == birth
    broker.close()
