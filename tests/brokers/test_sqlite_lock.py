"""The lock of a store: who waits for it, who is next, and who is in a child of a fork."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import ctypes
import fcntl
import os
import signal
import threading
import time
import typing as t
from pathlib import Path

import pytest
from support.sqlite_stores import broker as broker
from support.sqlite_stores import held
from support.sqlite_stores import path as path
from support.sqlite_stores import say

from flask_push import Event
from flask_push import NotPublished
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.brokers.sqlite.database import Database
from flask_push.brokers.sqlite.lock import FileLock
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until


class Child:
    """A fork of this process, which does something until it is killed."""

    def __init__(self, act: cabc.Callable[[cabc.Callable[[], None]], t.Any]) -> None:
        """
        :param act: Is given a function that says that it has begun.
        """
        read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            with contextlib.suppress(BaseException):
                os.close(read)
                act(lambda: os.close(write))
            os._exit(0)
        os.close(write)
        os.read(read, 1)
        os.close(read)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def ended(self) -> None:
        """Wait for that, and leave it to be buried."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)


@contextlib.contextmanager
def child(act: cabc.Callable[[cabc.Callable[[], None]], t.Any]) -> cabc.Iterator[Child]:
    started = Child(act)
    try:
        yield started
    finally:
        started.kill()


def hog(path: Path, count: Path) -> cabc.Callable[[cabc.Callable[[], None]], None]:
    """Has the lock all the time, and counts how often."""

    def act(begin: cabc.Callable[[], None]) -> None:
        lock = FileLock(path)
        turns = 0
        with count.open("wb", buffering=0) as file:
            while lock.acquire(time.monotonic() + 60):
                turns += 1
                file.write(b".")
                time.sleep(0.002)
                if turns == 1:
                    begin()
                lock.release()

    return act


def test_a_process_that_always_has_it_lets_others_have_it(tmp_path: Path) -> None:
    """Its turns are two milliseconds, and between them is next to nothing."""
    path, count = tmp_path / "lock", tmp_path / "count"
    lock = FileLock(path)
    with child(hog(path, count)):
        turns = []
        for _ in range(20):
            before = count.stat().st_size
            assert lock.acquire(time.monotonic() + 30)
            lock.release()
            turns.append(count.stat().st_size - before)
    lock.close()
    # Most wait for a few turns, and one may be unlucky on a busy machine.
    assert sorted(turns)[15] <= 25, turns


def test_all_who_wait_have_it_in_the_end(tmp_path: Path) -> None:
    """Who waits for long is next, even behind many who come anew."""
    path = tmp_path / "lock"
    counts = [tmp_path / str(n) for n in range(8)]
    with contextlib.ExitStack() as stack:
        for count in counts:
            stack.enter_context(child(hog(path, count)))
        deadline = time.monotonic() + 60
        while min(count.stat().st_size for count in counts) < 20:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        turns = sorted(count.stat().st_size for count in counts)
    assert turns[-1] < 8 * turns[0], turns


def wait_at_the_gate(path: Path) -> cabc.Callable[[cabc.Callable[[], None]], None]:
    def act(begin: cabc.Callable[[], None]) -> None:
        lock = FileLock(path)
        while not lock._hurries:
            assert not lock.attempt()
            time.sleep(0.001)
        begin()
        while True:
            assert not lock.attempt()
            time.sleep(0.001)

    return act


@pytest.mark.parametrize("what", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_is_next_and_dies_or_stops_keeps_nobody(
    what: signal.Signals, tmp_path: Path
) -> None:
    path = tmp_path / "lock"
    lock, other = FileLock(path), FileLock(path)
    assert lock.attempt()
    with child(wait_at_the_gate(path)) as waiting:
        os.kill(waiting.pid, what)
        if what == signal.SIGKILL:
            waiting.ended()
        lock.release()
        if what == signal.SIGKILL:
            assert lock.attempt()
            lock.release()
        for _ in range(3):
            assert other.acquire(time.monotonic() + 30)
            other.release()
        assert lock.acquire(time.monotonic() + 30)
        lock.release()
    lock.close()
    other.close()


def test_a_process_that_is_next_has_it_before_those_who_come(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock, next, late = FileLock(path), FileLock(path), FileLock(path)
    assert lock.attempt()
    while not next._hurries:
        assert not next.attempt()
        time.sleep(0.001)
    lock.release()
    assert not late.attempt(), "it is free, and another one's turn"
    assert not lock.attempt()
    assert next.attempt()
    next.release()
    assert late.attempt() or late.attempt()
    for one in lock, next, late:
        one.give_up()
        one.close()


def test_who_gives_up_is_no_longer_next(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock, next = FileLock(path), FileLock(path)
    assert lock.attempt()
    assert not next.acquire(time.monotonic() + 0.1)
    lock.release()
    assert lock.attempt()
    lock.release()
    lock.close()
    next.close()


def test_what_waits_behind_a_publisher_without_pause_is_opened(path: Path) -> None:
    """By another thread of its process."""
    broker = SqliteBroker(path, timeout=10)
    say(broker)
    stop = threading.Event()

    def publish() -> None:
        while not stop.is_set():
            broker.publish([Event("b", "x" * 200_000)])

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        for _ in range(10):
            reader = SqliteBroker(path, timeout=20)
            assert held(reader) == ["x"]
            reader.close()
    finally:
        stop.set()
        thread.join()
        broker.close()


def test_the_gate_is_the_users_alone(tmp_path: Path) -> None:
    lock, other = FileLock(tmp_path / "push.db.lock"), FileLock(tmp_path / "push.db.lock")
    assert lock.attempt()
    assert not other.acquire(time.monotonic() + 0.05)
    lock.close()
    other.close()
    assert (tmp_path / "push.db.gate").stat().st_mode & 0o777 == 0o600


def test_a_link_in_the_place_of_the_lock_is_not_followed(
    path: Path, broker: SqliteBroker, tmp_path: Path
) -> None:
    (tmp_path / "precious").write_text("of value")
    Path(f"{path}.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(NotPublished, match="symbolic link"):
        say(broker)
    assert (tmp_path / "precious").read_text() == "of value"


# A hub, whose loop never waits.


def test_a_hub_does_not_wait_for_the_lock(
    path: Path, broker: SqliteBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(broker)
    slept: list[float] = []

    async def main() -> None:
        with open(f"{path}.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with monkeypatch.context() as patched:
                patched.setattr(time, "sleep", slept.append)
                hub = RecordingSink(broker)
                await asyncio.sleep(0.3)
                assert not hub.epoch
                fcntl.flock(lock, fcntl.LOCK_UN)
                await until(lambda: hub.epoch)
        hub.feed.close()

    asyncio.run(main())
    assert not slept


def test_a_hub_says_once_that_it_waits_for_the_lock(
    path: Path, broker: SqliteBroker, caplog: pytest.LogCaptureFixture
) -> None:
    say(broker)

    async def main() -> None:
        with open(f"{path}.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            hub = RecordingSink(broker)
            await until(lambda: "streams wait" in caplog.text)
        await until(lambda: "streams continue" in caplog.text)
        assert caplog.text.count("streams wait") == 1
        hub.feed.close()

    asyncio.run(main())


# Forks.


def test_a_fork_waits_until_no_thread_is_inside(path: Path) -> None:
    """Or the child has SQLite's mutexes, locked for ever by a thread that is not there."""
    database = Database(path)
    with database.write(1):
        pass
    inside, left = threading.Event(), threading.Event()

    def use() -> None:
        with database.write(1):
            inside.set()
            time.sleep(0.3)
            left.set()

    thread = threading.Thread(target=use)
    thread.start()
    inside.wait()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if left.is_set() else 1)
    assert left.is_set()
    assert os.waitpid(pid, 0)[1] == 0
    thread.join()
    database.close()


def fork_without_hooks() -> int:
    """As uWSGI does it."""
    library = ctypes.PyDLL(None)
    pid: int = library.fork()
    return pid


def test_a_child_that_python_was_not_told_of_has_a_lock_of_its_own(
    path: Path, broker: SqliteBroker
) -> None:
    say(broker, "before")
    assert held(broker) == ["before"]
    read, write = os.pipe()
    pid = fork_without_hooks()
    if pid == 0:
        with contextlib.suppress(BaseException):
            say(broker, "child")
            with broker._writing.write(10):
                os.write(write, b".")
                time.sleep(60)
        os._exit(1)
    try:
        assert os.read(read, 1) == b"."
        broker.timeout = 0.1
        with pytest.raises(NotPublished, match="Another process holds"):
            say(broker, "parent")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)
    broker.timeout = 10
    broker._busy_until = 0
    say(broker, "parent")
    assert held(broker) == ["before", "child", "parent"]


def test_a_child_that_python_was_not_told_of_is_not_kept_by_a_thread_of_its_parent(
    path: Path, broker: SqliteBroker
) -> None:
    say(broker, "before")
    memory = MemoryBroker()
    memory.publish([Event("a", "x")])
    with broker._writing._thread_lock, broker._doorbells._lock, memory._lock:
        pid = fork_without_hooks()
        if pid == 0:
            signal.alarm(20)
            with contextlib.suppress(BaseException):
                say(broker, "child")
                broker.close()
                memory.publish([Event("a", "y")])
                os._exit(0)
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert held(broker) == ["before", "child"]


def test_a_child_rings_no_feed_of_its_parent(capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        memory = MemoryBroker()
        hub = RecordingSink(memory)
        await hub.watch("a")
        pid = os.fork()
        if pid == 0:
            memory.publish([Event("a", "child")])
            os._exit(0 if not memory._feeds else 1)
        assert os.waitpid(pid, 0)[1] == 0
        memory.publish([Event("a", "parent")])
        await until(lambda: hub.received("a"))
        assert hub.received("a") == [b"parent"]
        hub.feed.close()

    asyncio.run(main())


def test_a_child_does_not_take_its_parents_bell_down(
    path: Path, broker: SqliteBroker
) -> None:
    async def main() -> None:
        hub = RecordingSink(broker)
        await hub.watch("a")
        bells = list(Path(f"{path}.bells").iterdir())
        pid = os.fork()
        if pid == 0:
            with contextlib.suppress(BaseException):
                hub.feed.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert list(Path(f"{path}.bells").iterdir()) == bells
        hub.feed.close()

    asyncio.run(main())


# Threads of one process.


@contextlib.contextmanager
def kept_a_moment(broker: SqliteBroker) -> cabc.Iterator[None]:
    """Another thread uses the store, and ends soon."""
    inside = threading.Event()

    def use() -> None:
        with broker._writing.write(60):
            inside.set()
            time.sleep(0.1)

    thread = threading.Thread(target=use)
    thread.start()
    inside.wait()
    yield
    thread.join()


def test_threads_of_this_process_do_not_make_the_store_busy(broker: SqliteBroker) -> None:
    say(broker)
    broker.timeout = 0.05
    with broker._writing.write(60):
        with pytest.raises(NotPublished, match="This process is too busy"):
            say(broker)
    broker.timeout = 60
    with kept_a_moment(broker):
        say(broker)


def test_a_store_that_was_busy_and_is_not_any_more_is_waited_for_again(
    path: Path, broker: SqliteBroker
) -> None:
    say(broker)
    broker.timeout = 0.05
    other = FileLock(Path(f"{path}.lock"))
    assert other.acquire(time.monotonic() + 60)
    with pytest.raises(NotPublished, match="Another process holds"):
        say(broker)
    other.close()
    broker.timeout = 60
    say(broker)
    with kept_a_moment(broker):
        say(broker)


# Its end.


def test_closing_waits_for_the_lock(path: Path, broker: SqliteBroker) -> None:
    """The last one that is closed writes what is in the log into the database."""
    say(broker, "1")
    with open(f"{path}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = path.stat().st_mtime_ns
        for database in broker._reading, broker._writing:
            database.close()
        assert Path(f"{path}-wal").stat().st_size > 0
        assert path.stat().st_mtime_ns == before
    broker.close()
    assert not Path(f"{path}-wal").exists()
    assert held(broker) == ["1"]


def test_a_broker_that_nobody_closed_is_closed_when_the_lock_is_free(path: Path) -> None:
    broker = SqliteBroker(path)
    say(broker, "1")
    with open(f"{path}.lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        del broker
        assert Path(f"{path}-wal").stat().st_size > 0
    other = SqliteBroker(path)
    say(other, "2")
    assert held(other) == ["1", "2"]
    other.close()
    assert not Path(f"{path}-wal").exists()
