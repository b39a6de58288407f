"""The rows of runs, as a broker keeps them."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import typing as t

from .._delivery.run_record import Record
from .._delivery.run_record import Transition
from .._delivery.run_rows import Change
from .._delivery.run_rows import KEYS
from .._delivery.run_rows import NOW
from .._delivery.run_rows import RUN
from .._delivery.run_size import MAX_RUN_BYTES
from .._event import Position
from .._ipc.ended_runs import free_space
from .._ipc.lost_runs import Count
from .._ipc.lost_runs import count_none
from .._ipc.lost_runs import item_changes
from .._system.logs import QuietLogger
from ..brokers import Broker
from ..brokers import Conflict
from ..brokers import ItemRow
from ..brokers import ItemsFull
from ..brokers import KeepsRuns
from ..brokers import NotPublished
from ..brokers import PublishUncertain
from ..brokers.base import StoreFull
from ..brokers.base import TROUBLE
from .space import make_space

# How often a transition is tried that the store may have or not. The broker has waited each
# time.
_TRIES = 3

_quiet = QuietLogger()


class Known(t.NamedTuple):
    """A run that was found."""

    record: Record
    #: Whether it is the newest run of its channel.
    is_newest: bool


class Stored(t.NamedTuple):
    """A transition that was stored."""

    #: With its position.
    record: Record
    #: The id of the event that says the status.
    event_id: str
    #: The id of the last row of the transaction. Empty if the store did not return it.
    last_id: str = ""


class RunStore:
    """Reads and changes the rows of runs. Any thread.

    :param note: Is called with positions that the store certainly has.
    :param max_run_bytes: ``PUSH_MAX_RUN_BYTES``.
    :param count: Counts the runs that this process ends.
    """

    def __init__(
        self,
        broker: KeepsRuns,
        note: cabc.Callable[[Position], object],
        max_run_bytes: int = MAX_RUN_BYTES,
        count: Count = count_none,
    ) -> None:
        self.broker, self._note, self.max_run_bytes = broker, note, max_run_bytes
        self.count = count

    def by(self, broker: KeepsRuns) -> RunStore:
        """The same by another broker."""
        return RunStore(broker, self._note, self.max_run_bytes, self.count)

    def change(self, changes: cabc.Iterable[Change]) -> list[Position]:
        """As :meth:`.KeepsItems.change`. If the store is full, runs that have ended make
        space for the next try."""
        try:
            return self.broker.change(item_changes(changes))
        except StoreFull:
            with contextlib.suppress(*TROUBLE):
                free_space(self.broker)
            raise

    def show(self, changes: cabc.Sequence[Change]) -> None:
        """Store progress. If its list is full, without the list."""
        try:
            self.change(changes)
        except ItemsFull as full:
            listed = [each for each in changes if not each.kind]
            if not listed:
                raise
            _quiet.warning(
                "Could not show the progress of the run on %r on its list %r. Unset items"
                " of the list: %s",
                *(listed[0].item, listed[0].channel, full),
            )
            self.change(each for each in changes if each.kind)

    def find(
        self, channel: str, items: cabc.Sequence[str], kind: str = RUN
    ) -> t.Sequence[ItemRow]:
        """The rows of these items.

        :raises NotRead: If the store can't be read now.
        """
        return self.broker.find(channel, items, kind=kind).rows

    def record(self, channel: str) -> Record | None:
        """The record of the channel's runs. ``None`` if there was no run.

        :raises NotRead: If the store can't be read now.
        """
        return record_of(self.find(channel, [NOW]))

    def find_key(self, channel: str, record: Record | None, key: str) -> Known | None:
        """The run that has the key.

        :raises NotRead: If the store can't be read now.
        """
        if record is not None:
            if record.key == key:
                return Known(record, True)
            for past in record.past:
                if past.key == key:
                    return Known(Record.of(past), False)
        for row in self.find(channel, [key], KEYS):
            return Known(Record(*json.loads(row.data)), False)
        return None

    def commit(
        self, channel: str, transition: Transition, more: cabc.Iterable[Change] = ()
    ) -> Stored:
        """Store a transition, and count it if it ends the run.

        If the store may have it or not, it is tried again, and the rows show what became of
        it (law R47).

        :param more: Changes of the same transaction.
        :raises Conflict: If the record has changed.
        :raises ItemsFull: If the run can't be made, because there is no place for it.
        :raises NotPublished: If nothing was stored.
        :raises PublishUncertain: If it may have been stored or not.
        """
        stored = self._commit(channel, transition, more)
        if not stored.record.is_active:
            self.count(stored.record.status)
        return stored

    def _commit(
        self, channel: str, transition: Transition, more: cabc.Iterable[Change]
    ) -> Stored:
        uncertain: PublishUncertain | None = None
        for _ in range(_TRIES):
            try:
                positions = self._change(channel, transition, more)
            except PublishUncertain as error:
                uncertain = error
            except Conflict:
                if uncertain is None:
                    raise
                stored = self._stored(channel, transition)
                if stored is None:
                    raise
                return stored
            except NotPublished:
                if uncertain is None:
                    raise
                break
            else:
                self._note(positions[0])
                record = transition.record._replace(position=positions[0])
                return Stored(record, str(positions[1]), str(positions[-1]))
        assert uncertain is not None
        raise uncertain

    def _change(
        self, channel: str, transition: Transition, more: cabc.Iterable[Change]
    ) -> list[Position]:
        """Store a transition. All but the first of a run are also stored if its list is
        full."""
        changes, record = [*transition.changes, *more], transition.record
        try:
            return self.change(changes)
        except ItemsFull as full:
            make_space(self.broker, channel, record, full)
        try:
            return self.change(changes)
        except ItemsFull as full:
            if not record.listed or record.status == "queued":
                raise
            _quiet.warning(
                "Could not show that the run on %r is %s on its list %r. Unset items of"
                " the list: %s",
                *(channel, record.status, record.listed, full),
            )
        return self.change(each for each in changes if each.kind)

    def _stored(self, channel: str, transition: Transition) -> Stored | None:
        """The transition, if the record is the one that it has stored."""
        rows = self.find(channel, [NOW, transition.event])
        record = record_of(rows)
        if record is None or record._replace(position=Position("", 0)) != transition.record:
            return None
        ids = [str(row.position) for row in rows if row.item == transition.event]
        return Stored(record, ids[0]) if ids else None


def record_of(rows: cabc.Iterable[ItemRow]) -> Record | None:
    """The record, if it is one of these rows."""
    for row in rows:
        if row.item == NOW:
            return Record.read(row.data, row.version, row.position)
    return None


def find_again(now: Record | None, run: Record) -> Known:
    """What became of a run.

    :param now: The record of its channel.
    :param run: As it was read before.
    """
    if now is not None:
        for record in now, *map(Record.of, now.past):
            if (record.serial, record.run) == (run.serial, run.run):
                return Known(record, record is now)
    # The store has lost it, or it ended long ago.
    return Known(run._replace(status="lost"), False)


def keeper_of_runs(broker: Broker) -> KeepsRuns:
    """
    :raises RuntimeError: If the broker keeps no runs.
    """
    if not isinstance(broker, KeepsRuns):
        raise RuntimeError(
            f"{type(broker).__name__} keeps no runs (flask_push.brokers.KeepsRuns). Use"
            " memory:, sqlite:, or a Redis; or publish events."
        )
    return broker
