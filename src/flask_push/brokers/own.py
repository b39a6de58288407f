"""Brokers that also keep logs of Flask-Push's own, beside those of the channels.

An own log is stored apart from all channels: in another table, another key or another dict.
No channel has a name that leads to it, so ``publish``, ``read`` and ``watch`` never show
it, in any version.

What a broker has to do:

- It numbers the entries of an own log in the one sequence of all events.
- It removes entries in the order of their numbers: an entry whose time is over; and the
  oldest of more than :data:`MAX_OWN_ENTRIES` entries, or of more than :data:`MAX_OWN_BYTES`
  bytes of data. An entry stays while the one before it stays.
- It stores the number of the last entry that it removed, the log's horizon, in the same
  transaction.
- :class:`.Retention` does not concern own logs, and their bytes don't count in it.

A feed gives the logs in :data:`OWN_LOGS` to a sink that is an :class:`OwnSink`:

1. It calls ``own`` with a page from the log's beginning before the first ``deliver`` with
   an end, and again at each new epoch, before the ``deliver`` with that epoch. It also does
   so if it continues where another feed has ended.
2. It has given an entry to ``own`` before it delivers an event of a greater number; before
   it calls ``deliver`` or ``missed`` with an end that is not below the entry's number; and
   before it hands over a page that reaches the entry's number. Earlier is right, too.
3. Each later page begins where the one before it ended: its ``since`` is not above that
   one's ``end``. If entries in between have expired, its ``since`` is their last number.
"""

from __future__ import annotations

import math
import re
import typing as t

from .._event import Position
from .base import Sink

#: The log of the streams that apps have disconnected.
DISCONNECT_LOG = "disconnect"

#: The own logs that each feed reads.
OWN_LOGS = (DISCONNECT_LOG,)

#: How many entries an own log keeps.
MAX_OWN_ENTRIES = 10_000
#: How many bytes of data it keeps.
MAX_OWN_BYTES = 2**20
#: How many bytes of data one entry may have.
MAX_OWN_ENTRY = 2**16

_NAME = re.compile("[a-z]{1,32}")


class OwnEntry(t.NamedTuple):
    """An entry of an own log."""

    number: int
    data: bytes


class OwnPage(t.NamedTuple):
    """What a store has of one of its own logs. It is read in one snapshot."""

    epoch: str
    #: Each entry of the log after this number is on the page. It is the number after which
    #: the page was read, or the log's horizon if that is greater.
    since: int
    #: The store's last number.
    end: int
    #: In the order of numbers.
    entries: t.Sequence[OwnEntry]


@t.runtime_checkable
class KeepsOwnLogs(t.Protocol):
    """A broker that also keeps logs of Flask-Push's own. Any thread, any process."""

    def append(self, log: str, data: bytes, keep: float) -> Position:
        """Store one entry, and wake the feeds.

        :param log: The log's name, of the letters a to z.
        :param data: At most 65,536 bytes.
        :param keep: Seconds for which it is kept, by the store's clock.
        :raises NotPublished: If it is certain that nothing was stored.
        :raises PublishUncertain: If it is not.
        :raises ValueError: If the name, the data or the time is not as above.
        """

    def read_own(self, log: str, after: int = 0) -> OwnPage:
        """The log's entries after a number.

        :raises NotRead: If the store can't be read now.
        """


@t.runtime_checkable
class OwnSink(t.Protocol):
    """A sink that also receives the own logs, on the feed's loop."""

    def own(self, log: str, page: OwnPage) -> None: ...


def check_own(log: str, data: bytes = b"", keep: float = 1) -> None:
    """Refuse names, data and times that no own log may have.

    :raises ValueError: With the reason.
    """
    if _NAME.fullmatch(log) is None:
        raise ValueError(
            f"An own log's name has 1 to 32 of the letters a to z, not {log!r:.80}."
        )
    if len(data) > MAX_OWN_ENTRY:
        raise ValueError(
            f"An entry of an own log has at most {MAX_OWN_ENTRY:,} bytes, not"
            f" {len(data):,}. Store less."
        )
    if not 0 < keep < math.inf:
        raise ValueError(f"An entry is kept for a number of seconds above 0, not {keep!r}.")


class OwnPages:
    """Gives the own logs to a sink: from the beginning in each epoch, and then what is new.

    It is false if the sink is no :class:`OwnSink`. Then there is nothing to read.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink if isinstance(sink, OwnSink) else None
        self._ends: dict[str, Position] = {}

    def __bool__(self) -> bool:
        return self._sink is not None

    def after(self, log: str, epoch: str) -> int:
        """The number after which to read the log."""
        known, end = self.end(log)
        return end if known == epoch else 0

    def end(self, log: str) -> Position:
        """Where the last page ended. The epoch is empty if there was none."""
        return self._ends.get(log, Position("", 0))

    def give(self, log: str, page: OwnPage) -> None:
        """Call the sink, unless the page begins where the last one ended and is empty."""
        if self._sink is None:
            return
        epoch, end = self._ends.get(log, ("", 0))
        if page.epoch != epoch or page.since > end or page.entries:
            self._ends[log] = Position(page.epoch, page.end)
            self._sink.own(log, page)
