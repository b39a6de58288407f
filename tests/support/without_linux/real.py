"""The system as it is: for tests that look from outside, and for the pretence itself.

It is imported before anything is taken away, and in a process that lacks nothing, too.
"""

from __future__ import annotations

import contextlib
import importlib
import os as _os
import select as _select
import selectors  # noqa: F401
import signal as _signal
import socket as _socket
import stat
import types
import typing as t


def _if_there(name: str) -> t.Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


# Windows itself lacks them, and nothing has to be taken away there.
fcntl = _if_there("fcntl")
pwd = _if_there("pwd")
resource = _if_there("resource")


def _copy(module: types.ModuleType) -> t.Any:
    copy = types.ModuleType(module.__name__)
    copy.__dict__.update(module.__dict__)
    return copy


os = _copy(_os)
select = _copy(_select)
signal = _copy(_signal)
socket = _copy(_socket)
open = open


# Where Linux and macOS list the descriptors of a process.
_LISTS = "/proc/self/fd", "/dev/fd"
# Windows has no list. Its first descriptors and handles are below these numbers.
_DESCRIPTORS, _HANDLES = 2048, 65536


def descriptor_numbers() -> list[str]:
    """The descriptors of this process. On Windows, those of files and the handles of
    sockets."""
    directory = next(filter(_is_directory, _LISTS), None)
    if directory is None:
        files = [str(n) for n in range(_DESCRIPTORS) if _is_file(n)]
        return files + [f"socket {n}" for n in range(4, _HANDLES, 4) if _is_socket(n)]
    found = []
    for name in os.listdir(directory):
        # One of them was that of the list itself.
        with contextlib.suppress(OSError):
            os.fstat(int(name))
            found.append(name)
    return found


def _is_directory(path: str) -> bool:
    # Not the function of os.path, which lacks what was taken away.
    with contextlib.suppress(OSError):
        return stat.S_ISDIR(os.stat(path).st_mode)
    return False


def _is_file(fd: int) -> bool:
    with contextlib.suppress(OSError):
        return bool(os.fstat(fd))
    return False


def _is_socket(handle: int) -> bool:
    with contextlib.suppress(OSError):
        sock = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, handle)
        try:
            return bool(sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_TYPE))
        finally:
            sock.detach()
    return False


def descriptors() -> int:
    """How many descriptors this process has."""
    return len(descriptor_numbers())
