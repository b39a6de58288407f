"""Functions of the standard library that gevent replaces, as they were before.

In a program that gevent has patched, functions that would wait let other greenlets run,
all in one thread. A hub in another thread has to wait really, or the whole program waits.
"""

from __future__ import annotations

import _thread
import collections.abc as cabc
import importlib
import sys
import threading
import time
import typing as t
from contextvars import Context

from . import sockets
from .abilities import SOCKETS_ARE_FILES

# Seconds between two attempts to acquire a lock that a greenlet may hold.
_LOOK_SECONDS = 0.002
# Not more than a lock can wait.
_LONG_SECONDS = 3600
# The module that closes a socket by its number.
_CLOSES = "os" if SOCKETS_ARE_FILES else "_socket"


def original(module: str, name: str) -> t.Any:
    """A name of a module of the standard library, as it was before gevent replaced it."""
    monkey: t.Any = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched(module):
        return monkey.get_original(module, name)
    return getattr(importlib.import_module(module), name)


def close(fd: int) -> None:
    """Close a socket now. gevent's waits for its own loop, which a thread of ours doesn't
    run."""
    if "gevent.monkey" in sys.modules:
        original(_CLOSES, "close")(fd)
    else:
        sockets.close(fd)


def is_replaced(module: str, name: str) -> bool:
    if "gevent.monkey" not in sys.modules:
        return False
    return original(module, name) is not getattr(
        importlib.import_module(module), name, None
    )


def unfit() -> str:
    """Why a thread can't work beside the requests of this process; empty if it can."""
    uwsgi = sys.modules.get("uwsgi")
    if uwsgi is not None and getattr(uwsgi, "has_threads", 1) == 0:
        return "uWSGI runs no threads between requests; start it with --enable-threads"
    patcher: t.Any = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        return "eventlet has replaced threads; the hub has to be a process of its own"
    return ""


def start_thread(target: cabc.Callable[[], None]) -> Thread:
    """Run it in a thread that the system knows of, not in a greenlet."""
    if is_replaced("_thread", "start_new_thread"):
        return _Native(target)
    thread = threading.Thread(target=target, name="flask-push", daemon=True)
    start_apart(thread)
    return thread


def start_apart(thread: threading.Thread) -> None:
    """Start it with an empty context. Without the GIL, Python 3.14 gives a thread a copy
    of the caller's, which may be that of a request, and would live as long as the thread.
    """
    Context().run(thread.start)


class Thread(t.Protocol):
    """As much of a thread as is needed."""

    def is_alive(self) -> bool: ...

    def join(self, timeout: float) -> None: ...


class _Native:
    def __init__(self, target: cabc.Callable[[], None]) -> None:
        self._target = target
        self._running = lock()
        original("_thread", "start_new_thread")(self._run, ())

    def _run(self) -> None:
        try:
            self._target()
        finally:
            self._running.release()

    def is_alive(self) -> bool:
        return self._running.locked()

    def join(self, timeout: float) -> None:
        if self._running.acquire(timeout=timeout):
            self._running.release()


def free_lock() -> _thread.LockType:
    """A lock for threads that the system knows of. gevent's own lock may never wake such a
    thread. A greenlet that holds this one must not let others run, unless all of them use
    :func:`acquire`."""
    free: _thread.LockType = original("_thread", "allocate_lock")()
    return free


def lock() -> _thread.LockType:
    """A lock that is held, for another thread to open."""
    held = free_lock()
    held.acquire()
    return held


def acquire(lock: _thread.LockType, timeout: float) -> bool:
    """Acquire a lock that a greenlet of this thread may hold, which has to run before it
    can release it.

    :return: Whether it was acquired in so many seconds.
    """
    if not is_replaced("_thread", "allocate_lock"):
        return lock.acquire(timeout=timeout)
    deadline = time.monotonic() + timeout
    while not lock.acquire(blocking=False):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def acquire_noted(lock: _thread.LockType, timeout: float, held: list[bool]) -> bool:
    """As :func:`acquire`. If the handler of a signal raises an exception, the list has
    nevertheless got what this would return."""
    if is_replaced("_thread", "allocate_lock"):
        held.append(acquire(lock, timeout))
    else:
        # One call in C. No handler is called in it after the lock was acquired.
        held.extend(map(lock.acquire, (True,), (timeout,)))
    return held[-1]


class SharedLock(t.Protocol):
    """A lock that greenlets and threads of the system share. A greenlet that holds it may
    let others run.

    If the handler of a signal raises an exception, the lock is never left held. That is
    what a worker of Celery or RQ does with a task that takes too long.
    """

    def __enter__(self) -> object: ...

    def __exit__(self, *exception: t.Any) -> None: ...

    def acquire(self, blocking: bool) -> bool: ...

    def release(self) -> None: ...

    def locked(self) -> bool: ...


def shared_lock() -> SharedLock:
    lock = free_lock()
    # A method of ours could be left between two steps, which one in C can't.
    return _Polled(lock) if is_replaced("_thread", "allocate_lock") else lock


class _Polled:
    """For programs that gevent has patched. There, Celery and RQ limit no task by a
    signal."""

    def __init__(self, lock: _thread.LockType) -> None:
        self._lock = lock
        self.acquire, self.release, self.locked = lock.acquire, lock.release, lock.locked

    def __enter__(self) -> None:
        while not acquire(self._lock, _LONG_SECONDS):
            pass

    def __exit__(self, *exception: t.Any) -> None:
        self._lock.release()
