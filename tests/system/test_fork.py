"""Forks of a process that publishes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest
from flask import Flask
from support.apps import app as app
from support.apps import push as push
from support.threads import together

from flask_push import Push
from flask_push._system.fork import all_of
from flask_push._system.fork import ForkLock
from flask_push._system.fork import register
from flask_push._system.fork import run_in_child


def test_a_fork_during_the_first_publish_harms_neither_process(tmp_path: Path) -> None:
    """As with ``gunicorn --preload`` and a thread that the app has started."""
    code = f"""
import os, signal, sys, threading, time
from flask import Flask
from flask_push import Push
app = Flask("app", instance_path={str(tmp_path)!r})
push = Push(app)
threading.Thread(target=lambda: [push.publish("a", "x") for _ in range(200)]).start()
children = []
for _ in range(20):
    if (child := os.fork()) == 0:
        signal.alarm(10)
        try:
            push.publish("a", "child")
            os._exit(0)
        finally:
            os._exit(1)
    children.append(child)
    time.sleep(0.003)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_forked_process_creates_its_own_services() -> None:
    started = threading.Event()

    class SlowApp(Flask):
        @property
        def testing(self) -> bool:  # type: ignore[override]
            started.set()
            time.sleep(0.2)
            return True

    app = SlowApp("app", instance_path="/nonexistent")
    push = Push(app)
    thread = threading.Thread(target=push.publish, args=("a", "1"))
    thread.start()
    started.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            push.publish("a", "2")
            os._exit(0)
        finally:
            os._exit(1)
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    push.publish("a", "3")


def test_work_in_a_child_has_a_result(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    here = os.getpid()

    def fail() -> bool:
        raise OSError

    assert run_in_child(lambda: os.getpid() != here) is True
    assert run_in_child(lambda: False) is False
    assert run_in_child(fail) is False
    monkeypatch.delattr(os, "fork")
    assert run_in_child(fail) is None


def test_a_fork_waits_for_a_lock_that_is_free_in_the_child() -> None:
    lock = ForkLock()
    taken, goes_on = threading.Event(), threading.Event()
    done: list[int] = []

    def work() -> None:
        with lock:
            taken.set()
            goes_on.wait()
            done.append(1)

    def child() -> bool:
        with lock:
            return done == [1]

    thread = threading.Thread(target=work)
    thread.start()
    taken.wait()
    timer = threading.Timer(0.1, goes_on.set)
    timer.start()
    assert run_in_child(child)
    thread.join()
    timer.join()
    with lock:
        # A fork in such a moment waits no longer than it may.
        assert not lock.hold(0.01)
        assert run_in_child(child)


class NotedLock(ForkLock):
    is_held = False

    def hold(self, timeout: float) -> bool:
        self.is_held = super().hold(5 * timeout)
        return self.is_held


class Store:
    """As a store, one thread at a time uses it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        register(self)

    def hold(self, timeout: float) -> bool:
        return self.lock.acquire(timeout=timeout)

    def let_go(self) -> None:
        self.lock.release()

    def abandon(self, clean: bool) -> None:
        self.lock = threading.Lock()


def test_a_fork_and_a_thread_with_a_lock_do_not_wait_for_each_other() -> None:
    # Many, because the fork finds them in any order.
    stores = [Store() for _ in range(50)]
    lock = NotedLock()
    taken = threading.Event()

    def work() -> None:
        with lock:
            taken.set()
            # Now the other thread forks.
            time.sleep(0.2)
            for store in stores:
                with store.lock:
                    pass

    thread = threading.Thread(target=work)
    thread.start()
    taken.wait()
    assert run_in_child(lambda: True)
    thread.join()
    assert lock.is_held


class Thing:
    pass


def test_what_is_in_a_set_can_be_listed_while_other_threads_add_to_it() -> None:
    things: weakref.WeakSet[Thing] = weakref.WeakSet()
    kept: list[list[Thing]] = []

    def add_and_list() -> None:
        for _ in range(100):
            mine = [Thing() for _ in range(10)]
            kept.append(mine)
            for thing in mine:
                things.add(thing)
            assert {*mine} <= {*all_of(things)}

    together(4, add_and_list)
    assert len(all_of(things)) == 4 * 100 * 10
