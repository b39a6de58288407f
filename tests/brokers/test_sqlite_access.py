"""The lock of a store: waiting for it has an end."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support.sqlite_files import broker as broker
from support.sqlite_files import heard
from support.sqlite_files import locked
from support.sqlite_files import path as path
from support.sqlite_files import say
from support.sqlite_files import store

from flask_push import Event
from flask_push import NotPublished
from flask_push.brokers.sqlite import SqliteBroker

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
        # SQLite alone would wait for five seconds.
        assert 0.1 <= time.monotonic() - start < 4
        broker.timeout = 1000
        with pytest.raises(NotPublished):
            say(broker)
        other = SqliteBroker(path, timeout=0.1)
        with pytest.raises(NotPublished):
            say(other)
        assert time.monotonic() - start < 100
        other.close()
    say(broker, "2")
    assert heard(broker) == [b"1", b"2"]


@pytest.mark.parametrize("replaced", [False, True])
def test_to_open_a_store_waits_for_those_who_have_it_locked(
    path: Path, replaced: bool
) -> None:
    """As the child of a fork, which closes what it has inherited, without our lock."""
    broker = SqliteBroker(path, timeout=60)
    if replaced:
        say(broker, "0")
        os.unlink(f"{path}-shm")
    with contextlib.closing(sqlite3.connect(path, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE" if replaced else "BEGIN EXCLUSIVE")
        timer = threading.Timer(0.3, other.rollback)
        timer.start()
        try:
            say(broker, "1")
        finally:
            timer.join()
    assert heard(broker)[-1] == b"1"
    broker.close()


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
