"""Runs a coroutine on a loop of its own: one on which a hub can run, on every system."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t

from flask_push._system.polling import new_loop

T = t.TypeVar("T")


def run(scene: cabc.Coroutine[t.Any, t.Any, T]) -> T:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(scene)
