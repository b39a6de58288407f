"""What this system has of what Linux has.

Files outside of this folder never ask for the name of the system. They ask here, or use
what this folder has in place of what is missing.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import socket
import sys
import typing as t

try:
    import fcntl as fcntl
except ModuleNotFoundError:  # Windows.
    fcntl = None  # type: ignore[assignment]
msvcrt: t.Any = None
with contextlib.suppress(ModuleNotFoundError):  # It is there on Windows alone.
    msvcrt = importlib.import_module("msvcrt")

#: Whether the number of a socket is a file descriptor, which functions for files take.
SOCKETS_ARE_FILES = fcntl is not None


def why_no_unix_sockets() -> str:
    """Why processes can't meet at the path of a socket; empty if they can."""
    return "" if hasattr(socket, "AF_UNIX") else "this system has no Unix sockets"


def has_epoll() -> bool:
    """Whether the system has it. gevent removes it from its module."""
    monkey: t.Any = sys.modules.get("gevent.monkey")
    removed = monkey is not None and monkey.is_object_patched("select", "epoll")
    return hasattr(select, "epoll") or removed


def why_no_hub_process() -> str:
    """Why the hub can't be a process of its own; empty if it can."""
    needed = {
        "no Unix sockets that pass descriptors": hasattr(socket, "SCM_RIGHTS"),
        "no locks that end with their process": hasattr(fcntl, "flock"),
        "no fork": hasattr(os, "fork"),
        "no epoll": has_epoll(),
        "no credentials of a socket's other end": hasattr(socket, "SO_PEERCRED"),
    }
    missing = [what for what, there in needed.items() if not there]
    return f"this system has {missing[0]}" if missing else ""
