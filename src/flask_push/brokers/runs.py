"""Brokers that also keep runs: the events of a run are items of one of Flask-Push's own
kinds, :data:`RUN`.

Each event is an item of its own, so no row replaces another, and none expires. The process
that holds a run stores an event if three rows are as it knows them, in one call of
:meth:`.KeepsItems.change`: the run's record; the event that it stored last; and the new
event, of which there must be no row. So it stores nothing after another process has changed
the record, nothing twice, and nothing after an event that the store has lost.

What a broker has to do besides:

- :meth:`KeepsRuns.find` reads single rows without those before them.
- :meth:`KeepsRuns.forget` removes the oldest rows of a channel without unsets, so no event
  says it. In the same transaction, the number of the newest row that it removes becomes the
  channel's horizon, and the feeds give it to their sinks as any horizon that has grown.
- A channel of which all rows are removed keeps its horizon. When its newest row would be
  older than the retention's age, the broker may forget the channel, as one that has nothing
  but tombstones: then the horizon of channels of this kind without rows is not below it.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from .items import check_kind
from .items import ItemsPage
from .items import KeepsItems

#: The kind of the items.
RUN = "run"
#: The owner of the last row of a run that has ended. When its disk is full, a store may
#: forget such runs, the oldest first: all rows of the channel up to this one.
ENDED = "ended"
#: How many rows :meth:`KeepsRuns.forget` removes together.
FORGET_ROWS = 1000


@t.runtime_checkable
class KeepsRuns(KeepsItems, t.Protocol):
    """A broker that also keeps runs. Any thread, any process."""

    def find(self, channel: str, items: cabc.Sequence[str], *, kind: str = "") -> ItemsPage:
        """The living rows of these items, also those that are due, in the order of their
        numbers. The page reaches the store's end.

        :raises NotRead: If the store can't be read now.
        """

    def forget(
        self, channel: str, upto: int, *, kind: str, limit: int = FORGET_ROWS
    ) -> bool:
        """Remove the oldest rows of a channel of an own kind, up to a number, without
        unsets. Calling it again does no harm.

        :param kind: Not empty: an app's items are only unset.
        :param limit: How many rows to remove at most.
        :return: Whether there are more such rows.
        :raises NotPublished: If it is certain that none was removed.
        :raises PublishUncertain: If it is not.
        :raises ValueError: If the kind is none.
        """


def check_own_kind(kind: str) -> None:
    """Refuse a kind that is not one of Flask-Push's own.

    :raises ValueError: With the reason.
    """
    if not kind:
        raise ValueError("An app's items are unset, and not forgotten. Name a kind.")
    check_kind(kind)
