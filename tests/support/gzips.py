"""Compressed bodies."""

from __future__ import annotations

import zlib


def zipped(data: bytes, flush: int = zlib.Z_FINISH) -> bytes:
    deflate = zlib.compressobj(9, wbits=31)
    return deflate.compress(data) + deflate.flush(flush)


def flushed(data: bytes) -> bytes:
    """The beginning of a body that has no end yet."""
    return zipped(data, zlib.Z_SYNC_FLUSH)


def inflate(data: bytes) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(data)
