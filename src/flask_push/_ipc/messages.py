"""Messages of JSON and descriptors, over a Unix socket."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import errno
import json
import socket
import struct
import time
import typing as t
from functools import partial

from .._system import sockets
from .._system.unix import MOST_FDS as MOST_FDS
from .._system.unix import receive_descriptors
from .._system.unix import send_descriptors

#: A message as it was received: a JSON object, and descriptors.
Received = tuple[dict[str, t.Any], list[int]]

# The length of the JSON, and the number of its descriptors.
_HEADER = struct.Struct("!IB")

#: The most bytes of one message between two hubs, and between a worker and a hub.
MOST_BYTES = 64 * 2**20
MOST_SAID = 4 * 2**20

#: The key of a message that stands for one that can't be read. Its value says why.
UNREADABLE = "unreadable"

# Seconds between two attempts to send descriptors.
_SOON = 0.01


class Messages:
    """One end of a connection that carries messages. Framed, since macOS has no
    sequenced packets.

    Sending and receiving may each be done by a thread of its own.

    :param data: The part of the next message that another process has received.
    :param fds: The descriptors of that part.
    :param most: Bytes of a message.
    """

    def __init__(
        self,
        sock: socket.socket,
        data: bytes = b"",
        fds: cabc.Iterable[int] = (),
        most: int = MOST_BYTES,
    ) -> None:
        self.sock = sock
        self.most = most
        self._data = bytearray(data)
        self._fds = list(fds)
        # Bytes of a message that is too large, which are still to be dropped.
        self._skip = 0

    def fileno(self) -> int:
        return self.sock.fileno()

    def send(self, message: dict[str, t.Any], fds: cabc.Sequence[int] = ()) -> None:
        """Send all of it. The descriptors remain the caller's.

        :raises TimeoutError: If the other end read nothing within the socket's timeout.
            The connection can be used further.
        :raises OSError: If the other end is closed, or read only a part. With
            ``EMSGSIZE``, the message is too large, and the connection can be used further.
        """
        body = _to_json(message).encode()
        if len(body) > self.most:
            raise OSError(errno.EMSGSIZE, f"a message of {len(body):,} bytes is too large")
        data = _HEADER.pack(len(body), len(fds)) + body
        sent = self._send_some(data, fds)
        if sent == len(data):
            return
        try:
            self.sock.sendall(memoryview(data)[sent:])
        except OSError as error:
            # The other end waits for the rest, and would read the next message as that.
            self.shut()
            raise BrokenPipeError(
                errno.EPIPE, f"the other end took only a part: {error}"
            ) from error

    def _send_some(self, data: bytes, fds: cabc.Sequence[int]) -> int:
        """Send the descriptors, and as many bytes as the socket takes with them."""
        timeout = self.sock.gettimeout()
        until = time.monotonic() + (timeout or 0)
        while True:
            try:
                return send_descriptors(self.sock, data, fds)
            except TimeoutError:
                send = partial(send_descriptors, self.sock, data, fds)
                return sockets.look_again(self.sock, send)
            except OSError as error:
                # The kernel limits the descriptors that all processes of a user have sent
                # and not received yet. So this is as if the socket were full.
                if error.errno != errno.ETOOMANYREFS:
                    raise
                if timeout is not None and time.monotonic() >= until:
                    raise TimeoutError(error.errno, error.strerror) from error
            time.sleep(_SOON)

    def receive(self) -> list[Received]:
        """Read the messages that are complete now. Waits for data, if the socket blocks.

        A message that can't be read is replaced by one with the key :data:`UNREADABLE`.
        Those after it are read: the connection goes on after invalid JSON, and after the
        process had no descriptor left to receive one.

        :raises EOFError: If the other end is closed.
        :raises OSError: If no data has arrived.
        """
        data, fds = receive_descriptors(self.sock, 65536)
        if not data:
            close_all(fds)
            raise EOFError
        if self._skip:
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped:]
        self._data += data
        return self._complete(fds)

    def ask(self, message: dict[str, t.Any]) -> dict[str, t.Any]:
        """Send a message, and wait for one answer.

        :raises EOFError: If the other end is closed.
        :raises OSError: If no answer arrives within the socket's timeout, or it can't be
            read.
        """
        self.send(message)
        while True:
            for answer, fds in self.receive():
                close_all(fds)
                if UNREADABLE in answer:
                    raise OSError(answer[UNREADABLE])
                return answer

    def _complete(self, new: list[int]) -> list[Received]:
        """
        :param new: Descriptors that have just arrived. They belong to the message that
            begins last, because the kernel returns no bytes behind those that they were
            sent with.
        """
        complete: list[Received] = []
        while self._data and (found := self._next()) is not None:
            message, count = found
            fds, self._fds = self._fds, []
            if not self._data:
                fds, new = fds + new, []
            if len(fds) < count:
                message = {
                    UNREADABLE: f"{count - len(fds)} of {count} descriptors are lost"
                }
            needed = 0 if UNREADABLE in message else count
            if len(fds) > needed:
                close_all(fds[needed:])
                del fds[needed:]
            complete.append((message, fds))
        if self._data and len(self._fds) + len(new) <= MOST_FDS:
            self._fds += new
        else:
            close_all(new)
        return complete

    def _next(self) -> tuple[dict[str, t.Any], int] | None:
        """The next message and the number of its descriptors, if all of it is there."""
        if len(self._data) < _HEADER.size:
            return None
        length, count = _HEADER.unpack_from(self._data)
        end = _HEADER.size + length
        missing = end - len(self._data)
        if length > self.most:
            del self._data[:end]
            self._skip = max(0, missing)
            return {UNREADABLE: f"{length:,} bytes are too many"}, count
        if missing > 0:
            return None
        body = self._data[_HEADER.size : end]
        del self._data[:end]
        return _read(body), count

    def unread(self) -> tuple[bytes, list[int]]:
        """The part of the next message that has arrived, and its descriptors."""
        if self._skip:
            return _HEADER.pack(self._skip, 0), []
        return bytes(self._data), self._fds

    def shut(self) -> None:
        """Shut the connection down for both ends. The thread that reads it closes it."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        close_all(self._fds)
        self._fds.clear()
        self.sock.close()


def close_all(fds: cabc.Iterable[int]) -> None:
    for fd in fds:
        sockets.close(fd)


# What the functions of :mod:`json` call, after they have looked at their options.
_to_json, _from_json = json.JSONEncoder().encode, json.JSONDecoder().decode


def _read(body: bytearray) -> dict[str, t.Any]:
    try:
        message = _from_json(body.decode())
    except (ValueError, RecursionError) as error:
        return {UNREADABLE: f"it is not JSON: {error}"}
    if not isinstance(message, dict):
        return {UNREADABLE: "it is not a JSON object"}
    return message
