"""What has to be quiet while a process forks, and to begin anew in its child.

A fork in the middle of another thread's call would leave the child SQLite's own mutexes,
locked for ever. So it waits until none of our threads is inside. Some servers fork
without Python's hooks; so everything here compares the process, too, when it is used.
"""

from __future__ import annotations

import os
import threading
import typing as t
import weakref


class Forked(t.Protocol):
    def hold(self, timeout: float) -> bool:
        """Keep other threads from using it."""

    def let_go(self) -> None: ...

    def abandon(self, clean: bool) -> None:
        """In the child, forget what is the parent's.

        :param clean: Whether no thread of the parent was using it.
        """


_all: weakref.WeakSet[Forked] = weakref.WeakSet()
_held = threading.local()


def register(thing: Forked) -> None:
    _all.add(thing)


def _before() -> None:
    _held.things = [thing for thing in list(_all) if thing.hold(timeout=1)]


def _quiet() -> list[Forked]:
    """What was held, if this fork had a hook before it, too."""
    things: list[Forked] = getattr(_held, "things", [])
    _held.things = []
    return things


def _in_parent() -> None:
    for thing in _quiet():
        thing.let_go()


def _in_child() -> None:
    quiet = _quiet()
    for thing in list(_all):
        thing.abandon(clean=thing in quiet)


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
