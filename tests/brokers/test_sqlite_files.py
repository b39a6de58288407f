"""Files of a store are removed, moved and replaced, one or all, while it is in use."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import os
import shutil
import sqlite3
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
from support.store_run import StoreRun

from flask_push import Event
from flask_push import NotRead
from flask_push import Position
from flask_push.brokers.sqlite import opening
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.brokers.sqlite.watch import changed_since_log
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until


class Story:
    """What was acknowledged, and by whom it can be read."""

    def __init__(self, broker: SqliteBroker, other: Other) -> None:
        self.broker = broker
        self.other = other
        self.ids: dict[str, str] = {}

    def go_on(self, name: str) -> None:
        self.ids[f"{name} other"] = self.other("publish", "a", f"{name} other")
        self.ids[f"{name} ours"] = say(self.broker, f"{name} ours")
        self.ids[f"{name} other again"] = self.other("publish", "a", f"{name} other again")

    def check(self, path: Path) -> None:
        """What was acknowledged in the epoch that there is now can be read by all."""
        fresh = SqliteBroker(path)
        epoch = epoch_of(fresh)
        expected = [data for data, id in self.ids.items() if id.startswith(f"{epoch}-")]
        for events in held(fresh), held(self.broker), self.other("read", "a"):
            assert [data for data in events if data in expected] == expected
        fresh.close()
        assert self.other("epoch") == epoch_of(self.broker) == epoch


@pytest.mark.parametrize("some", SOME, ids=" ".join)
@pytest.mark.parametrize("how", ["removed", "moved away for a while", "replaced by a copy"])
def test_what_is_acknowledged_is_there_or_of_an_epoch_that_is_over(
    how: str, some: cabc.Sequence[str], path: Path, broker: SqliteBroker, other: Other
) -> None:
    story = Story(broker, other)
    story.go_on("before")
    if how == "removed":
        for file in files(path, some):
            file.unlink()
    elif how == "replaced by a copy":
        for file in files(path, some):
            shutil.copyfile(file, f"{file}.copy")
            os.replace(f"{file}.copy", file)
    else:
        for file in files(path, some):
            file.rename(f"{file}.away")
        story.go_on("meanwhile")
        for file in files(path, some):
            os.replace(f"{file}.away", file)
    story.go_on("after")
    story.check(path)
    # A process that comes anew, and what is written after it has gone.
    third = SqliteBroker(path)
    story.ids["third"] = say(third, "third")
    third.close()
    story.go_on("last")
    story.check(path)


@pytest.mark.parametrize("some", [["-shm"], ["-wal"], ["-wal", "-shm"]], ids=" ".join)
@pytest.mark.parametrize("first", ["a process that was there", "a process that comes"])
def test_without_its_companions_a_store_goes_on_with_all_that_it_had(
    first: str, some: list[str], path: Path, broker: SqliteBroker, other: Other
) -> None:
    """As after a program that cleans up, or advice against "database is locked"."""
    say(broker, "1")
    other("publish", "a", "2")
    before = epoch_of(broker)
    for file in files(path, some):
        file.unlink()
    if first == "a process that comes" and some == ["-shm"]:
        third = SqliteBroker(path)
        assert held(third) == ["1", "2"]
        third.close()
    say(broker, "3")
    other("publish", "a", "4")
    assert held(broker) == other("read", "a") == ["1", "2", "3", "4"]
    assert epoch_of(broker) != before, "and readers get a gap"


def test_a_store_that_was_left_without_its_lock_is_another_epoch(
    path: Path, broker: SqliteBroker, other: Other
) -> None:
    """What was committed last was noted there, and nobody knows now whether it is held."""
    other("publish", "a", "1")
    before = other("epoch")
    other.kill()
    Path(f"{path}.lock").unlink()
    assert epoch_of(broker) != before
    assert held(broker) == ["1"]


def test_a_log_that_was_left_and_is_gone_is_another_epoch(
    path: Path, broker: SqliteBroker, other: Other
) -> None:
    other("publish", "a", "1")
    before = other("epoch")
    other.kill()
    Path(f"{path}-wal").unlink()
    assert epoch_of(broker) != before


def test_a_process_that_was_killed_leaves_a_store_that_goes_on(
    path: Path, broker: SqliteBroker, other: Other
) -> None:
    other("publish", "a", "1")
    before = other("epoch")
    other.kill()
    assert held(broker) == ["1"]
    assert epoch_of(broker) == before, "without a gap"


def test_companions_of_another_store_are_not_taken_for_its_own(
    path: Path, broker: SqliteBroker, other: Other
) -> None:
    """A backup is moved here, and nobody removes what lay beside the file before."""
    say(broker, "1")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", (f"{path}.backup",))
    for n in range(100):
        other("publish", "a", str(n))
    before = epoch_of(broker)
    os.replace(f"{path}.backup", path)
    say(broker, "2")
    assert held(broker) == other("read", "a") == ["1", "2"]
    assert epoch_of(broker) != before
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_log_that_was_cut_is_a_new_store(
    path: Path, broker: SqliteBroker, other: Other
) -> None:
    other("publish", "a", "1")
    say(broker, "2")
    before = epoch_of(broker)
    os.truncate(f"{path}-wal", 0)
    with contextlib.suppress(NotRead):
        held(broker)
    id = say(broker, "3")
    assert held(broker) == other("read", "a") == ["3"]
    assert Position.parse(id).epoch == epoch_of(broker) != before


def test_a_store_that_was_rolled_back_while_it_was_closed_is_another_epoch(
    path: Path, broker: SqliteBroker
) -> None:
    """The lock with it, as by a file system. Only this process knows what it had seen."""
    say(broker, "1")
    before = epoch_of(broker)
    broker.close()
    old = [(file, file.read_bytes()) for file in files(path, ["", ".lock"])]
    say(broker, "2")
    assert epoch_of(broker) == before
    broker.close()
    for file, data in old:
        file.write_bytes(data)
    say(broker, "3")
    assert held(broker) == ["1", "3"]
    assert epoch_of(broker) != before


def test_a_store_that_knows_less_than_was_committed_is_not_written(
    path: Path, broker: SqliteBroker
) -> None:
    id = say(broker, "1")
    with open(f"{path}.lock", "r+b") as lock:
        lock.write(b"%020d" % (Position.parse(id).number + 10**9))
    say(broker, "2")
    assert held(broker) == ["2"]
    assert epoch_of(broker) != Position.parse(id).epoch


def test_what_knows_less_than_was_committed_is_not_copied(
    path: Path, broker: SqliteBroker
) -> None:
    id = say(broker, "1")
    Path(f"{path}-shm").unlink()
    with open(f"{path}.lock", "r+b") as lock:
        lock.write(b"%020d" % (Position.parse(id).number + 10**9))
    say(broker, "2")
    assert held(broker) == ["2"]


def test_a_store_that_knows_less_than_a_hub_has_read_is_another_epoch(
    path: Path, broker: SqliteBroker
) -> None:
    async def test(hub: RecordingSink) -> None:
        before = hub.epoch
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE store SET last = last - 1000000")
            connection.commit()
        await until(lambda: hub.epoch != before)

    say(broker, "1")
    listen(broker, test)


def test_a_database_that_was_replaced_does_not_meet_the_index_of_the_old_one(
    path: Path, broker: SqliteBroker, other: Other
) -> None:
    """Nor without the lock, which says which files belong together."""
    for n in range(50):
        other("publish", "a", str(n))
    expected = other("read", "a")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM INTO ?", (f"{path}.backup",))
    os.replace(f"{path}.backup", path)
    for file in files(path, ["-wal", ".lock"]):
        file.unlink()
    assert held(broker) == expected
    say(broker, "new")
    assert held(broker) == other("read", "a") == [*expected, "new"]


def test_a_copy_that_is_put_in_the_place_of_a_store_has_no_companions(
    path: Path, broker: SqliteBroker
) -> None:
    say(broker, "1")
    opened = broker._writing._access.opened
    assert opened is not None
    opening.replace(opened.connection, str(path), None)
    assert path.exists()
    assert not any(file.exists() for file in files(path, ["-wal", "-shm", ".new"]))
    assert held(broker) == ["1"]


def restore(path: Path, backup: Path) -> None:
    """Copy it into the same file, as ``cp`` does, and later than all that was published."""
    log = os.stat(f"{path}-wal")
    assert log.st_size > 0
    while os.stat(path).st_ctime_ns <= log.st_ctime_ns:
        shutil.copyfile(backup, path)


def check_it_is_over(path: Path, broker: SqliteBroker, before: str) -> None:
    """It is kept, and nothing of it is read."""
    with contextlib.suppress(NotRead):
        assert held(broker) == []
    say(broker, "new")
    assert held(broker) == ["new"]
    assert epoch_of(broker) != before
    assert all(file.exists() for file in files(path, [".broken", ".broken-wal"]))


def test_a_database_that_was_restored_under_a_log_is_not_mixed_with_it(
    path: Path, broker: SqliteBroker, other: Other
) -> None:
    """A backup, after all processes were killed."""
    for n in range(30):
        say(broker, f"old {n}")
    broker.close()
    shutil.copyfile(path, f"{path}.backup")
    for n in range(300):
        other("publish", "a", f"{n} {'x' * 2000}")
    before = other("epoch")
    other.kill()
    restore(path, Path(f"{path}.backup"))
    check_it_is_over(path, broker, before)


@pytest.mark.parametrize("change", ["DELETE FROM event", "UPDATE event SET channel = 'b'"])
def test_a_mixture_that_can_be_read_is_found_out(
    change: str, path: Path, broker: SqliteBroker, other: Other
) -> None:
    """Its pages fit together, and its rows are not those that are counted; or its rows are,
    and the index, whose last pages are in the log, is about others."""
    for n in range(600):
        other("publish", "a", str(n))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copyfile(path, f"{path}.backup")
    other("publish", "a", "last")
    before = other("epoch")
    other.kill()
    with contextlib.closing(sqlite3.connect(f"{path}.backup")) as connection:
        connection.execute(
            f"{change} WHERE number IN (SELECT number FROM event LIMIT 1 OFFSET 99)"
        )
        connection.commit()
    restore(path, Path(f"{path}.backup"))
    check_it_is_over(path, broker, before)


def test_a_log_that_was_left_behind_a_checkpoint_is_read(
    path: Path, broker: SqliteBroker, other: Other
) -> None:
    for n in range(5):
        broker.publish([Event("a", str(n), key=f"key\0{n}")])
    before = other("epoch")
    broker.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    other.kill()
    while not changed_since_log(str(path)):
        os.chmod(path, 0o600)
    assert held(broker) == ["0", "1", "2", "3", "4"]
    assert epoch_of(broker) == before


def test_the_log_of_another_store_is_not_taken_for_its_own(
    path: Path, broker: SqliteBroker, other: Other, tmp_path: Path
) -> None:
    second = Other(tmp_path / "second.db")
    for n in range(20):
        second("publish", "a", f"second {n}")
    second.kill()
    say(broker, "1")
    before = epoch_of(broker)
    broker.close()
    shutil.copyfile(tmp_path / "second.db-wal", f"{path}-wal")
    assert held(broker) == other("read", "a") == ["1"]
    assert epoch_of(broker) == before


def test_a_parent_that_closes_the_store_takes_nothing_from_its_child(
    path: Path, broker: SqliteBroker
) -> None:
    say(broker, "parent")
    before = epoch_of(broker)
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            say(broker, "1")
            os.write(ready[1], b".")
            os.read(go[0], 1)
            say(broker, "2")
            os._exit(0)
        os._exit(1)
    os.read(ready[0], 1)
    # The last one that closes a store removes the log.
    broker.close()
    os.write(go[1], b".")
    assert os.waitpid(child, 0)[1] == 0
    for fd in *ready, *go:
        os.close(fd)
    assert held(broker) == ["parent", "1", "2"]
    assert epoch_of(broker) == before


def test_a_child_that_closes_the_store_takes_nothing_from_its_parent(
    path: Path, broker: SqliteBroker
) -> None:
    say(broker, "1")
    before = epoch_of(broker)
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            broker.close()
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert Path(f"{path}-wal").stat().st_size > 0
    say(broker, "2")
    fresh = SqliteBroker(path)
    assert held(fresh) == ["1", "2"]
    assert epoch_of(fresh) == before
    fresh.close()


# Much of it, at random.


def stress(directory: Path, faults: int, kinds: cabc.Container[str] = ()) -> list[str]:
    async def main() -> list[str]:
        run = StoreRun(directory)
        try:
            chosen = [kind for kind in run.kinds if not kinds or kind.__name__ in kinds]
            await run.go(faults, chosen)
            return await run.finish()
        finally:
            run.close()

    return asyncio.run(main())


HARMLESS = ("kill_publisher", "stop_publisher", "reconnect", "come_and_go")


def test_nothing_is_lost_whatever_becomes_of_the_files(tmp_path: Path) -> None:
    assert stress(tmp_path, 60) == []


def test_processes_that_come_and_go_cause_no_gap(tmp_path: Path) -> None:
    assert stress(tmp_path, 40, HARMLESS) == []


@pytest.mark.slow
def test_nothing_is_lost_for_long_whatever_becomes_of_the_files(tmp_path: Path) -> None:
    for n in range(10):
        (directory := tmp_path / str(n)).mkdir()
        assert stress(directory, 200) == []
