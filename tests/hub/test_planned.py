"""Plans of a hub: each is made once, at the earliest time that was asked for."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import time
import typing as t

from flask_push._hub.planned import Planned
from flask_push._hub.run_keeper import PROCESSES
from flask_push._hub.writer import Writer
from flask_push.brokers import OwnChannel
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._sink import until

HOUR = 3600


def guard(work: cabc.Callable[..., object], *args: t.Any) -> None:
    work(*args)


class Counted(Planned):
    """Counts how often it asks."""

    def __init__(self, watches: list[OwnChannel]) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(watches, Writer(MemoryBroker(), loop, guard), loop, guard)
        self.asked = 0

    def plan_in(self, seconds: float) -> None:
        self._plan_at(self._loop.time() + seconds)

    @property
    def is_planned(self) -> bool:
        return self._timer is not None

    def _ask(self) -> None:
        self._timer = None
        self.asked += 1


def run(test: cabc.Callable[[Counted], t.Awaitable[None]], watches: bool = True) -> None:
    async def main() -> None:
        planned = Counted([PROCESSES] if watches else [])
        await test(planned)
        planned.close()
        assert not planned.is_planned

    asyncio.run(main())


def test_the_earliest_time_counts() -> None:
    async def test(planned: Counted) -> None:
        for seconds in HOUR, 0.01, 2 * HOUR:
            planned.plan_in(seconds)
        await until(lambda: planned.asked)
        assert planned.asked == 1 and not planned.is_planned

    run(test)


def test_a_plan_that_is_late_is_not_put_off() -> None:
    async def test(planned: Counted) -> None:
        planned.plan_in(0.001)
        # The loop is busy, and then something asks for a plan before the timer runs.
        time.sleep(0.01)
        planned.plan_in(HOUR)
        await until(lambda: planned.asked)

    run(test)


def test_nothing_is_planned_without_something_to_watch() -> None:
    async def test(planned: Counted) -> None:
        planned.plan_in(0)
        assert not planned.is_planned

    run(test, watches=False)


def test_nothing_is_planned_after_the_end() -> None:
    async def test(planned: Counted) -> None:
        planned.plan_in(0)
        planned.close()
        planned.plan_in(0)
        assert not planned.is_planned

    run(test)
