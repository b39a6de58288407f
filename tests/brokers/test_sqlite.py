"""What can befall a file that all processes share."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest
from support.sqlite_files import broker as broker
from support.sqlite_files import heard
from support.sqlite_files import locked
from support.sqlite_files import path as path
from support.sqlite_files import remove
from support.sqlite_files import run
from support.sqlite_files import say
from support.sqlite_files import store

from flask_push import Event
from flask_push import Publisher
from flask_push.brokers.base import Retention
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until


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


def test_a_hub_of_a_file_that_is_replaced_is_told(path: Path, broker: SqliteBroker) -> None:
    async def test(hub: RecordingSink) -> None:
        await hub.watch("a")
        before = hub.epoch
        remove(path)
        await until(lambda: hub.epoch != before)
        say(broker, "new")
        await until(lambda: hub.heard("a") == [b"new"])

    run(broker, test)


def test_a_hub_of_a_file_that_breaks_goes_on(
    path: Path, broker: SqliteBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(hub: RecordingSink) -> None:
        await hub.watch("a")
        before = hub.epoch
        broker.close()
        remove(path)
        path.write_bytes(b"x" * 8192)
        await until(lambda: hub.epoch != before)
        say(broker, "new")
        await until(lambda: hub.heard("a") == [b"new"])

    run(broker, test)
    assert caplog.text.count("streams wait") == 1
    assert caplog.text.count("can be read again") == 1


def test_a_hub_goes_on_when_a_file_of_another_version_is_gone(
    path: Path, broker: SqliteBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(hub: RecordingSink) -> None:
        await hub.watch("a")
        say(broker, "1")
        await until(lambda: hub.heard("a") == [b"1"])
        remove(path)
        with store(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        await until(lambda: "another version" in caplog.text)
        remove(path)
        before = hub.epoch
        await until(lambda: hub.epoch != before)
        say(broker, "2")
        await until(lambda: hub.heard("a") == [b"1", b"2"])

    run(broker, test)
    assert caplog.text.count("streams wait") == 1


def test_a_page_waits_for_a_store_that_cannot_be_read(
    path: Path, broker: SqliteBroker
) -> None:
    async def test(hub: RecordingSink) -> None:
        say(broker, "1")
        broker.close()
        remove(path)
        with locked(path):
            read = asyncio.ensure_future(hub.read("a", after=0))
            await asyncio.sleep(0.3)
            assert not read.done()
        page = await read
        assert page.epoch == hub.epoch

    run(broker, test)


def test_many_events_at_once_come_in_several_turns(broker: SqliteBroker) -> None:
    async def test(hub: RecordingSink) -> None:
        await hub.watch("a")
        broker.publish([Event("ab"[n % 2], str(n)) for n in range(1900)])
        await until(lambda: len(hub.entries) == 950)
        assert hub.heard("a") == [b"%d" % n for n in range(0, 1900, 2)]

    run(broker, test)
