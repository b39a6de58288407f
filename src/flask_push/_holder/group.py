"""Store what many runs have gathered, in one transaction.

A process may hold a thousand runs, each of which stores twenty rows a second. A store can't
have a transaction for each. If one of the runs was stopped, the store refuses the whole
transaction. Then it is stored in halves, until the run that is refused is alone.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from .._delivery.run_holder import Look
from .._delivery.run_rows import Change
from .._event import Position
from ..brokers import Conflict
from ..brokers import ItemsFull
from ..brokers import PublishUncertain
from .held import HeldRun
from .pending import Progress
from .store import record_of
from .store import RunStore


class Part(t.Protocol):
    """What is stored of one run. Its lock is held until the part is stored, or not."""

    changes: list[Change]

    def stored(self, positions: cabc.Sequence[Position]) -> None:
        """
        :param positions: Of each change.
        """

    def refused(self, store: RunStore) -> None:
        """Another process has changed the run; or the part was stored before.

        :raises NotRead: If the store can't be read now.
        """


def parts_of(held: HeldRun) -> list[Part]:
    """What a run has to store. Its lock is held."""
    if held.is_over:
        return []
    parts: list[Part] = [RowPart(held)] if held.pending.has_events else []
    if held.pending.progress is not None:
        parts.append(ProgressPart(held, held.pending.progress))
    return parts


def store_together(store: RunStore, parts: cabc.Sequence[Part]) -> None:
    """Store all parts that the store takes. What may be stored or not stays pending.

    :raises NotPublished: If nothing more can be stored.
    :raises NotRead: If the store can't be read now.
    """
    if not parts:
        return
    try:
        positions = store.change([each for part in parts for each in part.changes])
    except (Conflict, ItemsFull):
        if len(parts) == 1:
            parts[0].refused(store)
            return
        middle = len(parts) // 2
        store_together(store, parts[:middle])
        store_together(store, parts[middle:])
    except PublishUncertain:
        if len(parts) > 1:
            # Those that are stored conflict with themselves.
            for part in parts:
                store_together(store, [part])
    else:
        start = 0
        for part in parts:
            end = start + len(part.changes)
            part.stored(positions[start:end])
            start = end


class RowPart:
    """The next row of a run."""

    def __init__(self, held: HeldRun) -> None:
        self._held, self._holder = held, held.holder
        self._texts, type = held.pending.row()
        self.changes = self._holder.write(self._texts, type)

    def stored(self, positions: cabc.Sequence[Position]) -> None:
        self._stored(str(positions[-1]))

    def refused(self, store: RunStore) -> None:
        """A run that goes on has its row stored in a later turn, or by the thread that adds
        events. That one also ends a run of which the store has lost events."""
        rows = store.find(self._holder.channel, self._holder.wanted)
        look, id = self._holder.look(rows)
        if look is Look.STORED:
            if self._held.is_in_place(self.changes[-1], rows, id):
                self._stored(id)
        elif look is Look.OVER:
            self._held.see(record_of(rows))

    def _stored(self, id: str) -> None:
        self._held.stored(self.changes[-1], id, len(self._texts))
        self._held.pending.row_stored()


class ProgressPart:
    """The newest progress. It does not matter what else was stored of the run."""

    def __init__(self, held: HeldRun, progress: Progress) -> None:
        self._held, self._progress = held, progress
        self.changes = held.holder.show(progress)

    def stored(self, positions: cabc.Sequence[Position]) -> None:
        self._held.pending.progress_stored(self._progress)

    def refused(self, store: RunStore) -> None:
        """Perhaps only its list is full."""
        holder = self._held.holder
        record = store.record(holder.channel)
        if record is None or record.id != holder.record.id:
            self._held.see(record)
        else:
            store.show(self.changes)
            self._held.pending.progress_stored(self._progress)
