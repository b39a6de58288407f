"""Whether a stream has nothing more, without a fixed wait.

A marker is written to this one stream, after all that was published before
(:mod:`._written`). So what the test reads before the marker is all there is.
"""

from __future__ import annotations

import time

from .. import sse
from ._reader import new_marker
from ._reader import Reader
from ._reader import reader_of
from ._reader import StreamResponse
from ._written import by_id
from ._written import doors
from ._written import SECONDS
from ._written import write


def assert_silent(response: StreamResponse) -> None:
    """Assert that a stream has no event that you have not read.

    It needs no fixed wait: it looks at all events of the stream that were published before
    the call. Only with Redis, events with ``store=False`` may still be on their way. Events
    of Flask-Push's own count as in :func:`read_events`. All events can still be read. The
    end of a stream does not count as an event.

    :raises AssertionError: If there are such events. They are in its message.
    :raises TimeoutError: If the stream has not got so far in five seconds.
    :raises RuntimeError: If the hub is not in a thread of this process.
    :raises ValueError: If the response is no stream.
    """
    reader, until = reader_of(response), time.monotonic() + SECONDS
    _read_all(reader, until)
    if events := reader.unread():
        raise AssertionError(
            f"The stream is not silent. {len(events)} of its events were not read: {events}"
        )


def _read_all(reader: Reader, until: float) -> None:
    connection = reader.connection(until)
    if not connection:
        return
    find = by_id(connection)
    if not (found := doors(find)):
        if not reader.ends(until):
            raise RuntimeError(
                "assert_silent needs a hub in a thread of the test, as there is while"
                " app.testing is true."
            )
        return
    marker = new_marker()
    frame = sse.encode(marker.data, type=marker.type)
    write(found[0], find, lambda hub, stream: stream.send_first(frame), until)
    reader.read_ahead(marker.data, until)
