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
import typing as t
from contextvars import Context

from . import sockets
from .abilities import SOCKETS_ARE_FILES

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


#: The threads of a program that gevent has patched in which no greenlets run.
native: set[int] = set()


class _Native:
    def __init__(self, target: cabc.Callable[[], None]) -> None:
        self._target = target
        self._running = lock()
        original("_thread", "start_new_thread")(self._run, ())

    def _run(self) -> None:
        me = original("_thread", "get_ident")()
        native.add(me)
        try:
            self._target()
        finally:
            native.discard(me)
            self._running.release()

    def is_alive(self) -> bool:
        return self._running.locked()

    def join(self, timeout: float) -> None:
        if self._running.acquire(timeout=timeout):
            self._running.release()


def free_lock() -> _thread.LockType:
    """A lock for threads that the system knows of. gevent's own lock may never wake such a
    thread. A greenlet that holds this one must not let others run: see
    :func:`.shared_lock`."""
    free: _thread.LockType = original("_thread", "allocate_lock")()
    return free


def lock() -> _thread.LockType:
    """A lock that is held, for another thread to open."""
    held = free_lock()
    held.acquire()
    return held


def is_green() -> bool:
    """Whether this may be a greenlet, which has to let others run while it waits."""
    if not is_replaced("_thread", "allocate_lock"):
        return False
    return original("_thread", "get_ident")() not in native


def thread() -> int | None:
    """The thread to which this greenlet belongs. ``None`` if it is none."""
    return original("_thread", "get_ident")() if is_green() else None


def bell() -> _thread.LockType:
    """A lock that is held. The caller waits for it, until it is released. If the caller is
    a greenlet, only another greenlet of its thread may release it."""
    held = _thread.allocate_lock() if is_green() else free_lock()
    held.acquire()
    return held
