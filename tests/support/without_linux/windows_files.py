"""Files without owners and modes, which can't be removed while they are open."""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
import sys
import types
import typing as t

from . import real
from .taking import hide
from .taking import replace
from .taking import replace_open
from .windows_sockets import refuse_socket

# Characters that no name of a file may have.
_NOT_IN_NAMES = re.compile(r'[<>:"|?*\x00-\x1f]')
_WRITES = re.compile("[wxa+]")


def _refuse_if_open(path: t.Any) -> None:
    """Only the descriptors of this process are looked at."""
    real_path = real.os.path.realpath(os.fsdecode(path))
    for fd in real.os.listdir("/proc/self/fd"):
        try:
            found = real.os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if found == real_path or found.startswith(f"{real_path}/"):
            text = "The file is in use by a process"
            raise PermissionError(errno.EACCES, text, os.fspath(path))


def _refuse_name(path: t.Any) -> None:
    if not isinstance(path, int) and _NOT_IN_NAMES.search(os.fsdecode(path)):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), os.fspath(path))


def _of_directories(options: dict[str, t.Any]) -> None:
    for name in "dir_fd", "src_dir_fd", "dst_dir_fd":
        if options.get(name) is not None:
            raise NotImplementedError(f"{name} unavailable on this platform")


def _removing(name: str) -> None:
    function = getattr(os, name)

    def remove(path: t.Any, **options: t.Any) -> None:
        _of_directories(options)
        _refuse_if_open(path)
        function(path)

    replace(name, remove)


def _moving(name: str) -> None:
    function = getattr(os, name)

    def move(src: t.Any, dst: t.Any, **options: t.Any) -> None:
        _of_directories(options)
        _refuse_name(dst)
        _refuse_if_open(src)
        if name == "rename" and os.path.lexists(dst):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(dst))
        _refuse_if_open(dst)
        function(src, dst)

    replace(name, move)


def _as_there(found: os.stat_result) -> os.stat_result:
    """Every file belongs to user 0, and its mode says only whether it can be written."""
    mode = 0o666 if found.st_mode & 0o200 else 0o444
    if stat.S_ISDIR(found.st_mode):
        mode = 0o777
    _, (fields, more) = t.cast(t.Any, found.__reduce__())
    fields = stat.S_IFMT(found.st_mode) | mode, *fields[1:4], 0, 0, *fields[6:]
    return os.stat_result(fields, more)


def _looking(name: str) -> None:
    function = getattr(os, name)

    def look(path: t.Any, **options: t.Any) -> os.stat_result:
        _of_directories(options)
        refuse_socket(path)
        return _as_there(function(path, **options))

    replace(name, look)


def _open(path: t.Any, flags: int, mode: int = 0o777, **options: t.Any) -> int:
    _of_directories(options)
    if flags & os.O_CREAT:
        _refuse_name(path)
    if real.os.path.isdir(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
    return int(_real_open(path, flags, mode))


def _mkdir(path: t.Any, mode: int = 0o777, **options: t.Any) -> None:
    _of_directories(options)
    _refuse_name(path)
    _real_mkdir(path, mode)


_real_open, _real_mkdir, _real_chmod = real.os.open, real.os.mkdir, real.os.chmod


def _chmod(path: t.Any, mode: int, **options: t.Any) -> None:
    """Only whether a file can be written."""
    _of_directories(options)
    if not real.os.path.isdir(path):
        _real_chmod(path, 0o666 if mode & 0o200 else 0o444)


def _symlink(src: t.Any, dst: t.Any, *args: t.Any, **options: t.Any) -> None:
    text = "A required privilege is not held by the client"
    raise OSError(errno.EINVAL, text, os.fspath(src))


def _look(
    file: t.Any, mode: str, encoding: str | None, newline: str | None
) -> tuple[str | None, str | None]:
    """Text is in the encoding of Western Europe by default, and its lines end in CR LF."""
    refuse_socket(file)
    _check(file)
    if _WRITES.search(mode):
        _refuse_name(file)
    if "b" in mode:
        return encoding, newline
    if newline is None and _WRITES.search(mode) and "+" not in mode:
        newline = "\r\n"
    return "cp1252" if encoding in (None, "locale") else encoding, newline


_check: t.Any = None


def _locking(fd: int, mode: int, nbytes: int) -> None:
    """Locks bytes from where the file is, for this opening of it. The attempts that wait
    for the lock are not needed here."""
    fcntl = real.fcntl
    if mode not in (msvcrt.LK_UNLCK, msvcrt.LK_NBLCK, msvcrt.LK_NBRLCK):
        raise OSError(errno.EDEADLOCK, "nothing of ours may wait in msvcrt.locking")
    kind = fcntl.F_UNLCK if mode == msvcrt.LK_UNLCK else fcntl.F_WRLCK
    start = real.os.lseek(fd, 0, os.SEEK_CUR)
    lock = struct.pack("hhqqi4x", kind, os.SEEK_SET, start, nbytes, 0)
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock)
    except OSError:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None


msvcrt: t.Any = types.ModuleType("msvcrt")
msvcrt.LK_UNLCK, msvcrt.LK_LOCK, msvcrt.LK_NBLCK = 0, 1, 2
msvcrt.LK_RLCK, msvcrt.LK_NBRLCK = 3, 4
msvcrt.locking = _locking


def pretend() -> None:
    global _check
    for name in "stat", "lstat", "fstat":
        _looking(name)
    replace("open", _open)
    replace("mkdir", _mkdir)
    replace("chmod", _chmod)
    replace("symlink", _symlink)
    for name in "unlink", "remove", "rmdir":
        _removing(name)
    for name in "rename", "replace":
        _moving(name)
    devices = os.devnull, "/dev/urandom", "/dev/random"
    _check = hide(("/proc", "/sys", "/dev"), but=devices)
    replace_open(_look)
    for abilities in os.supports_dir_fd, os.supports_fd, os.supports_effective_ids:
        abilities.clear()
    os.O_BINARY, os.O_NOINHERIT = 0x8000, real.os.O_CLOEXEC  # type: ignore
    sys.modules["msvcrt"] = msvcrt
