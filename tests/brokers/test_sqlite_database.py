"""The log beside the database, and disks that fill up."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.servers import TESTS
from support.sqlite_files import in_child
from support.sqlite_stores import broker as broker
from support.sqlite_stores import epoch_of
from support.sqlite_stores import held
from support.sqlite_stores import path as path
from support.sqlite_stores import say
from support.sqlite_stores import store

from flask_push import Event
from flask_push import NotPublished
from flask_push.brokers import ItemChange
from flask_push.brokers.base import Retention
from flask_push.brokers.sqlite import database
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until

# The log beside the database.

READ = """
import sys
from pathlib import Path
from flask_push.brokers.sqlite import SqliteBroker
broker = SqliteBroker(Path(sys.argv[1]), timeout=20)
while True:
    broker.read(["a"], last=50)
"""


def log_of(path: Path) -> int:
    log = Path(f"{path}-wal")
    return log.stat().st_size if log.exists() else 0


def test_the_log_stays_short_behind_readers_without_a_pause(
    path: Path, broker: SqliteBroker
) -> None:
    broker.publish([Event("a", "x" * 2000) for _ in range(1000)])
    readers = [
        subprocess.Popen([sys.executable, "-c", READ, str(path)], cwd=TESTS)
        for _ in range(3)
    ]
    try:
        sizes = []
        for _ in range(2500):
            say(broker, "x" * 2000)
            sizes.append(log_of(path))
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()
    # Without a cut it has 30 KB for each event.
    assert max(sizes) < 40 * 2**20, sizes[::250]
    assert min(sizes[1000:]) < max(sizes)


def test_a_log_that_has_grown_is_made_short_again(path: Path, broker: SqliteBroker) -> None:
    say(broker)
    with store(path) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM event").fetchone()
        for _ in range(8):
            say(broker, "x" * 2**20)
        assert log_of(path) > 8 * 2**20
        reader.execute("ROLLBACK")
        for _ in range(3):
            say(broker)
    assert log_of(path) <= 5 * 2**20


def test_a_process_that_is_stopped_while_it_reads_does_not_let_the_log_grow_for_ever(
    path: Path,
    broker: SqliteBroker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(database, "_TOO_LONG", 10 * 2**20)
    say(broker, "first")
    before = epoch_of(broker)
    with store(path) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM event").fetchone()
        for n in range(20):
            say(broker, f"{n} {'x' * 2**20}")
            assert log_of(path) < 16 * 2**20
    assert "was stopped while it was reading" in caplog.text
    assert held(broker)[0] == "first" and len(held(broker)) == 21
    assert epoch_of(broker) != before


# A disk that is full.


@contextlib.contextmanager
def small_disk(directory: Path, size: int) -> cabc.Iterator[bool]:
    """A file system of so many bytes. False if there can't be one here."""
    directory.mkdir()
    command = [
        "mount",
        "-t",
        "tmpfs",
        "-o",
        f"size={size},mode=700",
        "push",
        str(directory),
    ]
    mounted = subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(directory)], check=True)


def fill(path: Path, limit: int) -> None:
    """Publish more than there is space for, again and again."""
    broker = SqliteBroker(path, Retention(count=10_000), timeout=5)
    for n in range(400):
        say(broker, f"{n} {'x' * 50_000}", key=str(n))
    data = held(broker)
    assert data[-1].startswith("399 ")
    assert [int(one.split()[0]) for one in data] == list(range(400 - len(data), 400))
    assert len(data) > 3
    with pytest.raises(NotPublished):
        say(broker, "x" * 2 * limit)
    say(broker, "after")
    assert held(broker)[-1] == "after"
    broker.close()
    with store(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_disk_that_our_own_events_have_filled_takes_new_ones(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk", 6 * 2**20) as mounted:
        if mounted:
            fill(tmp_path / "disk" / "push.db", 6 * 2**20)
            assert "is full; deleted the oldest events" in caplog.text
        else:
            # Where nothing may be mounted, the next test has to do.
            pass


def test_a_limit_that_our_own_events_have_reached_takes_new_ones(path: Path) -> None:
    """Of the size of files, as a quota."""

    def act() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 * 2**20, hard))
        fill(path, 4 * 2**20)

    assert in_child(act) == 0


def test_a_hub_of_a_store_on_a_full_disk_hears_what_is_published(tmp_path: Path) -> None:
    async def main(path: Path) -> None:
        broker = SqliteBroker(path, Retention(count=10_000), timeout=5)
        hub = RecordingSink(broker)
        await hub.watch("a")
        for n in range(100):
            events = [Event("a", f"{n} {'x' * 100_000}")]
            (last,) = await asyncio.to_thread(broker.publish, events)
            epoch, number = last
            await until(lambda: hub.epoch == epoch and hub.end >= number)  # noqa: B023
        hub.feed.close()
        broker.close()

    with small_disk(tmp_path / "disk", 6 * 2**20) as mounted:
        directory = tmp_path / "disk" if mounted else tmp_path
        asyncio.run(main(directory / "push.db"))


def test_a_full_disk_keeps_all_items(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk", 4 * 2**20) as mounted:
        if not mounted:
            return
        broker = SqliteBroker(tmp_path / "disk" / "push.db", timeout=1)
        kept = {}
        with pytest.raises(NotPublished, match="full"):
            for n in range(1000):
                broker.publish([Event("a", "x" * 1000)])
                broker.change([ItemChange("a", str(n), "x" * 5000)])
                kept[str(n)] = n
        assert len(kept) > 50
        for what in Event("a", "x" * 100_000), ItemChange("a", "more", "x" * 100_000):
            with pytest.raises(NotPublished):
                broker.change([what])
        with pytest.raises(NotPublished):
            say(broker, "x" * 100_000)
        mount = ["mount", "-o", "remount,size=16m", str(tmp_path / "disk")]
        subprocess.run(mount, check=True)
        broker._busy_until = 0
        broker.change([ItemChange("a", "after", "x")])
        rows = broker.read_items(["a"], limit=2**30).rows
        assert [row.item for row in rows] == [*kept, "after"]
        assert caplog.text == "", "nothing was deleted"
        broker.close()


def test_a_disk_that_others_have_filled_is_no_reason_to_forget(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4 * 2**20) as mounted:
        if not mounted:
            return
        path = tmp_path / "disk" / "push.db"
        broker = SqliteBroker(path, timeout=1)
        say(broker, "kept")
        with (tmp_path / "disk" / "other").open("wb", buffering=0) as file:
            with contextlib.suppress(OSError):
                while file.write(b"x" * 4096):
                    pass
        with pytest.raises(NotPublished, match="full"):
            for _ in range(100):
                say(broker, "x" * 20_000)
        assert held(broker)[0] == "kept"
        (tmp_path / "disk" / "other").unlink()
        broker._busy_until = 0
        say(broker, "after")
        assert held(broker)[-1] == "after"
        broker.close()
