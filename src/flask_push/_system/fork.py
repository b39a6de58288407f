"""What a process must not share with those that it forks."""

from __future__ import annotations

import os
import threading
import weakref


class PerProcess:
    """Begins again in the child of a fork, where :meth:`abandon` is called.

    Some servers fork without Python's hooks: uWSGI does, unless it is told
    ``py-call-osafterfork``. So each method that others call begins with :meth:`here`, and
    ``__init__`` ends with this one's: another thread may fork before.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        _all.add(self)

    def here(self) -> None:
        """Notice that this is another process by now."""
        if self._pid != os.getpid():
            with _noticing:
                if self._pid != os.getpid():
                    self.abandon()
                    # Last, since another thread may look at it.
                    self._pid = os.getpid()

    def abandon(self) -> None:
        """Forget what is the parent's, of which this process has copies."""
        raise NotImplementedError


_all: weakref.WeakSet[PerProcess] = weakref.WeakSet()
_noticing = threading.RLock()


def _after_fork() -> None:
    global _noticing
    # A thread that is not in this process may have held it.
    _noticing = threading.RLock()
    for each in list(_all):
        each.here()


os.register_at_fork(after_in_child=_after_fork)
