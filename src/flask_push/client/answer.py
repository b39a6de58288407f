"""Reads the answer to one request, however its bytes are cut.

It reads HTTP/1.0 and HTTP/1.1 (RFC 9112), chunks, and gzip. The server may be hostile, so
everything has a bound: the head together with all interim answers before it, and the line
before each chunk. A body is decompressed piece by piece, so that a small answer never
becomes a large one in memory. Nothing here does I/O; the caller sets the timeouts.
"""

from __future__ import annotations

import collections.abc as cabc
import re
import zlib
from dataclasses import dataclass

#: Bytes of a head, together with the interim answers (1xx) before it.
MAX_HEAD = 65536
#: Bytes of the body that are decompressed at once.
PIECE = 65536
# Bytes of the line before a chunk: its size, and extensions, which are ignored.
_MAX_LINE = 4096

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(r"(HTTP/1\.[0-9])[ \t]+([1-9][0-9][0-9])(?:[ \t](.*))?")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):(.*)")
# A long header may continue on the next line.
_FOLD = re.compile(r"\r?\n[ \t]+")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?\r?", re.DOTALL)


class BadAnswer(ValueError):
    """The answer is not valid HTTP, or exceeds a bound."""


@dataclass(frozen=True, slots=True)
class Head:
    version: str
    status: int
    reason: str
    #: The names are in lower case. Headers with the same name are joined by commas.
    headers: cabc.Mapping[str, str]

    @property
    def coding(self) -> str:
        """How the body is compressed: ``gzip``, another word, or an empty string."""
        words = _words(self.headers.get("content-encoding", ""))
        found = ["gzip" if word == "x-gzip" else word for word in words]
        return ", ".join(word for word in found if word != "identity")

    @property
    def is_chunked(self) -> bool:
        return _words(self.headers.get("transfer-encoding", "")) == ["chunked"]


class Answer:
    """Takes bytes as they arrive, and returns the body piece by piece.

    :param method: The method of the request. An answer to ``HEAD`` has no body.
    """

    def __init__(self, method: str = "GET") -> None:
        self.head: Head | None = None
        #: Whether only the end of the connection ends the body.
        self.ends_with_connection = False
        self._method = method
        self._data = bytearray()
        # How many bytes of the data were taken, and how many bytes the heads had.
        self._at = self._spent = 0
        self._chunked = self._is_behind_chunk = False
        # How many bytes of the chunk or the body are missing; None if that is unknown.
        self._left: int | None = None
        # Whether all bytes of the body have arrived.
        self._over = False
        self._unzip: zlib._Decompress | None = None
        self._packed = b""
        # Whether the decompressor may return a piece without more bytes.
        self._has_more = False

    @property
    def done(self) -> bool:
        """Whether the body has ended, and all of it was taken."""
        return self._over and not self._has_more

    def feed(self, data: bytes) -> None:
        """Add bytes. All pieces of the bytes before have to be taken first.

        :raises BadAnswer: If the answer is invalid.
        """
        if self.done:
            return
        # The end of the head may begin in the bytes before.
        start = max(0, len(self._data) - self._at - 3)
        del self._data[: self._at]
        self._at = 0
        self._data += data
        while self.head is None:
            end = _HEAD_END.search(self._data, start)
            if self._spent + (end.end() if end else len(self._data)) > MAX_HEAD:
                raise BadAnswer(f"its head has more than {MAX_HEAD:,} bytes")
            if end is None:
                return
            head = _parse(self._data[: end.start()].decode("latin-1"))
            self._spent += end.end()
            del self._data[: end.end()]
            start = 0
            # 101 is a final answer, although it is below 200.
            if head.status >= 200 or head.status == 101:
                self._begin(head)

    def take(self) -> bytes:
        """The next piece of the body. Empty if the body is done, or more bytes are needed.

        :raises BadAnswer: If the chunks or the compression are invalid.
        """
        if self.head is None or self.done:
            return b""
        return self._take_raw() if self._unzip is None else self._inflate(self._unzip)

    def _begin(self, head: Head) -> None:
        self.head = head
        # A proxy may repeat the header.
        lengths = {*_words(head.headers.get("content-length", ""))}
        self._chunked = head.is_chunked
        if self._method == "HEAD" or head.status in (101, 204, 304):
            self._over = True
        elif self._chunked:
            self._left = 0
        elif "transfer-encoding" in head.headers:
            raise BadAnswer("its Transfer-Encoding is not 'chunked'")
        elif lengths:
            length = ", ".join(lengths)
            if re.fullmatch("[0-9]{1,18}", length) is None:
                raise BadAnswer("its Content-Length is not one number")
            self._left = int(length)
            self._over = not self._left
        else:
            self.ends_with_connection = True
        if head.coding in ("gzip", "deflate"):
            self._unzip = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def _take_raw(self) -> bytes:
        """The bytes of the body that have arrived, without the lines between chunks."""
        if self._over or (self._chunked and not self._left and not self._begin_chunk()):
            return b""
        end = len(self._data)
        if self._left is not None:
            end = min(end, self._at + self._left)
        piece = bytes(self._data[self._at : end])
        self._at = end
        if self._left is not None:
            self._left -= len(piece)
            # A chunk is always followed by another one.
            self._over = not self._left and not self._chunked
        return piece

    def _begin_chunk(self) -> bool:
        """Read the line before the next chunk. ``False`` if it has not arrived."""
        line = self._at
        if self._is_behind_chunk:
            if bytes(self._data[line : line + 2]) not in (b"", b"\r", b"\r\n"):
                raise BadAnswer("a chunk is longer than it says")
            line += 2
        end = self._data.find(b"\n", line, line + _MAX_LINE)
        if end < 0:
            if len(self._data) >= line + _MAX_LINE:
                raise BadAnswer(f"a line before a chunk has more than {_MAX_LINE:,} bytes")
            return False
        size = _SIZE.fullmatch(self._data, line, end)
        if size is None:
            raise BadAnswer("the size of a chunk is not a number")
        self._left = int(size[1], 16)
        self._at = end + 1
        self._is_behind_chunk = True
        # Headers may follow the last chunk. They are ignored.
        self._over = not self._left
        return not self._over

    def _inflate(self, unzip: zlib._Decompress) -> bytes:
        """Decompress until there is a piece, or more bytes are needed."""
        while True:
            if not self._has_more:
                self._packed = self._take_raw()
                if not self._packed:
                    return b""
            try:
                piece = unzip.decompress(self._packed, PIECE)
            except zlib.error as error:
                raise BadAnswer(f"it can't be decompressed: {error}") from None
            self._packed = unzip.unconsumed_tail
            self._has_more = bool(self._packed) or len(piece) == PIECE
            if unzip.eof:
                # Browsers too ignore bytes after the end of the compressed stream.
                self._over, self._has_more = True, False
            if piece or self.done:
                return piece


def _parse(text: str) -> Head:
    first, *lines = re.split("\r?\n", _FOLD.sub(" ", text))
    status = _STATUS.fullmatch(first)
    if status is None:
        raise BadAnswer("what came is not HTTP/1.1")
    found: dict[str, list[str]] = {}
    for line in lines:
        header = _HEADER.fullmatch(line)
        if header is not None:
            found.setdefault(header[1].lower(), []).append(header[2].strip(" \t"))
    headers = {name: ", ".join(values) for name, values in found.items()}
    return Head(status[1], int(status[2]), (status[3] or "").strip(), headers)


def _words(header: str) -> list[str]:
    return [word.strip().lower() for word in header.split(",") if word.strip()]
