"""Compression that costs no more than once, however many readers there are.

A compressor for each stream would give smaller streams, and take 256 KiB of each and the
time of a thousand writes for a thousand readers. Here every block is compressed by itself
and ends at a whole byte (a full flush), so it may follow any other: the same bytes go to
everybody, behind a header that each stream has once. A block that is small finds little
in itself to point back to, and that is the price.

Such a body has no trailer, since the sum over all of it would be each stream's own. What
reads as it comes does not miss it (the clients that the tests run do not), and a stream
ends in its middle anyhow.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

#: What each stream begins with (RFC 1952): deflate, no time, no name, no system.
HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"

# Blocks that are kept. Sets of channels mostly differ in whose they are, and what comes by
# a channel that they share is the same to all; and so is what many have missed.
_BLOCKS = 16
# Bytes of what is in a block above which it is long: of such blocks, the last is kept.
_LONG = 256 * 1024


def block(data: bytes) -> bytes:
    """The data compressed, to follow any other block."""
    # No larger than what goes in: cleaning the memory would take most of the time.
    bits = min(14, max(9, len(data).bit_length() + 1))
    deflate = zlib.compressobj(6, zlib.DEFLATED, -bits, bits - 7)
    return deflate.compress(data) + deflate.flush(zlib.Z_FULL_FLUSH)


def shared_block(frames: tuple[bytes | memoryview, ...]) -> bytes:
    """The same of frames that many are given."""
    return (_long_block if sum(map(len, frames)) > _LONG else _short_block)(frames)


def _join(frames: tuple[bytes | memoryview, ...]) -> bytes:
    return block(b"".join(frames))


_short_block = lru_cache(_BLOCKS)(_join)
_long_block = lru_cache(1)(_join)
