"""How a contract opens the broker that it tests."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import time
import typing as t

from .._system.polling import new_loop
from ..brokers import Broker
from ..brokers import Retention
from ._sink import RecordingSink

T = t.TypeVar("T")


class Contract:
    """All contracts open and run the broker in this way."""

    #: Whether processes share the store, as they do not in ``memory:``.
    shared = True

    def open(self, retention: Retention | None = None) -> Broker:
        """A broker on the store of this test. Called again, another one on it."""
        raise NotImplementedError

    @contextlib.contextmanager
    def clock_wrong_by(self, seconds: float) -> cabc.Iterator[None]:
        """Set the wall clock that the store sees. It is this process's, if the store has
        no other one."""
        ns = round(seconds * 1_000_000_000)
        now, now_ns = time.time, time.time_ns
        time.time, time.time_ns = lambda: now() + seconds, lambda: now_ns() + ns
        try:
            yield
        finally:
            time.time, time.time_ns = now, now_ns

    def run(
        self,
        test: cabc.Callable[[Broker, RecordingSink], cabc.Coroutine[t.Any, t.Any, T]],
        retention: Retention | None = None,
        *,
        sink: type[RecordingSink] = RecordingSink,
    ) -> T:
        async def main() -> T:
            broker = self.open(retention)
            hub = sink(broker)
            try:
                return await asyncio.wait_for(test(broker, hub), 60)
            finally:
                hub.feed.close()
                broker.close()
                if hub.failures:
                    # The feed may have gone on as if nothing were wrong.
                    raise hub.failures[0]

        RecordingSink.failures.clear()
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(main())
