"""The processes that hold runs, as one process sees them that looks after them.

A process that holds runs has a row, which it changes every ten seconds or so: a *beat*. It
is silent if another process has looked at the row for ``lost_after`` seconds, and the row
did not change (law R52). Only the clock of the process that looks matters, and it is
monotonic. Seconds in which the process did not look don't count: perhaps the store could
not be reached, so that no process could beat.

A silent process is marked as dead first: its row says so. From then on, the store refuses
its beats, and all runs that it would enter. So the list of its runs is complete, and any
process may end them.
"""

from __future__ import annotations

import collections.abc as cabc
import json
import math
import typing as t

from .._event import ItemRow
from .run_rows import Change
from .run_rows import HOLDERS

#: How many looks there are in the time after which a process is silent.
LOOKS = 6

_DEAD = '{"dead":true}'


class Holder(t.NamedTuple):
    """The row of a process that holds runs."""

    process: str
    #: The id of the row, which each beat changes.
    id: str
    version: int = 0
    dead: bool = False
    #: When it was first seen with this id, in looks of which none was late.
    since: float = math.inf

    @classmethod
    def read(cls, row: ItemRow, now: float = math.inf) -> Holder:
        """Read the row, of any version. One that can't be read is that of a process which
        is alive as long as it changes the row."""
        try:
            values = json.loads(row.data)
        except (ValueError, RecursionError):
            values = None
        dead = isinstance(values, dict) and bool(values.get("dead"))
        return cls(row.item, str(row.position), row.version or 0, dead, now)

    def mark_dead(self) -> Change:
        """Refused if the process has stored a beat."""
        about = HOLDERS, HOLDERS, self.process, _DEAD
        return Change(*about, version=self.version + 1, expect=self.id)

    def marked(self, id: str) -> Holder:
        """
        :param id: That of the row which says that the process is dead.
        """
        return self._replace(id=id, version=self.version + 1, dead=True)

    def forget(self) -> Change:
        """Unset the row, after all runs of a dead process were ended."""
        return Change(HOLDERS, HOLDERS, self.process, None, expect=self.id)


class Holders:
    """
    :param lost_after: Seconds without a beat after which a process is silent.
    """

    def __init__(self, lost_after: float) -> None:
        self.lost_after = lost_after
        self._known: dict[str, Holder] = {}
        self._looked = -math.inf

    def __repr__(self) -> str:
        dead = sum(holder.dead for holder in self._known.values())
        return f"<Holders [{len(self)} processes, {dead} dead]>"

    def __len__(self) -> int:
        return len(self._known)

    @property
    def pause(self) -> float:
        """Seconds between two looks."""
        return self.lost_after / LOOKS

    @property
    def dead(self) -> list[Holder]:
        return [holder for holder in self._known.values() if holder.dead]

    def take(self, rows: cabc.Iterable[ItemRow], now: float) -> list[Holder]:
        """Take the rows of all processes.

        :param now: When they were read, or earlier.
        :return: Those that are silent.
        """
        late = now > self._looked + 1.5 * self.pause
        before, self._known, self._looked = self._known, {}, now
        for row in rows:
            holder = Holder.read(row, now)
            known = before.get(row.item)
            if known is not None and known.id == holder.id and not late:
                holder = known
            self._known[row.item] = holder
        until = now - self.lost_after
        silent = (each for each in self._known.values() if not each.dead)
        return [each for each in silent if each.since <= until]

    def count_again(self) -> None:
        """Count no time before now, because the rows could not be read."""
        self._looked = -math.inf

    def put(self, holder: Holder) -> None:
        """Take what this process has stored itself."""
        self._known[holder.process] = holder

    def drop(self, holder: Holder) -> None:
        """Know nothing of a process, because its row was unset, or changed."""
        self._known.pop(holder.process, None)
