"""What a broker is that can also publish what other programs send to its store."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t

#: Formats that a bridge unwraps. Without one, all that was published is the data.
BRIDGE_WIRES = ("flask-sse",)


class Bridge(t.NamedTuple):
    """A source of other programs' messages, and the channel to publish them on. See
    :meth:`.Push.bridge`."""

    source: str
    channel: str
    type: str = "message"
    wire: str = ""


@t.runtime_checkable
class Bridging(t.Protocol):
    """A broker that can also publish messages of other programs on its channels."""

    def bridge(
        self, bridge: Bridge, loop: asyncio.AbstractEventLoop, max_event: int
    ) -> cabc.Callable[[], None]:
        """Publish the source's messages, unless another process does: of all bridges with
        the same values, in any process, one publishes. Runs on this loop.

        If it may have missed a message, it publishes an event of the type ``push:gap``,
        which readers receive as a gap. It does the same for a message that can't be an
        event, or has more bytes than `max_event`.

        :return: A function that ends it, and lets another process continue at once.
        """
