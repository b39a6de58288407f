"""Threads that are threads, in a process that gevent has patched."""

from __future__ import annotations

import subprocess
import sys
import types
import typing as t
from pathlib import Path

import pytest
from support.packages import environment
from support.packages import install
from support.threads import inherited as inherited

from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._hub.thread import ThreadDoor
from flask_push._ipc.client import Client
from flask_push._system import unpatched
from flask_push.brokers.memory import MemoryBroker

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import os, threading
import gevent
from flask_push._system import abilities, polling, unpatched

assert abilities.why_no_hub_process() == ""
selector = polling.new_selector()
assert type(selector) is unpatched.original("select", "epoll")
selector.close()
assert unpatched.is_replaced("_thread", "start_new_thread")
assert unpatched.is_replaced("select", "epoll")
assert not unpatched.is_replaced("os", "getpid")
seen = []

def wait():
    release.acquire()
    seen.append(unpatched.original("_thread", "get_ident")())

release = unpatched.lock()
thread = unpatched.start_thread(wait)
# A greenlet that waits for real would keep this one from going on.
gevent.sleep(0.01)
assert thread.is_alive()
thread.join(0.01)
assert not seen and thread.is_alive()
release.release()
thread.join(10)
assert seen and seen != [unpatched.original("_thread", "get_ident")()]
assert not thread.is_alive()
reading, writing = os.pipe()
unpatched.close(writing)
assert os.read(reading, 1) == b""
"""


# Each of them is used by the hub's thread, or by one that it starts.
LOCKS = """
from gevent import monkey
monkey.patch_all()
import pathlib, sys
import gevent
from flask_push._hub.tokens import Tokens
from flask_push._system import unpatched
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.redis.cluster import Nodes
from flask_push.brokers.sqlite.database import Database
from flask_push.brokers.sqlite.doorbell import Doorbells

path = pathlib.Path(sys.argv[1])
sleep = unpatched.original("time", "sleep")
locks = {
    "Tokens": Tokens(path)._lock,
    "MemoryBroker": MemoryBroker()._lock,
    "Nodes": Nodes([], "x")._lock,
    "Database": Database(path / "x.db")._thread_lock,
    "Doorbells": Doorbells(path)._lock,
}
for name, lock in locks.items():
    holds, used = unpatched.lock(), unpatched.lock()

    # Something that gevent replaces was called in both threads before.
    def hold():
        gevent.get_hub()
        with lock:
            holds.release()
            sleep(0.05)

    def use():
        gevent.get_hub()
        with lock:
            used.release()

    # The second thread waits, and the first one ends at once when it has released the lock.
    unpatched.start_thread(hold)
    holds.acquire()
    unpatched.start_thread(use)
    assert used.acquire(timeout=10), name

# A greenlet may be in the middle of a transaction when another begins one.
database = Database(path / "y.db")

def write():
    with database.write(10):
        gevent.sleep(0.05)

began = [gevent.spawn(write) for _ in range(3)]
gevent.joinall(began, timeout=10, raise_error=True)
assert all(greenlet.dead for greenlet in began)
with database.write(10):
    closing = gevent.spawn(database.close)
    gevent.sleep(0.01)
closing.join(10)
assert closing.dead
"""


def test_a_lock_of_the_hubs_threads_is_one_in_spite_of_gevent(
    pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    for version in "23.9.1", "26.9.0":
        env = environment(install(pytestconfig, f"gevent=={version}"))
        command = [sys.executable, "-W", "error", "-c", LOCKS, str(tmp_path)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr


def test_a_thread_that_lives_on_inherits_no_context(inherited: list[int]) -> None:
    unpatched.start_thread(lambda: None).join(10)
    assert inherited == [0]


def test_a_thread_is_one_in_spite_of_gevent(pytestconfig: pytest.Config) -> None:
    for version in "23.9.1", "26.9.0":
        env = environment(install(pytestconfig, f"gevent=={version}"))
        command = [sys.executable, "-W", "error", "-c", PROGRAM]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr


def test_without_gevent_everything_is_as_it_is() -> None:
    import os
    import select

    assert unpatched.original("select", "epoll") is select.epoll
    assert unpatched.original("os", "close") is os.close
    assert not unpatched.is_replaced("selectors", "EpollSelector")
    assert unpatched.unfit() == ""


def patched(name: str, **values: t.Any) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(values)
    return module


UNFIT = [
    (patched("uwsgi", has_threads=0), "--enable-threads"),
    (patched("eventlet.patcher", is_monkey_patched=lambda _: True), "has to be a process"),
]


@pytest.mark.parametrize("module, cure", UNFIT)
def test_where_a_thread_would_not_run_the_hub_says_what_to_do(
    module: types.ModuleType, cure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module.__name__, module)
    hub = ThreadDoor(MemoryBroker, Options())
    with pytest.raises(RuntimeError, match=cure):
        hub.adopt(Stream(("a",), "x"), Client(99))
    hub.stop()


def test_uwsgi_with_threads_is_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", patched("uwsgi", has_threads=1))
    assert unpatched.unfit() == ""
