"""What the holder of a run knows, and what it may store (laws R45 and R47).

The holder is the process that writes the run. It stores something only if three rows are as
it knows them: the record, the event that it stored last, and the place of the next event,
which is free. Others change the record, and never take a place. So nothing is stored after
a transition, nothing is stored twice, and nothing is stored after an event that the store
has lost.
"""

from __future__ import annotations

import collections.abc as cabc
import enum
import typing as t

from .._event import ItemRow
from .run_record import end
from .run_record import listing
from .run_record import Record
from .run_record import Status
from .run_record import Transition
from .run_rows import Change
from .run_rows import expects
from .run_rows import NOW
from .run_rows import pack
from .run_rows import place
from .run_rows import PROGRESS
from .run_rows import progress as progress_of
from .run_rows import RUN
from .wire import to_json


class Look(enum.Enum):
    """What became of a call that conflicts, perhaps with itself."""

    #: It was stored.
    STORED = "stored"
    #: It was not stored. The same call may be made again.
    AGAIN = "again"
    #: It was not stored, and never will be: the record says why.
    OVER = "over"
    #: The store has lost events of this run.
    TORN = "torn"


class Holder(t.NamedTuple):
    """The state of a holder between two calls."""

    channel: str
    #: As it is stored.
    record: Record
    #: The item that it stored last, and the id of that row.
    last: str
    last_id: str
    #: How many events it has stored.
    stored: int = 0

    @property
    def fence(self) -> list[Change]:
        """Goes before all that it stores."""
        return [
            expects(self.channel, NOW, self.record.id),
            expects(self.channel, self.last, self.last_id),
        ]

    @property
    def place(self) -> str:
        """The item that it stores next."""
        return place(self.record.tag, self.stored)

    def write(self, texts: cabc.Sequence[str], type: str = "message") -> list[Change]:
        """Store events, which become one row."""
        row = Change(RUN, self.channel, self.place, pack(texts), type, expect="")
        return [*self.fence, row]

    def written(self, id: str, count: int) -> Holder:
        """
        :param id: That of the row.
        :param count: How many events it has.
        """
        return Holder(self.channel, self.record, self.place, id, self.stored + count)

    def show(self, progress: t.Mapping[str, t.Any]) -> list[Change]:
        """Store how far the run is. The last change is the one of its list, if it has one.

        Only the newest progress matters. So it does not matter what the store has of the
        run, if the record is as the holder knows it.
        """
        channel, record = self.channel, self.record
        row = Change(RUN, channel, progress_of(record.tag), to_json(progress), PROGRESS)
        listed = [listing(channel, record, progress)] if record.listed else []
        return [expects(channel, NOW, record.id), row, *listed]

    def end(
        self, status: Status, text: str = "", progress: t.Any = None
    ) -> Transition | None:
        """End the run. The record is the first change, as in all transitions."""
        ending = end(self.channel, self.record, status, text, progress)
        if ending is None:
            return None
        last = expects(self.channel, self.last, self.last_id)
        return ending._replace(changes=[*ending.changes, last])

    # After a conflict.

    @property
    def wanted(self) -> list[str]:
        """The items that it has to read."""
        return [NOW, self.last, self.place]

    def look(self, rows: cabc.Iterable[ItemRow]) -> tuple[Look, str]:
        """What became of a call of :meth:`write`.

        :param rows: Those of the wanted items that the store has.
        :return: And the id of its row, if it was stored.
        """
        found = {row.item: str(row.position) for row in rows}
        if (id := found.get(self.place)) is not None:
            return Look.STORED, id
        if found.get(NOW) != self.record.id:
            return Look.OVER, ""
        if found.get(self.last) != self.last_id:
            return Look.TORN, ""
        return Look.AGAIN, ""
