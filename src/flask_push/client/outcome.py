"""What a response means to a client: a stream, a refusal, or a reason to retry."""

from __future__ import annotations

import random
import re

from .._delivery.own_events import word_of
from .._event import Event
from .._system.terminal import shown
from .._system.terminal import without_signed
from .answer import Head

# The shortest and the longest `retry` that is obeyed, in seconds.
_LEAST, _MOST = 0.5, 3600.0
# Pauses grow up to this many seconds.
_CAP = 60.0
_CONNECTION = re.compile(r"[0-9A-Za-z_-]{1,64}\.[0-9A-Za-z_-]{1,64}")
# Statuses that may be temporary, beside those from 500 on.
_TEMPORARY = frozenset({408, 425, 429})


class Refused(Exception):
    """There is no stream at this address, and to retry would not help.

    :param status: The status that the server answered with; 0 if its certificate is not
        trusted.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Lost(Exception):
    """The connection failed. The next one may work.

    :param wait: Seconds that the server asks to wait.
    """

    def __init__(self, why: str, wait: float = 0) -> None:
        super().__init__(why)
        self.wait = wait


class Finished(Exception):
    """The server ended the stream for good."""


def judge(head: Head, url: str) -> None:
    """Check that the answer is a stream that can be read.

    :raises Lost: If the status may be temporary.
    :raises Refused: If to retry would not help.
    :raises Finished: If the server asks not to reconnect.
    """
    status, url = head.status, shown(without_signed(url), 200)
    if status == 204:
        raise Finished
    if status >= 500 or status in _TEMPORARY:
        wait = head.headers.get("retry-after", "")
        seconds = float(wait) if re.fullmatch("[0-9]{1,9}", wait) else 0
        raise Lost(f"the status is {status}", seconds)
    if status != 200:
        raise Refused(status, f"{url} answers {status} {shown(head.reason, 100)}.")
    kind = re.split("[;,]", head.headers.get("content-type", "of no type"))[0]
    kind = kind.strip().lower()
    if kind != "text/event-stream":
        raise Refused(status, f"{url} is {shown(kind, 100)}, not a stream.")
    if head.coding not in ("", "gzip"):
        coding = shown(head.coding, 100)
        raise Refused(status, f"{url} is compressed ({coding}), which can't be read.")


def pause_before(attempt: int, retry: float) -> float:
    """Seconds to wait before an attempt, after those before it failed. A random time from
    `retry` up to twice as much with each attempt, so that not all clients reconnect at
    once."""
    retry = min(max(retry, _LEAST), _MOST)
    longest = max(retry, min(_CAP, retry * 2 ** min(attempt - 1, 16)))
    return random.uniform(retry, longest)


def connection_of(opening: Event) -> str:
    """The connection's id that ``push:open`` has; empty if it has no valid id."""
    connection = word_of(opening, "connection")
    # An id without a secret is the one that this request sent.
    return connection if _CONNECTION.fullmatch(connection) else ""
