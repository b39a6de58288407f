"""The feed of a store in a file: files that are replaced, broken, or locked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from support.sqlite_files import broker as broker
from support.sqlite_files import locked
from support.sqlite_files import path as path
from support.sqlite_files import remove
from support.sqlite_files import run
from support.sqlite_files import say
from support.sqlite_files import store

from flask_push import Event
from flask_push.brokers import TellsTrouble
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until


def test_a_hub_of_a_file_that_is_replaced_is_told(path: Path, broker: SqliteBroker) -> None:
    async def test(hub: RecordingSink) -> None:
        await hub.watch("a")
        before = hub.epoch
        remove(path)
        await until(lambda: hub.epoch != before)
        say(broker, "new")
        await until(lambda: hub.received("a") == [b"new"])

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
        await until(lambda: hub.received("a") == [b"new"])

    run(broker, test)
    assert caplog.text.count("streams wait") == 1
    assert caplog.text.count("streams continue") == 1


def test_a_hub_goes_on_when_a_file_of_another_version_is_gone(
    path: Path, broker: SqliteBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(hub: RecordingSink) -> None:
        await hub.watch("a")
        say(broker, "1")
        await until(lambda: hub.received("a") == [b"1"])
        remove(path)
        with store(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        assert isinstance(hub.feed, TellsTrouble)
        assert not hub.feed.trouble
        await until(lambda: "another version" in caplog.text)
        assert "another version" in hub.feed.trouble
        remove(path)
        before = hub.epoch
        await until(lambda: hub.epoch != before)
        assert not hub.feed.trouble
        say(broker, "2")
        await until(lambda: hub.received("a") == [b"1", b"2"])

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
        assert hub.received("a") == [b"%d" % n for n in range(0, 1900, 2)]

    run(broker, test)
