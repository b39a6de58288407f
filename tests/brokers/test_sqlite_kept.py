"""What a store keeps, for how long, and in how much space."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from support.servers import TESTS

from flask_push import Event
from flask_push import NotPublished
from flask_push.brokers.base import Retention
from flask_push.brokers.sqlite import database
from flask_push.brokers.sqlite import feed
from flask_push.brokers.sqlite import opening
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.testing._contract import Hub
from flask_push.testing._contract import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "push.db"


@pytest.fixture
def broker(path: Path) -> cabc.Iterator[SqliteBroker]:
    broker = SqliteBroker(path, timeout=10)
    yield broker
    broker.close()


def say(broker: SqliteBroker, data: str = "x", **more: t.Any) -> str:
    (position,) = broker.publish([Event("a", data, **more)])
    return str(position)


def held(broker: SqliteBroker, channel: str = "a") -> list[str]:
    page = broker.read([channel], after=0, limit=2**30)
    return [entry.data.decode() for entry in page.entries]


def epoch_of(broker: SqliteBroker) -> str:
    return broker.read([], after=0).epoch


@contextlib.contextmanager
def store(path: Path) -> cabc.Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def ask(path: Path, question: str) -> t.Any:
    with store(path) as connection:
        (answer,) = connection.execute(question).fetchone()
    return answer


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


# Reading.


def read_bytes() -> int:
    """What this process has read from files, from a disk or not."""
    (line, *_) = Path("/proc/self/io").read_text().splitlines()
    return int(line.removeprefix("rchar: "))


def test_a_page_of_many_channels_reads_the_data_of_its_events_alone(
    path: Path, broker: SqliteBroker
) -> None:
    names = [f"c{n}" for n in range(100)]
    for _ in range(2):
        broker.publish([Event(name, "x" * 60_000) for name in names])
    broker.close()
    before = read_bytes()
    page = broker.read(names, after=0)
    assert len(page.entries) == 2
    assert read_bytes() - before < 2**20


def test_a_page_of_many_channels_is_as_one_of_few(broker: SqliteBroker) -> None:
    names = [f"c{n}" for n in range(20)]
    rng = random.Random(1)
    events = [Event(rng.choice(names), "x" * rng.choice([1, 5000])) for _ in range(200)]
    numbers = [position.number for position in broker.publish(events)]
    read: list[int] = []
    after = 0
    while True:
        page = broker.read(names, after=after, limit=20_000)
        assert sum(len(e.data) + 100 for e in page.entries[:-1]) < 20_000
        read += [entry.number for entry in page.entries]
        after = page.reach
        if page.reach == page.end:
            break
        assert page.reach == page.entries[-1].number
    assert read == numbers
    assert len(broker.read(names, after=0, limit=1).entries) == 1


def test_a_hub_reads_pages_one_after_another_and_does_more_between(
    broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_SLICE", 0)

    async def main() -> None:
        say(broker)
        hub = Hub(broker)
        await hub.watch("a")
        order: list[str] = []

        def tick() -> None:
            order.append("tick")
            if order.count("page") < 10:
                asyncio.get_running_loop().call_soon(tick)

        for _ in range(10):
            hub.feed.read(["a"], lambda page: order.append("page"), after=0)
        tick()
        await until(lambda: order.count("page") == 10)
        assert "page page" not in " ".join(order)
        hub.feed.close()

    asyncio.run(main())


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


# The clock.

PUBLISH = """
import sys
from flask_push import Publisher
print(Publisher(sys.argv[1], timeout=20).publish("a", sys.argv[2], key=sys.argv[2]))
"""


def publish_at(path: Path, data: str, offset: str, **environment: str) -> None:
    """From a process whose clock is wrong."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    assert library, "libfaketime is missing: tests/install libfaketime"
    environment = {"LD_PRELOAD": str(library), "FAKETIME": offset, **environment}
    subprocess.run(
        [sys.executable, "-c", PUBLISH, f"sqlite://{path}", data],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        check=True,
    )


@pytest.mark.parametrize("offset", ["+400d", "-400d"])
@pytest.mark.parametrize("monotonic", ["0", "1"])
@pytest.mark.parametrize("first", ["right", "wrong"])
def test_a_process_whose_clock_is_wrong_ages_nothing(
    first: str, monotonic: str, offset: str, path: Path
) -> None:
    """Whether only its wall clock is wrong, or all that it is told of time."""
    environment = {"DONT_FAKE_MONOTONIC": monotonic}
    if first == "wrong":
        publish_at(path, "wrong", offset, **environment)
    broker = SqliteBroker(path, Retention(age=60))
    say(broker, "before", key="before")
    numbers = [end_of(broker)]
    publish_at(path, "meanwhile", offset, **environment)
    numbers.append(end_of(broker))
    say(broker, "after")
    say(broker, "typing", store=False)
    numbers.append(end_of(broker))
    assert held(broker)[-3:] == ["before", "meanwhile", "after"]
    assert numbers == sorted(numbers) and numbers[-1] - numbers[0] < 60_000_000
    say(broker, "again", key="before")
    assert "again" not in held(broker)
    # It is old enough when it is.
    with store(path) as connection:
        connection.execute("UPDATE store SET age = 1")
    time.sleep(1.1)
    for _ in range(5):
        say(broker, "new", key="new")
        broker.publish([Event("b", "x")])
    assert held(broker) in (["new"], [])
    assert ask(path, "SELECT count(*) FROM key") == 1
    broker.close()


CHANGE = """
import sys
from pathlib import Path
from flask_push import Publisher
publisher = Publisher(sys.argv[1], timeout=20)
for offset in "+0", "+400d", "-400d", "+0":
    Path(sys.argv[2]).write_text(offset)
    publisher.publish("a", offset)
"""


def test_a_process_whose_clock_is_changed_ages_nothing(path: Path, tmp_path: Path) -> None:
    broker = SqliteBroker(path, Retention(age=60))
    say(broker, "before")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    clock = tmp_path / "clock"
    clock.write_text("+0")
    environment = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
    }
    subprocess.run(
        [sys.executable, "-c", CHANGE, f"sqlite://{path}", str(clock)],
        env={**os.environ, **environment},
        check=True,
    )
    start = end_of(broker)
    say(broker, "after")
    assert held(broker) == ["before", "+0", "+400d", "-400d", "+0", "after"]
    assert end_of(broker) - start < 60_000_000
    broker.close()


def end_of(broker: SqliteBroker) -> int:
    return broker.read([], after=0).end


# Boots.


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's file, as a container may have one of its own."""
    boot = tmp_path / "boot_id"
    monkeypatch.setattr(opening, "_BOOT_ID", boot)
    boot.write_text("first\n")
    return boot


def test_containers_with_boot_ids_of_their_own_share_an_epoch(
    path: Path, boot: Path
) -> None:
    epochs = []
    for n in range(10):
        boot.write_text(f"{'AB'[n % 2] * 8}-0000\n")
        broker = SqliteBroker(path)
        say(broker, str(n))
        epochs.append(epoch_of(broker))
        broker.close()
    # At the second it may be another boot of the machine, for all that is known.
    assert len({*epochs[1:]}) == 1
    assert held(broker) == [str(n) for n in range(10)]
    broker.close()


def test_a_container_that_comes_while_others_are_there_changes_nothing(
    path: Path, boot: Path
) -> None:
    hub = subprocess.Popen(
        [sys.executable, "-m", "apps.other", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=TESTS,
    )
    assert hub.stdin is not None and hub.stdout is not None
    print('["publish", "a", "0"]', file=hub.stdin, flush=True)
    epochs = {hub.stdout.readline()[1:6]}
    for n in range(1, 30):
        boot.write_text(f"container {n}\n")
        broker = SqliteBroker(path)
        say(broker, str(n))
        epochs.add(epoch_of(broker))
        broker.close()
    hub.kill()
    hub.communicate()
    assert len(epochs) == 1
    assert len(ask(path, "SELECT boot FROM store").split()) <= 16
    boot.write_text("rebooted\n")
    assert epoch_of(broker) not in epochs, "now nobody was there before"
    broker.close()


# A store that others have written into.


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM store",
        "UPDATE store SET last = 'x'",
        "UPDATE store SET floor = x'00'",
        "UPDATE store SET bytes = 'x'",
        "UPDATE store SET passing = 'x'",
        "UPDATE store SET age = 'x'",
        "UPDATE store SET count = 'x'",
        "UPDATE store SET max_bytes = 'x'",
        "UPDATE store SET epoch = x'00'",
        "UPDATE store SET boot = x'00ff'",
        "UPDATE store SET inode = 'x'",
    ],
)
@pytest.mark.parametrize("open", [True, False], ids=["open", "closed"])
def test_a_row_that_is_none_of_ours_is_a_new_epoch(
    open: bool, change: str, path: Path, broker: SqliteBroker
) -> None:
    say(broker, "1")
    before = epoch_of(broker)
    if not open:
        broker.close()
    with store(path) as connection:
        connection.execute(change)
    id = say(broker, "2")
    assert held(broker)[-1] == "2"
    unread = ("boot", "inode")
    if not open or not any(name in change for name in unread):
        assert id[:5] == epoch_of(broker) != before


def test_a_hub_of_a_store_without_a_row_goes_on(path: Path, broker: SqliteBroker) -> None:
    async def main() -> None:
        hub = Hub(broker)
        await hub.watch("a")
        before = hub.epoch
        with store(path) as connection:
            connection.execute("DELETE FROM store")
        await until(lambda: hub.epoch != before)
        say(broker, "new")
        await until(lambda: hub.heard("a") == [b"new"])
        hub.feed.close()

    say(broker, "old")
    asyncio.run(main())


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


def in_child(act: cabc.Callable[[], t.Any]) -> int:
    child = os.fork()
    if child == 0:
        try:
            act()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitpid(child, 0)[1]


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
        hub = Hub(broker)
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
