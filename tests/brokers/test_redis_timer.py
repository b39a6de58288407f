"""A timer that runs at the earliest of the times that it was set to."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t

from flask_push.brokers.redis.timer import EarliestTimer
from flask_push.testing._sink import until

Test = cabc.Callable[[EarliestTimer, list[str]], cabc.Coroutine[t.Any, t.Any, None]]


def run(test: Test) -> None:
    async def main() -> None:
        runs: list[str] = []
        loop = asyncio.get_running_loop()
        timer = EarliestTimer(loop, lambda: runs.append("run"))
        await test(timer, runs)
        timer.cancel()

    asyncio.run(main())


def test_of_two_times_the_earlier_counts() -> None:
    async def test(timer: EarliestTimer, runs: list[str]) -> None:
        for times in (1000, 0), (0, 1000):
            for seconds in times:
                timer.set(seconds)
            await until(lambda: runs)
            assert timer._handle is None, "the later time is forgotten"
            assert runs == ["run"]
            runs.clear()

    run(test)


def test_a_timer_that_was_canceled_does_not_run_and_can_be_set_again() -> None:
    async def test(timer: EarliestTimer, runs: list[str]) -> None:
        timer.cancel()
        timer.set(0)
        timer.cancel()
        timer.cancel()
        await asyncio.sleep(0.01)
        assert runs == []
        timer.set(0)
        await until(lambda: runs)

    run(test)
