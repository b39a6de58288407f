"""Waiting in turn for something of which there is not enough for all.

Callers that wait are woken one after another, in the order in which they came. If a
thousand greenlets polled instead, the loop of gevent would do nothing else.

A process may be so busy that a wait ends later than it should. What was waited for may
have happened meanwhile, or could not happen, because it is the same process that has to do
it. So a wait that ends late goes on, once, for as long as it was late.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import time
import typing as t
from collections import deque
from functools import partial
from itertools import starmap

from . import unpatched

T = t.TypeVar("T")

# Seconds between two looks of the caller that is next, and of the others. Callers are
# woken, unless a greenlet waits for another thread, which can't wake it. Then it looks as
# often as if it were next.
_NEXT_LOOK, _LOOK = 0.002, 0.5
# Seconds after the end of a wait when it is certain that it was left by an exception.
_STALE = 10.0
# Not more than a lock can wait.
_LONG_SECONDS = 3600.0
# For a call of a function without arguments by `starmap`.
_ONCE: list[tuple[()]] = [()]


def wait_again(wait: cabc.Callable[[float], T], seconds: float) -> T:
    """Wait for something, and again if this process was too busy to notice the end.

    :param wait: Waits so many seconds, and returns something false if it was in vain.
    """
    deadline = time.monotonic() + seconds
    if found := wait(seconds):
        return found
    return wait(min(max(time.monotonic() - deadline, 0), seconds))


class _Waiting:
    def __init__(self, until: float) -> None:
        self.thread = unpatched.thread()
        self.bell = unpatched.bell()
        self.look = _NEXT_LOOK if unpatched.is_green() else _LOOK
        #: When it is not waiting any more, whatever has happened.
        self.until = until


class Turns:
    """Any thread, and any greenlet.

    :param has_more: Whether an attempt of the next one might succeed.
    """

    def __init__(self, has_more: cabc.Callable[[], object]) -> None:
        self._has_more = has_more
        self._waiting: deque[_Waiting] = deque()

    def __bool__(self) -> bool:
        """Whether a caller waits."""
        return bool(self._waiting)

    def wait(self, attempt: cabc.Callable[[], bool], seconds: float) -> bool:
        """Wait until it is this caller's turn, and an attempt succeeds.

        :param attempt: Waits for nothing.
        :return: Whether it has succeeded.
        """
        if not self._waiting and attempt():
            return True
        deadline = time.monotonic() + seconds
        me = _Waiting(deadline + seconds + _STALE)
        is_late = False
        try:
            self._waiting.append(me)
            while True:
                is_next = self._is_next(me)
                if is_next and attempt():
                    return True
                left = deadline - time.monotonic()
                if left <= 0:
                    left = min(-left, seconds)
                    if is_late or not left:
                        return False
                    is_late, deadline = True, time.monotonic() + left
                look = me.look if is_next or self._is_first_of_thread(me) else _LOOK
                me.bell.acquire(True, min(left, look))
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(me)
            if self._has_more():
                self.wake()

    def _is_next(self, me: _Waiting) -> bool:
        with contextlib.suppress(IndexError):
            while (first := self._waiting[0]) is not me:
                if first.until > time.monotonic():
                    return False
                # The handler of a signal has raised an exception at a bad moment.
                with contextlib.suppress(ValueError):
                    self._waiting.remove(first)
            return True
        return False

    def _is_first_of_thread(self, me: _Waiting) -> bool:
        """Whether all callers before this greenlet belong to other threads. They can't
        wake it."""
        with contextlib.suppress(RuntimeError):
            for each in self._waiting:
                if each.thread == me.thread:
                    return each is me
        return False

    def wake(self) -> None:
        """Wake the caller that is next; and, if that is in another thread, the first
        greenlet of this one, which then looks by itself. Takes no lock, so that a finalizer
        may call it."""
        thread = unpatched.thread()
        is_first = True
        with contextlib.suppress(RuntimeError):
            for each in self._waiting:
                if each.thread == thread or (is_first and each.thread is None):
                    # It may have been woken already.
                    with contextlib.suppress(RuntimeError):
                        each.bell.release()
                if each.thread == thread:
                    return
                is_first = False


class Places(t.Generic[T]):
    """So many callers have a place at a time; the others wait in turn. What a caller leaves
    in its place is there for the next one. Empty places are taken last.

    The handler of a signal may raise an exception at any moment. So a place is given back
    in a ``finally``, and again in a second one around it.
    """

    def __init__(self, count: int) -> None:
        #: Those that no caller has: first the empty ones.
        self.free: deque[T | None] = deque([None] * count)
        self.turns = Turns(self.free.__len__)

    def take_now(self, place: list[T | None]) -> bool:
        """Take a place if there is one, and no other caller waits.

        :param place: Empty. Gets what is in the place.
        """
        return not self.turns._waiting and self._attempt(place)

    def take(self, place: list[T | None], seconds: float) -> bool:
        """As :meth:`take_now`, but wait for it.

        :return: Whether there was one in time.
        """
        return self.turns.wait(partial(self._attempt, place), seconds)

    def _attempt(self, place: list[T | None]) -> bool:
        try:
            # One call in C. No handler is called in it.
            place.extend(starmap(self.free.pop, _ONCE))
        except IndexError:
            return False
        return True

    def give_back(self, place: list[T | None]) -> None:
        if place:
            give = self.free.extendleft if place[0] is None else self.free.extend
            give(starmap(place.pop, _ONCE))
            if self.turns._waiting:
                self.turns.wake()

    def empty(self, drop: cabc.Callable[[T], object]) -> None:
        """Empty the places that no caller has, even if callers wait for one."""
        place: list[T | None] = []
        try:
            while self._attempt(place) and (thing := place[0]) is not None:
                place[0] = None
                drop(thing)
                self.give_back(place)
        finally:
            self.give_back(place)


class SharedLock(t.Protocol):
    """A lock that greenlets and threads of the system share. A greenlet that holds it may
    let others run.

    If the handler of a signal raises an exception, the lock is never left held. That is
    what a worker of Celery or RQ does with a task that takes too long.
    """

    def __enter__(self) -> object: ...

    def __exit__(self, *exception: t.Any) -> None: ...

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...

    def release(self) -> None: ...

    def locked(self) -> bool: ...


def shared_lock() -> SharedLock:
    lock = unpatched.free_lock()
    # A method of ours could be left between two steps, which one in C can't.
    return _InTurn(lock) if unpatched.is_replaced("_thread", "allocate_lock") else lock


def acquire_noted(lock: SharedLock, timeout: float, held: list[bool]) -> bool:
    """Acquire a lock. If the handler of a signal raises an exception, the list has
    nevertheless got what this would return."""
    # One call in C, if the lock is. No handler is called in it after it was acquired.
    held.extend(map(lock.acquire, (True,), (timeout,)))
    return held[-1]


class _InTurn:
    """For programs that gevent has patched. There, Celery and RQ limit no task by a
    signal."""

    def __init__(self, lock: t.Any) -> None:
        self._lock = lock
        self._turns = Turns(lambda: not lock.locked())
        self._thread: cabc.Callable[[], int] = unpatched.original("_thread", "get_ident")
        self.locked: cabc.Callable[[], bool] = lock.locked

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exception: t.Any) -> None:
        self.release()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not blocking or self._thread() in unpatched.native:
            # A thread of the system may wait in the kernel. If it waited in turn, it could
            # not wake the greenlet behind it, which would not look for half a second.
            return bool(self._lock.acquire(blocking, timeout))
        if timeout >= 0:
            return self._turns.wait(self._attempt, timeout)
        while not self._turns.wait(self._attempt, _LONG_SECONDS):
            pass
        return True

    def _attempt(self) -> bool:
        return bool(self._lock.acquire(False))

    def release(self) -> None:
        self._lock.release()
        if self._turns:
            self._turns.wake()
