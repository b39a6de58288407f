"""Compresses each event once, however many readers there are.

A compressor for each stream would give smaller streams, but take 256 KiB of memory for
each, and compress an event a thousand times for a thousand readers. Here, each block is
compressed by itself, and ends at a whole byte (a full flush), so it may follow any other
block. All readers get the same bytes, after a header that each stream has once. The price:
a block cannot refer back to earlier ones, so a small block shrinks little.

Such a body has no trailer, because each stream would need another checksum. Clients that
read it as it arrives do not need one (the tests run several), and a stream never ends
properly anyway.
"""

from __future__ import annotations

import collections.abc as cabc
import zlib
from functools import lru_cache

from .channel import Chunk
from .channel import Frame
from .subscription import ReaderGroup

#: The header of each stream (RFC 1952): deflate, no time, no name, no system.
HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"

# How many blocks are kept. Most groups of readers differ in a user's own channel, and get
# the same from the channels that they share. Many readers have also missed the same events.
_MAX_BLOCKS = 16
# Bytes after which a block is full. A slow reader keeps the rest of one block.
_BLOCK_BYTES = 64 * 1024
# A block of more bytes than this, before compression, is long. Only the latest is kept.
_LONG_BYTES = 256 * 1024


def block(data: bytes) -> bytes:
    """The data, compressed. It may follow any other block."""
    # A window as small as the data: clearing its memory would take most of the time.
    bits = min(14, max(9, len(data).bit_length() + 1))
    deflate = zlib.compressobj(6, zlib.DEFLATED, -bits, bits - 7)
    return deflate.compress(data) + deflate.flush(zlib.Z_FULL_FLUSH)


def first_block(data: bytes) -> bytes:
    """The first bytes of a stream, compressed, after the header."""
    return HEADER + block(data)


def shared_block(frames: tuple[Chunk, ...]) -> bytes:
    """A block of frames that many readers get."""
    return (_long_block if sum(map(len, frames)) > _LONG_BYTES else _short_block)(frames)


def _join(frames: tuple[Chunk, ...]) -> bytes:
    return block(b"".join(frames))


_short_block = lru_cache(_MAX_BLOCKS)(_join)
_long_block = lru_cache(1)(_join)


class GzipGroup(ReaderGroup):
    """The compressed streams of the same channels. A block is compressed once for all."""

    __slots__ = ()

    @staticmethod
    def key(names: cabc.Iterable[str]) -> cabc.Hashable:
        return "gzip", frozenset(names)

    def code(self, data: bytes) -> bytes:
        return block(data)

    def pack(self, frames: list[Frame]) -> list[Frame]:
        """Blocks. Each has the number of its last frame: half a block is half a frame."""
        packed: list[Frame] = []
        data: list[Chunk] = []
        size = last = 0
        for number, frame in frames:
            if frame:
                data.append(frame)
                size, last = size + len(frame), number
            if size >= _BLOCK_BYTES:
                packed.append((last, shared_block(tuple(data))))
                data, size = [], 0
        if data:
            packed.append((last, shared_block(tuple(data))))
        if frames and not frames[-1][1]:
            # This number has no bytes, and never becomes an id.
            packed.append(frames[-1])
        return packed
