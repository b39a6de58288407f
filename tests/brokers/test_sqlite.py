"""What can befall a file that all processes share."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest

from flask_push import Event
from flask_push import NotPublished
from flask_push import NotRead
from flask_push import Publisher
from flask_push import PublishUncertain
from flask_push.brokers.base import Retention
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.brokers.sqlite.doorbell import Doorbell
from flask_push.brokers.sqlite.doorbell import Ringer
from flask_push.testing._contract import Hub
from flask_push.testing._contract import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "push.db"


@pytest.fixture
def broker(path: Path) -> cabc.Iterator[SqliteBroker]:
    broker = SqliteBroker(path, timeout=0.1)
    yield broker
    broker.close()


def say(broker: SqliteBroker, data: str = "x") -> str:
    (position,) = broker.publish([Event("a", data)])
    return str(position)


def heard(broker: SqliteBroker) -> list[bytes]:
    return [entry.data for entry in broker.read(["a"], after=0).entries]


def epoch(broker: SqliteBroker) -> str:
    return broker.read([], after=0).epoch


@contextlib.contextmanager
def locked(path: Path) -> cabc.Iterator[None]:
    with open(f"{path}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def store(path: Path) -> cabc.Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


# The lock.


def test_publishing_waits_no_longer_than_it_may(path: Path, broker: SqliteBroker) -> None:
    say(broker, "1")
    assert heard(broker) == [b"1"]
    with locked(path):
        start = time.monotonic()
        with pytest.raises(NotPublished, match="Another process holds .*push.db.lock"):
            say(broker)
        assert time.monotonic() - start >= 0.1
        # Now it fails at once, for a second: a view must not be held up each time.
        broker.timeout = 1000
        with pytest.raises(NotPublished):
            say(broker)
        assert heard(broker) == [b"1"], "reading goes on"
    say(broker, "2")
    assert heard(broker) == [b"1", b"2"]


def test_threads_wait_for_each_other_no_longer(path: Path, broker: SqliteBroker) -> None:
    broker.timeout = 5
    say(broker)
    with locked(path):
        thread = threading.Thread(target=say, args=(broker, "patient"))
        thread.start()
        other = SqliteBroker(path, timeout=0.05)
        with pytest.raises(NotPublished):
            say(other)
    thread.join()
    assert heard(broker) == [b"x", b"patient"]
    other.close()


def test_another_program_that_writes_holds_nobody_up(
    path: Path, broker: SqliteBroker
) -> None:
    """A shell or a backup knows SQLite's locks, and not ours."""
    say(broker, "1")
    with store(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        start = time.monotonic()
        with pytest.raises(NotPublished, match="keeps .*push.db busy"):
            say(broker)
        assert 0.1 <= time.monotonic() - start < 1
        broker.timeout = 1000
        with pytest.raises(NotPublished):
            say(broker)
        other = SqliteBroker(path, timeout=0.1)
        with pytest.raises(NotPublished):
            say(other)
        assert time.monotonic() - start < 1.5
        other.close()
    say(broker, "2")
    assert heard(broker) == [b"1", b"2"]


def test_a_process_that_dies_with_the_lock_leaves_it(path: Path) -> None:
    broker = SqliteBroker(path, timeout=10)
    say(broker)
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
from pathlib import Path
from flask_push.brokers.sqlite.database import Database
with Database(Path({str(path)!r})).write(1) as connection:
    connection.execute("UPDATE store SET last = 0")
    print("writing", flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline() == b"writing\n"
    process.kill()
    process.communicate()
    say(broker, "y")
    assert heard(broker) == [b"x", b"y"]
    broker.close()


def test_a_lock_file_that_was_replaced_is_taken_anew(
    path: Path, broker: SqliteBroker
) -> None:
    say(broker)
    lock = Path(f"{path}.lock")
    lock.unlink()
    with locked(path), pytest.raises(NotPublished):
        say(broker)


def test_a_fork_while_another_thread_writes_harms_nobody(path: Path) -> None:
    broker = SqliteBroker(path, timeout=10)
    say(broker)
    stop = threading.Event()

    def publish() -> None:
        while not stop.is_set():
            broker.publish([Event("b", "parent")])

    thread = threading.Thread(target=publish)
    thread.start()
    children = []
    for _ in range(20):
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            with contextlib.suppress(BaseException):
                for _ in range(10):
                    say(broker, "child")
                heard(broker)
                os._exit(0)
            os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 20
    stop.set()
    thread.join()
    assert heard(broker) == [b"x"] + [b"child"] * 200
    with store(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    broker.close()


# The file.


def test_files_are_the_users_alone(path: Path, broker: SqliteBroker) -> None:
    say(broker)
    bell = Doorbell(path.parent / "push.db.bells")
    files = [file for file in path.parent.rglob("*") if not file.is_socket()]
    assert len(files) == 5
    for file in files:
        assert not stat.S_IMODE(file.lstat().st_mode) & 0o077, file
    bell.close()


def remove(path: Path) -> None:
    for file in path, Path(f"{path}-wal"), Path(f"{path}-shm"):
        file.unlink(missing_ok=True)


def test_a_file_that_was_removed_is_made_anew(path: Path, broker: SqliteBroker) -> None:
    say(broker, "1")
    heard(broker)
    before = epoch(broker)
    remove(path)
    say(broker, "2")
    assert heard(broker) == [b"2"]
    assert epoch(broker) != before


def test_a_file_that_was_moved_here_is_another_epoch(
    path: Path, broker: SqliteBroker
) -> None:
    say(broker, "1")
    before = epoch(broker)
    copy = path.with_name("copy")
    with store(path) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    say(broker, "2")
    remove(path)
    copy.rename(path)
    assert heard(broker) == [b"1"]
    assert epoch(broker) != before
    other = SqliteBroker(path)
    assert epoch(other) == epoch(broker), "one new epoch, for all"
    other.close()


def test_an_older_copy_in_the_same_file_is_another_epoch(path: Path) -> None:
    """As ``cp`` does it, while nothing runs."""
    broker = SqliteBroker(path)
    say(broker, "1")
    before = epoch(broker)
    broker.close()
    shutil.copyfile(path, path.with_name("copy"))
    say(broker, "2")
    broker.close()
    assert epoch(broker) == before
    broker.close()
    with open(path, "r+b") as file:
        file.write(path.with_name("copy").read_bytes())
    assert heard(broker) == [b"1"]
    after = epoch(broker)
    assert after != before
    broker.close()
    assert epoch(broker) == after, "one new epoch, for all"
    broker.close()


def test_a_restart_of_the_machine_is_another_epoch(
    path: Path, broker: SqliteBroker
) -> None:
    say(broker, "1")
    before = epoch(broker)
    broker.close()
    with store(path) as connection:
        connection.execute("UPDATE store SET boot = 'another'")
    assert epoch(broker) != before
    assert heard(broker) == [b"1"], "what is still there can be read"


def test_a_restart_of_the_process_is_not(path: Path, broker: SqliteBroker) -> None:
    id = say(broker, "1")
    broker.close()
    other = SqliteBroker(path)
    page = other.read(["a"], after=0)
    assert f"{page.epoch}-" in id
    other.close()


@pytest.mark.parametrize("garbage", [b"x" * 8192, b"SQLite format 3\0" + b"\xff" * 8192])
@pytest.mark.parametrize("first", ["publish", "read"])
def test_a_broken_file_is_moved_away(
    garbage: bytes, first: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = SqliteBroker(path)
    say(broker, "1")
    broker.close()
    for _ in range(2):
        path.write_bytes(garbage)
        if first == "read":
            with pytest.raises(NotRead):
                heard(broker)
        say(broker, "2")
        assert heard(broker) == [b"2"]
        assert Path(f"{path}.broken").read_bytes() == garbage
        assert "is broken" in caplog.text
        broker.close()
    assert len(list(path.parent.glob("*broken"))) == 1, "one is kept"


def test_a_file_that_breaks_under_its_readers_is_moved_away(path: Path) -> None:
    """Pages in the middle turn to garbage while a connection is open."""
    broker = SqliteBroker(path)
    broker.publish([Event("a", "x" * 1000) for _ in range(200)])
    broker.close()
    heard(broker)
    with open(path, "r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 40)
    with pytest.raises(NotRead):
        for _ in range(3):
            SqliteBroker(path).read(["a"], after=0)
    say(broker, "2")
    assert heard(broker) == [b"2"]
    broker.close()


def test_a_file_of_another_version_is_refused(path: Path, broker: SqliteBroker) -> None:
    say(broker)
    broker.close()
    with store(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="another version of Flask-Push"):
            heard(broker)
        with pytest.raises(RuntimeError, match="another version of Flask-Push"):
            say(broker)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    broker = SqliteBroker(tmp_path / "nowhere" / "push.db")
    with pytest.raises(NotPublished, match="nowhere"):
        say(broker)


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
    for broker in app, script, other:
        broker.close()


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


# The feed.


def run(broker: SqliteBroker, test: t.Callable[[Hub], t.Awaitable[None]]) -> None:
    async def main() -> None:
        hub = Hub(broker)
        try:
            await asyncio.wait_for(test(hub), 30)
        finally:
            hub.feed.close()

    asyncio.run(main())


def test_a_bell_that_is_not_heard_costs_no_event(path: Path, broker: SqliteBroker) -> None:
    async def test(hub: Hub) -> None:
        await hub.watch("a")
        for bell in Path(f"{path}.bells").iterdir():
            bell.unlink()
        say(broker, "unheard")
        await until(lambda: hub.heard("a"))

    run(broker, test)


def test_a_hub_of_a_file_that_is_replaced_is_told(path: Path, broker: SqliteBroker) -> None:
    async def test(hub: Hub) -> None:
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
    async def test(hub: Hub) -> None:
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
    async def test(hub: Hub) -> None:
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
    async def test(hub: Hub) -> None:
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
    async def test(hub: Hub) -> None:
        await hub.watch("a")
        broker.publish([Event("ab"[n % 2], str(n)) for n in range(1900)])
        await until(lambda: len(hub.entries) == 950)
        assert hub.heard("a") == [b"%d" % n for n in range(0, 1900, 2)]

    run(broker, test)


# The bells.


def test_bells_work_in_a_directory_with_a_long_name(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 120) / "bells"
    directory.parent.mkdir()
    bell = Doorbell(directory)
    ringer = Ringer(directory)
    ringer.ring()
    ringer.ring()
    bell.silence()
    bell.close()
    ringer.ring()
    ringer.close()
    assert list(directory.iterdir()) == []


def test_the_bells_of_dead_hubs_are_taken_down(tmp_path: Path) -> None:
    bell = Doorbell(tmp_path)
    bell._socket.close()
    nowhere = Ringer(tmp_path / "nowhere")
    nowhere.ring()
    nowhere.close()
    ringer = Ringer(tmp_path)
    ringer.ring()
    ringer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_bell_that_is_full_is_no_trouble(tmp_path: Path) -> None:
    bell = Doorbell(tmp_path)
    ringer = Ringer(tmp_path)
    for _ in range(5000):
        ringer.ring()
    bell.silence()
    bell.close()
    ringer.close()


def test_a_ring_removes_nothing_but_bells_and_follows_no_link(tmp_path: Path) -> None:
    (directory := tmp_path / "bells").mkdir()
    (directory / "file").write_text("precious")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(tmp_path / "other"))
        other.setblocking(False)
        (directory / "link").symlink_to(tmp_path / "other")
        ringer = Ringer(directory)
        ringer.ring()
        ringer.close()
        with pytest.raises(BlockingIOError):
            other.recv(1)
    assert (directory / "file").read_text() == "precious"


def test_a_bell_that_is_removed_is_made_again(path: Path, broker: SqliteBroker) -> None:
    async def test(hub: Hub) -> None:
        bells = Path(f"{path}.bells")
        (before,) = bells.iterdir()
        before.unlink()
        await until(lambda: list(bells.iterdir()))
        (again,) = bells.iterdir()
        assert again != before
        hub.feed.close()
        assert list(bells.iterdir()) == []

    run(broker, test)


def test_a_feed_without_a_bell_looks_often_and_says_why(
    path: Path, broker: SqliteBroker, caplog: pytest.LogCaptureFixture
) -> None:
    Path(f"{path}.bells").write_text("Here no directory can be.")

    async def test(hub: Hub) -> None:
        await hub.watch("a")
        for n in range(3):
            say(broker, f"{n}")
            await until(lambda n=n: hub.heard("a")[-1:] == [f"{n}".encode()])  # type: ignore[misc]
        assert [r.levelname for r in caplog.records] == ["WARNING"]
        assert f"No socket could be made in {path}.bells" in caplog.text
        # Where one can be made later, it is.
        Path(f"{path}.bells").unlink()
        await until(lambda: list(path.parent.glob("push.db.bells/*")))

    run(broker, test)
