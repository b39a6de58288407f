"""Runs a test on a loop, with the feed of a broker and a sink that records its calls."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t

from flask_push.brokers import Broker
from flask_push.testing._sink import RecordingSink
from support import coroutines

Hub = t.TypeVar("Hub", bound=RecordingSink)


def run_with(
    kind: type[Hub],
    broker: Broker,
    test: cabc.Callable[[Hub], cabc.Awaitable[None]],
    *watched: str,
    seconds: float = 30,
) -> None:
    """
    :param kind: Of the sink that the test gets.
    :param watched: Channels that it watches already.
    """

    async def main() -> None:
        hub = kind(broker)
        try:
            for channel in watched:
                await hub.watch(channel)
            await asyncio.wait_for(test(hub), seconds)
        finally:
            hub.feed.close()

    coroutines.run(main())
