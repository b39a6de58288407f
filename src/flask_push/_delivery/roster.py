"""A roster: who is present on a channel, from the rows that all hubs have stored.

Each hub has a row for each of its users, and one that says how many users it counts and
does not list. They are items of the kind :data:`PRESENT`. A user is present while any hub
has a row of the user, and the user's info is that of the newest row (law 52). Those who
watch a roster receive what has changed for a user, and not each row.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

#: The kind of the rows. See :class:`.OwnChannel`.
PRESENT = "present"
#: How many users a roster lists (law 54).
MAX_MEMBERS = 1000
# If so few are listed, and others are there who are not, the roster is read again.
_FEW_MEMBERS = 900
#: Stands for the count where a change or an item names a user. No user has this name.
COUNT = "\udcff"


class RosterRow(t.NamedTuple):
    """A row as a hub has stored it, or its unset."""

    number: int
    #: The hub's name, a dot and the user; or the hub's name, for its count.
    item: str
    #: The user's info, or how many users the hub counts, as JSON. ``None`` if the row was
    #: unset.
    data: bytes | None


class Change(t.NamedTuple):
    """What those who watch the roster receive."""

    number: int
    #: The user, or :data:`COUNT`.
    user: str
    #: The user's info, or how many are counted. ``None`` if the user has left, or if no hub
    #: counts any more.
    data: bytes | None


class Roster:
    """
    :param rows: The newest rows of the roster.
    :param sure: The rows may lack some that were unset up to this number.
    """

    __slots__ = ("last", "sure", "_rows", "_shown")

    def __init__(self, rows: cabc.Iterable[RosterRow] = (), sure: int = 0) -> None:
        #: The number of the newest row.
        self.last = 0
        self.sure = sure
        # By user, and by hub; of each user, the newest row is the last.
        self._rows: dict[str, dict[str, RosterRow]] = {}
        # What was sent last for each user who is listed, in the order in which they came.
        self._shown: dict[str, bytes] = {}
        for row in sorted(rows, key=lambda row: row.number):
            self.take(row)

    def __len__(self) -> int:
        """How many users are listed, and one more if others are counted."""
        return len(self._shown)

    @property
    def has_room(self) -> bool:
        """Whether more users should be listed. They are if the roster begins again: one row
        can't say that one user has left and that another is listed."""
        return len(self._rows) > len(self._shown) and self._listed <= _FEW_MEMBERS

    def take(self, row: RosterRow) -> Change | None:
        """Take the next row. ``None`` if it changes nothing for those who watch."""
        hub, dot, user = row.item.partition(".")
        user = user if dot else COUNT
        self.last = max(self.last, row.number)
        rows = self._rows.setdefault(user, {})
        rows.pop(hub, None)
        if row.data is not None:
            rows[hub] = row
        now, before = self._merged(user), self._shown.get(user)
        if now is None:
            # Others may have listed the user, if this is one too many here.
            del self._rows[user]
            self._shown.pop(user, None)
            return Change(row.number, user, None)
        # A page that was told by another hub may have what was unset before the rows were
        # read here.
        if now == before and row.number > self.sure:
            return None
        if before is None and user != COUNT and self._listed >= MAX_MEMBERS:
            return None
        self._shown[user] = now
        return Change(row.number, user, now)

    def _merged(self, user: str) -> bytes | None:
        rows = self._rows[user]
        if not rows:
            return None
        if user == COUNT:
            return b"%d" % sum(_number(row.data or b"") for row in rows.values())
        return next(reversed(rows.values())).data

    @property
    def _listed(self) -> int:
        return len(self._shown) - (COUNT in self._shown)

    def rows(self) -> list[RosterRow]:
        """The rows of all users, listed or not."""
        return [row for rows in self._rows.values() for row in rows.values()]

    def all(self) -> list[Change]:
        """What those who begin to watch receive, in the order of numbers."""
        newest = (
            Change(next(reversed(self._rows[user].values())).number, user, data)
            for user, data in self._shown.items()
        )
        return sorted(newest)

    def merged(self) -> Merged:
        """The members, in the order in which they came, and the count."""
        members = {user: data for user, data in self._shown.items() if user != COUNT}
        return Merged(members, int(self._shown.get(COUNT, b"0")))


class Merged(t.NamedTuple):
    """Who is present in a roster."""

    #: The info of each member who is listed, as JSON, by user.
    members: dict[str, bytes]
    #: How many users are counted and not listed.
    counted: int


def _number(data: bytes) -> int:
    """How many users a hub counts."""
    try:
        return max(0, int(data))
    except ValueError:
        return 0
