"""Readers of gzip."""

from __future__ import annotations

import zlib


def inflate(data: bytes) -> bytes:
    return zlib.decompressobj(wbits=31).decompress(data)
