"""Gaps that a test makes."""

from __future__ import annotations

import time
import typing as t

from .._delivery.channel import Gap
from .._hub.connection import Connection
from .._hub.loop import HubLoop
from ._reader import reader_of
from ._reader import StreamResponse
from ._written import by_channel
from ._written import by_id
from ._written import doors
from ._written import SECONDS
from ._written import write

_REASONS = ("trimmed", "restarted", "unknown")


def make_gap(
    where: StreamResponse | str,
    *,
    reason: t.Literal["trimmed", "restarted", "unknown"] = "trimmed",
) -> None:
    """Send ``push:gap`` to open streams, as if the store had lost events of theirs.

    It comes after all that was published before the call. No event is lost.

    :param where: A response, for all channels of its stream; or a channel, for all streams
        that have it, such as those of browsers that a live server in the test's process
        serves.
    :param reason: As on the wire.
    :raises TimeoutError: If a stream has not got so far in five seconds.
    :raises RuntimeError: If there is no such stream at a hub in a thread of this process.
    :raises ValueError: If the response is no stream.
    """
    if reason not in _REASONS:
        raise ValueError(f"reason is one of {', '.join(_REASONS)}, not {reason!r}.")
    until = time.monotonic() + SECONDS
    if isinstance(where, str):
        find = by_channel(where)
    else:
        find = by_id(reader_of(where).connection(until))
    found = doors(find)
    if not found:
        raise RuntimeError(
            "make_gap found no such stream. It needs an open one, and a hub in a thread of"
            " the test, as there is while app.testing is true."
        )

    def send(hub: HubLoop, stream: Connection) -> None:
        names = (where,) if isinstance(where, str) else stream.group.names
        readers = hub.hub._readers
        stream.send_first(readers._render(stream.cursor, [Gap(names, reason)]))

    for door in found:
        if not write(door, find, send, until):
            raise TimeoutError("A stream has not got so far in time. Is it read?")
