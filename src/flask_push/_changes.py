"""Changes that are sent together, later than they were made: what one transaction may hold,
and how they are sent.

Those that stand beside each other are sent in one call of the store, and a disconnect in a
call of its own, at its place.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from ._delivery import run_rows
from ._delivery.disconnect import Disconnect
from ._event import Event
from ._event import Position
from ._event_checks import EventChecks
from .brokers import ItemChange
from .brokers import KeepsItems

#: What one transaction may hold, and one block of ``held``: this many changes, and this
#: many bytes of their data. A Redis takes ten times as many events in one call.
MAX_CHANGES = 10_000
MAX_BYTES = 16 * 2**20

Change = Event | ItemChange | Disconnect

# Exceptions by which Celery and RQ interrupt a task, wherever it is. They are no
# BaseExceptions, and must not be taken for errors of the store.
_INTERRUPTIONS = {"SoftTimeLimitExceeded", "BaseTimeoutException"}


class Sender(t.Protocol):
    """The publisher: what of it is needed here."""

    _checks: EventChecks
    #: As ``PUSH_AFTER_COMMIT_ERROR``.
    _after_commit_error: cabc.Callable[[Exception, t.Any], object] | None
    #: Changes that could not be sent after the commit of their transaction.
    _unsent: int

    def _keeper(self) -> KeepsItems: ...

    def _store(self, changes: list[Event | ItemChange]) -> str: ...

    def _keeper_of_logs(self) -> object: ...

    def _disconnect(self, selected: Disconnect) -> Position: ...


#: The sender of a change, the change, and the bytes of its data.
Entry = tuple[Sender, Change, int]


def check_room(count: int, size: int) -> None:
    """
    :raises ValueError: If a transaction can't hold so many changes, or bytes.
    """
    if count > MAX_CHANGES or size > MAX_BYTES:
        raise ValueError(
            f"The transaction would hold {count:,} changes with {size:,} bytes of data,"
            f" {MAX_CHANGES:,} and {MAX_BYTES:,} at most. Commit more often, or publish one"
            " event that tells pages to fetch what has changed."
        )


def size_of(change: Change) -> int:
    """The bytes of its data."""
    data = change.reason if isinstance(change, Disconnect) else change.data
    return run_rows.size_of(data or "")


def deliver(sender: Sender, changes: list[Change]) -> tuple[str, list[Exception]]:
    """Send the changes. Those that were not sent are left in the list.

    :return: The id of the last, and what the store raised.
    """
    last, errors = "", list[Exception]()
    left, parts = list[Change](), _parts(changes)
    try:
        while parts:
            part = parts[0]
            try:
                if type(part[0]) is Disconnect:
                    last = str(sender._disconnect(part[0]))
                else:
                    last = sender._store(t.cast(list[Event | ItemChange], part))
            except Exception as error:
                if interrupts(error):
                    raise
                errors.append(error)
                left += part
            del parts[0]
    finally:
        changes[:] = left + [change for part in parts for change in part]
    return last, errors


def _parts(changes: list[Change]) -> list[list[Change]]:
    """The changes that each call of the store gets."""
    parts: list[list[Change]] = []
    for change in changes:
        # The last of a part tells what the part is.
        if (
            parts
            and type(change) is not Disconnect
            and type(parts[-1][-1]) is not Disconnect
        ):
            parts[-1].append(change)
        else:
            parts.append([change])
    return parts


def interrupts(error: Exception) -> bool:
    return not _INTERRUPTIONS.isdisjoint(kind.__name__ for kind in type(error).__mro__)
