"""Mends what Wine 8 does otherwise than Windows, so that tests find our own faults.

- ``_locking`` of its C library fails without setting ``errno``; Windows sets ``EACCES``.
- It refuses to open a file without sharing while a process has the file in its memory, even
  if only the attributes are read, which Windows allows. So ``os.stat`` finds no inode.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import os
import typing as t

msvcrt: t.Any = importlib.import_module("msvcrt")
_locking, _stat = msvcrt.locking, os.stat
_windows: t.Any = ctypes
_create = _windows.WinDLL("kernel32").CreateFileW
_create.restype = ctypes.c_void_p
_create.argtypes = [
    *(ctypes.c_wchar_p, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p),
    *(ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p),
]
_READ_ATTRIBUTES, _SHARE_ALL, _OPEN_EXISTING = 0x80, 7, 3


def locking(fd: int, mode: int, nbytes: int) -> None:
    try:
        _locking(fd, mode, nbytes)
    except OSError as error:
        if error.errno == 0:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
        raise


def stat(path: t.Any, **options: t.Any) -> os.stat_result:
    found = _stat(path, **options)
    if found.st_ino or isinstance(path, int):
        return found
    name = os.path.abspath(os.fsdecode(path))
    handle = _create(name, _READ_ATTRIBUTES, _SHARE_ALL, None, _OPEN_EXISTING, 0, None)
    if handle == ctypes.c_void_p(-1).value:
        return found
    fd = msvcrt.open_osfhandle(handle, os.O_RDONLY)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


msvcrt.locking, os.stat = locking, stat
