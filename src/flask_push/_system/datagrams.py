"""Sockets that have a path, and to which any process sends one byte, to say "look".

It is a Unix socket where the system has those and the path is short enough. Elsewhere it is
a port of this machine, which stands in a file at the path. The file is locked for as long
as its process has the port, so that others find out whether the process is gone. Another
program could send to the port too: a byte says nothing but "look".
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from .abilities import why_no_unix_sockets
from .inodes import Identity
from .inodes import identity
from .inodes import open_own
from .inodes import read_at
from .inodes import write_at
from .lock import is_locked
from .lock import try_exclusive
from .unix import short_path
from .unix import unix_socket

_LOOPBACK = "127.0.0.1"
# Bytes of the largest datagram. Windows fails if fewer are read.
_MOST_BYTES = 65536
# Why no socket can have the path: the system has none with paths, or it is too long.
_NO_PATH = {errno.EAFNOSUPPORT, errno.ENAMETOOLONG}
# The receiver has not read what was sent before. The last one is that of macOS.
_FULL = {errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS}


class Receiver:
    """A socket that is readable after a byte was sent to its path.

    :raises OSError: If no socket or file can be made there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pid = os.getpid()
        self._file: int | None = None
        try:
            self._socket = _bound_to_path(path)
        except OSError as error:
            if error.errno not in _NO_PATH:
                raise
            self._socket = _bound_to_port()
            try:
                self._file = _file_of(path, self._socket)
            except BaseException:
                self._socket.close()
                raise
        self._made: Identity | None = identity(path)

    @property
    def is_there(self) -> bool:
        """Whether its socket is still at its path."""
        return self._made is not None and identity(self.path) == self._made

    def fileno(self) -> int:
        return self._socket.fileno()

    def empty(self) -> None:
        """Read all that was sent."""
        # A hub does it for each event that is published, so it has no context manager.
        recv = self._socket.recv
        while True:
            try:
                recv(_MOST_BYTES)
            except BlockingIOError:
                return
            except ConnectionError:
                pass

    def close(self) -> None:
        self._socket.close()
        # In the child of a fork, what is at the path belongs to the parent.
        remove = self._pid == os.getpid() and self.is_there
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if remove:
            # On Windows, a process may just be reading it. A later sender removes it.
            with contextlib.suppress(PermissionError):
                self.path.unlink(missing_ok=True)


class Sender:
    """Sends to the paths of receivers. Not for several threads at once."""

    def __init__(self) -> None:
        self._to_paths: socket.socket | None = None
        self._to_ports: socket.socket | None = None

    def send(self, path: Path) -> bool:
        """Send a byte, without waiting.

        :return: Whether a process may have got it, or has not read the last one yet. If
            not, there is none, and there will be none at this path.
        """
        try:
            return self._send_to_path(path) or self._send_to_port(path)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            return True

    def _send_to_path(self, path: Path) -> bool:
        if why_no_unix_sockets():
            return False
        if self._to_paths is None:
            self._to_paths = _unblocked(unix_socket(socket.SOCK_DGRAM))
        try:
            with short_path(path) as short:
                self._to_paths.sendto(b"\1", short)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError as error:
            if error.errno not in _NO_PATH:
                raise
            return False
        return True

    def _send_to_port(self, path: Path) -> bool:
        port = _port_in(path)
        if port is None or not is_locked(path):
            return False
        if self._to_ports is None:
            self._to_ports = _unblocked(_datagram_socket())
        data, address = b"\1", (_LOOPBACK, port)
        try:
            self._to_ports.sendto(data, address)
        except ConnectionError:
            # On Windows, that is the end of the datagram before, to a closed port.
            self._to_ports.sendto(data, address)
        return True

    def close(self) -> None:
        for sock in self._to_paths, self._to_ports:
            if sock is not None:
                sock.close()
        self._to_paths = self._to_ports = None


def is_receiver(path: Path) -> bool:
    """Whether it can be the path of a receiver. Not if it is a link, which could lead
    anywhere, nor another file, which a caller might remove as one whose process is gone."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) or (
        stat.S_ISREG(found.st_mode) and _port_in(path) is not None
    )


def _bound_to_path(path: Path) -> socket.socket:
    sock = _unblocked(unix_socket(socket.SOCK_DGRAM))
    try:
        with short_path(path) as short:
            sock.bind(short)
    except BaseException:
        sock.close()
        raise
    return sock


def _bound_to_port() -> socket.socket:
    sock = _unblocked(_datagram_socket())
    try:
        sock.bind((_LOOPBACK, 0))
    except BaseException:
        sock.close()
        raise
    return sock


def _datagram_socket() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _unblocked(sock: socket.socket) -> socket.socket:
    sock.setblocking(False)
    return sock


def _file_of(path: Path, sock: socket.socket) -> int:
    fd = open_own(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        # Before anything is in it: until then, it is not the path of a receiver.
        try_exclusive(fd)
        write_at(fd, b"udp %d\n" % sock.getsockname()[1], 0)
    except BaseException:
        os.close(fd)
        path.unlink()
        raise
    return fd


def _port_in(path: Path) -> int | None:
    try:
        fd = open_own(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        word, _, number = read_at(fd, 20, 0).partition(b" ")
    finally:
        os.close(fd)
    if word != b"udp" or not number.strip().isdigit():
        return None
    return int(number)
