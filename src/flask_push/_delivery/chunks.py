"""Chunks of HTTP/1.1, in which a body says whether it is whole (RFC 9112, 7.1).

A body that ends with its connection looks the same whether it is whole or was cut off. A
chunked one has a last chunk.
"""

from __future__ import annotations

import re

_SIZE = re.compile(rb"[0-9A-Fa-f]+")

# Bytes that the line before a chunk may have. Ours have no extensions.
_MAX_LINE = 32

#: The last chunk, with which a whole body ends.
LAST = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """The data as one chunk. Without data, there is no chunk: it would be the last one."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class NotWhole(ValueError):
    """The body has no chunks, or one that is wrong."""


class Unchunker:
    """Takes the chunks off a body, however it is split."""

    def __init__(self) -> None:
        #: Whether the last chunk was there.
        self.is_whole = False
        self._data = bytearray()
        # How many bytes of the chunk are missing, with the line break behind them.
        self._left = 0

    def feed(self, data: bytes) -> bytes:
        """
        :return: The bytes of the body among these.
        :raises NotWhole: If these are not bytes of a chunked body.
        """
        self._data += data
        body = bytearray()
        while self._data and not self.is_whole:
            if not self._left and not self._begin():
                break
            if self._left and not self._take(body):
                break
        return bytes(body)

    def _begin(self) -> bool:
        """Read the line before a chunk."""
        line, end, _ = self._data.partition(b"\r\n")
        if len(line) > _MAX_LINE:
            raise NotWhole(f"{bytes(line[:_MAX_LINE])!r} does not begin a chunk")
        if not end:
            return False
        if _SIZE.fullmatch(line) is None:
            raise NotWhole(f"{bytes(line)!r} does not begin a chunk")
        size = int(line, 16)
        del self._data[: len(line) + 2]
        self._left = size + 2
        if not size:
            self.is_whole = True
        return True

    def _take(self, body: bytearray) -> bool:
        """Move bytes of a chunk to the body. False if more have to come first."""
        count = min(len(self._data), self._left - 2)
        body += self._data[: max(count, 0)]
        del self._data[: max(count, 0)]
        self._left -= max(count, 0)
        if self._left > 2 or len(self._data) < self._left:
            return False
        if self._data[: self._left] != b"\r\n"[-self._left :]:
            raise NotWhole("A chunk has more bytes than it says")
        del self._data[: self._left]
        self._left = 0
        return True
