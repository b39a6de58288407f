"""Encodings of a response."""

from __future__ import annotations

GZIP = {"Accept-Encoding": "gzip"}
