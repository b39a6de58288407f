"""The system as it is: for tests that look from outside, and for the pretence itself.

It is imported before anything is taken away, and in a process that lacks nothing, too.
"""

from __future__ import annotations

import contextlib
import fcntl as fcntl
import os as _os
import resource as resource
import select as _select
import selectors  # noqa: F401
import signal as _signal
import socket as _socket
import types
import typing as t


def _copy(module: types.ModuleType) -> t.Any:
    copy = types.ModuleType(module.__name__)
    copy.__dict__.update(module.__dict__)
    return copy


os = _copy(_os)
select = _copy(_select)
signal = _copy(_signal)
socket = _copy(_socket)
open = open


def descriptor_numbers() -> list[str]:
    """The descriptors of this process."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        # One of them was that of the list itself.
        with contextlib.suppress(FileNotFoundError):
            os.lstat(f"/proc/self/fd/{name}")
            found.append(name)
    return found


def descriptors() -> int:
    """How many descriptors this process has."""
    return len(descriptor_numbers())
