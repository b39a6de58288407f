"""What Unix sockets and locks between processes need: short paths, and descriptors that
travel in messages."""

from __future__ import annotations

import array
import collections.abc as cabc
import contextlib
import json
import os
import socket
import struct
import typing as t
from pathlib import Path

from ._files import clear_for_socket

#: A message: anything JSON, and descriptors.
Message = tuple[dict[str, t.Any], list[int]]

#: Bytes of a socket's path that every system takes.
MOST_OF_A_PATH = 100
# How long the JSON is, and how many descriptors belong to it.
_HEADER = struct.Struct("!IB")
#: Bytes and descriptors of one message. The kernel passes 253 at once.
MOST_BYTES = 64 * 2**20
MOST_FDS = 200
# Flags of :mod:`socket` are enums, slower to look at than a message is to read.
_SPACE = socket.CMSG_SPACE(MOST_FDS * array.array("i").itemsize)
_CLOEXEC = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
_TRUNCATED = int(socket.MSG_CTRUNC)


@contextlib.contextmanager
def short_path(path: Path) -> t.Iterator[str]:
    """The path, or a short one to the same file, for as long as this lasts."""
    if len(os.fsencode(path)) <= MOST_OF_A_PATH:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def listen_at(path: Path, mode: int, backlog: int) -> socket.socket:
    """Listen on a socket at this path, in the place of one whose process has ended.

    It is bound by the name that it has for good: programs that clean directories see in
    /proc/net/unix by its name that a socket is in use.

    :raises FileExistsError: If something else than a socket is there.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        clear_for_socket(path)
        # Before it is bound, so that no other user finds it open for an instant.
        with contextlib.suppress(OSError):
            os.fchmod(sock.fileno(), mode)
        with short_path(path) as short:
            sock.bind(short)
        path.chmod(mode)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def is_listened_on(path: Path) -> bool:
    """Whether a process listens on a socket at this path. Waits for nothing."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        try:
            sock.connect(str(path))
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


def peer_uid(sock: socket.socket) -> int:
    """The user at the other end, as the kernel knows it."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack(
        "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    return int(uid)


class Messages:
    """One end of a connection that carries messages. Framed, since macOS has no
    sequenced packets.

    Sending and receiving may each be done by a thread of its own.
    """

    def __init__(
        self, sock: socket.socket, data: bytes = b"", fds: cabc.Iterable[int] = ()
    ) -> None:
        self.sock = sock
        # What has come of the next message.
        self._data = bytearray(data)
        self._fds = list(fds)

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, message: dict[str, t.Any], fds: cabc.Sequence[int] = ()) -> None:
        """Send all of it, or break the connection. The descriptors remain the caller's.

        :raises OSError: If the other end is gone, or takes longer than the socket's
            timeout, and then the connection is of no use any more.
        """
        body = json.dumps(message).encode()
        data = _HEADER.pack(len(body), len(fds)) + body
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        sent = self.sock.sendmsg([data], rights if fds else [])
        if sent < len(data):
            self.sock.sendall(memoryview(data)[sent:])

    def receive(self) -> list[Message]:
        """The messages that what has come completes. Waits, if the socket does.

        :raises EOFError: If the other end is gone.
        :raises OSError: If nothing has come, or what came makes no sense.
        """
        data, rights, flags, _ = self.sock.recvmsg(65536, _SPACE, _CLOEXEC)
        for level, kind, value in rights:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = array.array("i")
                fds.frombytes(value[: len(value) - len(value) % fds.itemsize])
                self._fds += fds
        if flags & _TRUNCATED:
            # Whose they are can't be told any more.
            raise OSError("descriptors were lost: this process has no more of them")
        if not data:
            raise EOFError
        self._data += data
        return list(self._complete())

    def ask(self, message: dict[str, t.Any]) -> dict[str, t.Any]:
        """Send it, and wait for one answer.

        :raises EOFError: If the other end is gone.
        :raises OSError: If none comes within the socket's timeout.
        """
        self.send(message)
        while True:
            for answer, _ in self.receive():
                return answer

    def _complete(self) -> cabc.Iterator[Message]:
        while len(self._data) >= _HEADER.size:
            length, count = _HEADER.unpack_from(self._data)
            if length > MOST_BYTES:
                raise OSError(f"a message of {length} bytes is too large")
            end = _HEADER.size + length
            if len(self._data) < end:
                return
            message = json.loads(self._data[_HEADER.size : end].decode())
            del self._data[:end]
            fds, self._fds = self._fds[:count], self._fds[count:]
            yield message, fds

    def unread(self) -> tuple[bytes, list[int]]:
        """What has come of the next message."""
        return bytes(self._data), self._fds

    def shut(self) -> None:
        """End it for both sides. Whoever waits for it still has to close it."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        self.sock.close()
