"""The row in which a process that holds runs shows others that it lives (law R52)."""

from __future__ import annotations

import json
import time
import typing as t

from .._delivery.run_rows import Change
from .._delivery.run_rows import HOLDERS
from .._system.names import new_name
from ..brokers import Conflict
from ..brokers import ItemRow
from .store import RunStore


class Beats:
    """What a process knows of its row. It has one while it holds runs.

    Its name is never given again. So a living row of this name that is not marked as dead
    is its own.
    """

    def __init__(self) -> None:
        self.name = new_name()
        self.number = 0
        #: The id of the row. Empty if there is none.
        self.id = ""
        #: When the newest beat that was stored began, by a monotonic clock.
        self.at = float("-inf")

    def next(self, runs: int) -> Change:
        """The next beat, which expects the one before.

        :param runs: How many runs the process holds.
        """
        number = self.number + 1
        data = json.dumps({"beat": number, "runs": runs})
        about = HOLDERS, HOLDERS, self.name, data
        return Change(*about, version=number, expect=self.id)

    def last(self) -> Change:
        """Remove the row."""
        return Change(HOLDERS, HOLDERS, self.name, None, expect=self.id)

    def stored(self, id: str, at: float) -> None:
        """The next beat is stored.

        :param id: That of the row.
        :param at: When the call began.
        """
        self.number, self.id, self.at = self.number + 1, id, at

    def removed(self) -> None:
        """The row is removed. The next beat makes another one."""
        self.id, self.at = "", float("-inf")

    def read(self, rows: t.Sequence[ItemRow]) -> bool:
        """Take the row as the store has it, after a call that conflicts, perhaps with
        itself.

        :param rows: The row, if there is one.
        :return: Whether the name is still valid. Otherwise others have taken this process
            for dead, or the store has lost the row.
        """
        if not rows:
            # A row may be missing only if this process has removed it.
            return not self.id
        row = rows[0]
        try:
            values = json.loads(row.data)
        except ValueError:
            return False
        if not isinstance(values, dict) or values.get("dead"):
            return False
        self.number, self.id = row.version or 0, str(row.position)
        return True


class Signs:
    """Writes the row of a process. One thread at a time."""

    def __init__(self) -> None:
        self.beats = Beats()

    def beat(self, store: RunStore, runs: int) -> None:
        """Write a beat.

        :param runs: How many runs the process holds.
        :raises NotPublished: If the store can't be changed now.
        :raises NotRead: If it can't be read.
        :raises PublishUncertain: If it may have been changed or not. The next beat finds
            out.
        """
        while True:
            beats, began = self.beats, time.monotonic()
            try:
                (position,) = store.change([beats.next(runs)])
            except Conflict:
                self.read(store)
            else:
                beats.stored(str(position), began)
                return

    def remove(self, store: RunStore) -> None:
        """Remove the row, because no run is held. As :meth:`beat`."""
        try:
            store.change([self.beats.last()])
        except Conflict:
            self.read(store)
        else:
            self.beats.removed()

    def read(self, store: RunStore) -> None:
        """Read what others have done to the row. If they take this process for dead, it has
        another name from now on. Its runs learn when they write that they are lost.

        :raises NotRead: If the store can't be read now.
        """
        if not self.beats.read(store.find(HOLDERS, [self.beats.name], HOLDERS)):
            self.beats = Beats()
