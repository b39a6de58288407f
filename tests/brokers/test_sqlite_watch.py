"""Whether the files of a store are still those that were opened."""

from __future__ import annotations

import collections.abc as cabc
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
from support.sqlite_hubs import broker as broker
from support.sqlite_hubs import epoch_of
from support.sqlite_hubs import files
from support.sqlite_hubs import held
from support.sqlite_hubs import listen
from support.sqlite_hubs import Other
from support.sqlite_hubs import other as other
from support.sqlite_hubs import path as path
from support.sqlite_hubs import say
from support.sqlite_hubs import SOME

from flask_push import Event
from flask_push import Position
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.brokers.sqlite.watch import file_at
from flask_push.brokers.sqlite.watch import stamp_of
from flask_push.brokers.sqlite.watch import Watch
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until


@pytest.mark.parametrize("some", SOME, ids=" ".join)
def test_a_hub_hears_of_a_new_epoch_or_of_every_event(
    some: cabc.Sequence[str], path: Path, broker: SqliteBroker, other: Other
) -> None:
    async def test(hub: RecordingSink) -> None:
        say(broker, "before")
        await until(lambda: hub.received("a"))
        for file in files(path, some):
            file.unlink()
        last = ""
        for n in range(5):
            last = other("publish", "a", str(n))
        position = Position.parse(last)
        await until(lambda: hub.epoch == position.epoch and hub.end >= position.number)
        before = hub.received("a")
        if position.epoch == hub.epoch and "before" not in other("read", "a"):
            assert hub.epoch != ""
        (next,) = broker.publish([Event("a", "next")])
        await until(lambda: hub.epoch == next.epoch and hub.end >= next.number)
        assert hub.received("a") in ([*before, b"next"], before)

    listen(broker, test)


def test_a_hub_that_nobody_rings_notices_that_files_are_gone(
    path: Path, broker: SqliteBroker
) -> None:
    async def test(hub: RecordingSink) -> None:
        before = hub.epoch
        Path(f"{path}-shm").unlink()
        await until(lambda: hub.epoch != before)

    say(broker, "1")
    listen(broker, test)
    assert held(broker) == ["1"]


@pytest.mark.parametrize("some", SOME, ids=" ".join)
def test_an_event_that_loses_its_files_while_it_is_written_is_in_those_that_follow(
    some: cabc.Sequence[str], path: Path, broker: SqliteBroker, other: Other
) -> None:
    say(broker, "1")
    other("publish", "a", "2")
    opened = broker._writing._access.opened
    assert opened is not None

    left = files(path, some)

    def remove(statement: str) -> None:
        while statement == "COMMIT" and left:
            left.pop().unlink()

    opened.connection.set_trace_callback(remove)
    id = say(broker, "3")
    other("publish", "a", "4")
    assert Position.parse(id).epoch == epoch_of(broker) == other("epoch")
    assert held(broker)[-2:] == other("read", "a")[-2:] == ["3", "4"]
    assert held(broker).count("3") == 1


def test_a_directory_that_is_replaced_is_a_new_store(tmp_path: Path) -> None:
    path = tmp_path / "run" / "push.db"
    path.parent.mkdir()
    broker, other = SqliteBroker(path), Other(path)
    try:
        say(broker, "1")
        other("publish", "a", "2")
        before = epoch_of(broker)
        path.parent.rename(tmp_path / "old")
        path.parent.mkdir()
        other("publish", "a", "3")
        say(broker, "4")
        assert held(broker) == other("read", "a") == ["3", "4"]
        assert epoch_of(broker) == other("epoch") != before
        # And the old one is put back.
        shutil.rmtree(path.parent)
        (tmp_path / "old").rename(path.parent)
        say(broker, "5")
        other("publish", "a", "6")
        assert held(broker) == other("read", "a")
        assert held(broker)[-2:] == ["5", "6"]
        assert epoch_of(broker) == other("epoch")
    finally:
        other.kill()
        broker.close()


def test_an_older_copy_in_the_same_file_is_noticed_while_it_runs(
    path: Path, broker: SqliteBroker, other: Other
) -> None:
    say(broker, "1")
    broker.close()
    shutil.copyfile(path, f"{path}.copy")

    async def test(hub: RecordingSink) -> None:
        say(broker, "2")
        before = hub.epoch
        # This process would lose its locks, if it opened the file.
        subprocess.run(["cp", f"{path}.copy", path], check=True)
        subprocess.run(["truncate", "-s", "0", f"{path}-wal"], check=True)
        other("publish", "a", "3")
        await until(lambda: hub.epoch != before)

    listen(broker, test)
    say(broker, "4")
    assert other("read", "a")[-1] == "4"


def test_two_changes_at_one_tick_of_the_clock_are_two(tmp_path: Path) -> None:
    """The second one leaves the directory's time as it was."""
    name = tmp_path / "name"
    name.touch()
    watch = Watch(lambda: file_at(str(name)), file_at(str(name)))
    stamp = stamp_of(str(tmp_path))
    assert watch.holds(stamp)
    (tmp_path / "new").touch()
    os.replace(tmp_path / "new", name)
    assert not watch.holds(stamp)


def test_a_file_without_a_number_is_known_by_its_birth(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, while SQLite has mapped it."""
    path.write_text("")
    real = os.stat

    def stat(name: str, **options: t.Any) -> os.stat_result:
        found = [*real(name, **options)]
        found[1] = 0
        return os.stat_result(found, {"st_ctime_ns": 5})

    with monkeypatch.context() as patched:
        # pytest itself needs the real one to report a failure.
        patched.setattr(os, "stat", stat)
        found, gone = file_at(str(path)), file_at(f"{path}-gone")
    assert found[1] == 5
    assert gone == (0, 0)
