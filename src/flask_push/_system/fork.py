"""What a process must not share with its children, and what must not be in use in a fork.

A fork in the middle of another thread's call would leave SQLite's own mutexes locked in
the child for ever. So a fork waits until no thread of ours is inside. Some servers fork
without Python's hooks, so everything here also compares the process when it is used.
"""

from __future__ import annotations

import collections.abc as cabc
import os
import threading
import typing as t
import weakref

Thing = t.TypeVar("Thing")


class PerProcess:
    """Begins again in the child of a fork, where :meth:`abandon` is called.

    uWSGI forks without Python's hooks, unless it is configured with
    ``py-call-osafterfork``. So each public method begins with :meth:`here`. And
    ``__init__`` ends with this one, because another thread may fork before.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        _per_process.add(self)

    def here(self) -> None:
        """Begin again if this is another process now."""
        if self._pid != os.getpid():
            with _noticing:
                if self._pid != os.getpid():
                    self.abandon()
                    # Last, because another thread may look at it.
                    self._pid = os.getpid()

    def abandon(self) -> None:
        """Forget what belongs to the parent, of which this process has copies."""
        raise NotImplementedError


class HeldInForks(t.Protocol):
    def hold(self, timeout: float) -> bool:
        """Keep other threads from using it.

        :return: Whether they are out of it in time.
        """

    def let_go(self) -> None:
        """Let other threads use it again."""

    def abandon(self, clean: bool) -> None:
        """In the child, forget what belongs to the parent.

        :param clean: Whether no thread of the parent was using it.
        """


_per_process: weakref.WeakSet[PerProcess] = weakref.WeakSet()
_held_in_forks: weakref.WeakSet[HeldInForks] = weakref.WeakSet()
_noticing = threading.RLock()
# What the thread that forks holds.
_held = threading.local()


def all_of(things: weakref.WeakSet[Thing]) -> list[Thing]:
    """What is in a set to which other threads add. It takes no lock, which a fork could
    leave held."""
    while True:
        try:
            return list(things)
        except RuntimeError:
            # Another thread has added to it meanwhile.
            continue


def register(thing: HeldInForks) -> None:
    _held_in_forks.add(thing)


class ForkLock:
    """A lock for which a fork waits, for a second at most. In the child, it is free.

    A thread that has it may use a store, but must not take it while it uses one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        register(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def hold(self, timeout: float) -> bool:
        return self._lock.acquire(timeout=timeout)

    def let_go(self) -> None:
        self._lock.release()

    def abandon(self, clean: bool) -> None:
        # A thread that is not in this process may have held it.
        self._lock = threading.Lock()


def _before() -> None:
    # First the locks whose threads may wait for the other things. The other way round, the
    # fork and such a thread would wait for each other.
    things = all_of(_held_in_forks)
    things.sort(key=lambda thing: not isinstance(thing, ForkLock))
    _held.things = [thing for thing in things if thing.hold(timeout=1)]


def _take_held() -> list[HeldInForks]:
    """What is held. Nothing, if this fork did not call the hook before it."""
    things: list[HeldInForks] = getattr(_held, "things", [])
    _held.things = []
    return things


def _in_parent() -> None:
    for thing in _take_held():
        thing.let_go()


def _in_child() -> None:
    global _noticing
    # A thread that is not in this process may have held it.
    _noticing = threading.RLock()
    for each in all_of(_per_process):
        each.here()
    unused = _take_held()
    for thing in all_of(_held_in_forks):
        thing.abandon(clean=thing in unused)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=_in_parent, after_in_child=_in_child
    )


def run_in_child(work: cabc.Callable[[], bool]) -> bool | None:
    """Run it in a child of a fork, and return its result. ``None`` if there are no forks,
    and then nothing has run."""
    if not hasattr(os, "fork"):
        return None
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 3)
        finally:
            os._exit(4)
    _, status = os.waitpid(child, 0)
    return status == 0
