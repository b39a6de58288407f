"""Runs a coroutine on a loop of its own."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t


def run(scene: cabc.Coroutine[t.Any, t.Any, None]) -> None:
    asyncio.run(scene)
