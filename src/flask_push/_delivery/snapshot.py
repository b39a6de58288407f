"""The state of a frozen hub: everything that its successor needs, as plain values.

A hub is frozen at one number. Every reader has received all events up to this number, or
has a cursor that says how far it is; none has received a later one. Another version of
Flask-Push reads these values, so a field that is added has a default, and no field changes
its meaning (law 10).
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from .._event import OwnChannel
from .._event import Position
from .channel import Chunk
from .channel import frame_of
from .figure_record import FigureState
from .follow import Follow
from .item_log import ItemLog
from .known import known
from .known import known_of_row
from .log import Log
from .presence_plan import PresenceState
from .roster import PRESENT
from .roster import Roster
from .roster import RosterRow
from .run_rows import RUN
from .stream import Stream
from .stream_presence import StreamPresence

# Fields of a stream that some older version does not know.
_ADDED = ("session", "seen", "items", "holds", "every", "presence", "follow", "expires")


class LogState(t.NamedTuple):
    """The state of a log, without its frames."""

    epoch: str = ""
    #: The number at which the epoch was first seen.
    birth: int = 0
    end: int = 0
    #: By channel, the ranges in which something of it was lost. An older version sends
    #: one range, which is ``[0, 0]`` for none.
    channels: dict[str, t.Any] = {}
    #: By channel, the horizon of its items, and the number of their newest row if there are
    #: any. An older version has sent none.
    items: dict[str, list[int]] = {}

    @classmethod
    def of(cls, log: Log) -> LogState:
        """What another log needs to go on from the end of this one, which has no gap."""
        channels = {c.name: c.lost for c in log.channels.values() if c.held}
        items = {
            c.name: [c.horizon] if c.items is None else [c.horizon, c.items.last]
            for c in log.channels.values()
            if c.held and c.name not in log.horizons.doubtful
        }
        return cls(log.epoch, log.birth, log.end, channels, items)

    def to_json(self) -> list[t.Any]:
        # As an older version has sent it, which does not know the last field.
        return list(self if self.items else self[:-1])

    @classmethod
    def from_json(cls, values: list[t.Any]) -> LogState:
        return cls(*known_of_row(cls, values))

    @property
    def position(self) -> Position | None:
        """Where the log ended, if it had begun. Readers may be before it, but none has
        anything after it."""
        return Position(self.epoch, self.end) if self.epoch else None

    def restore(self, log: Log) -> None:
        """Make a log go on from here. All its readers have joined it before."""
        log.epoch, log.birth, log.end, channels, items = self
        log.proved = log.end
        log.hold(channels)
        for name in channels.keys() & log.channels.keys():
            channel = log.channels[name]
            channel.restore_lost(channels[name])
            if name not in items:
                log.horizons.doubtful.add(name)
                continue
            channel.horizon, *last = items[name]
            if last:
                channel.items = ItemLog(log.end)
                channel.items.last = last[0]


class ReaderState(t.NamedTuple):
    """One stream: what the view granted, and how far its reader is."""

    stream: Stream
    #: Whether it has a cursor yet.
    begun: bool
    epoch: str
    cursor: int
    rest: Chunk
    last_id_number: int
    #: Seconds until it ends; ``None`` if it does not.
    left: float | None
    #: Bytes that its browser has sent.
    received: int
    #: Older versions count what the browser was sent. Nothing uses it any more, but other
    #: fields must not take these places.
    events: int = 0
    bytes: int = 0
    #: Where the reader is if it is sent all items: see :meth:`.ItemsPlace.to_json`. Then
    #: the cursor above is the position at which it continues after them, so that an older
    #: version, which sends no items, continues there.
    items: list[int] | None = None
    #: For how many seconds it is open. ``None`` from an older version.
    age: int | None = None

    def to_json(self, numbers: cabc.Mapping[int, int] | None = None) -> list[t.Any]:
        """
        :param numbers: The numbers of the frames that are sent separately, by identity.
        """
        stream = stream_to_json(self.stream)
        rest: str | list[int]
        if isinstance(self.rest, memoryview) and numbers is not None:
            frame = frame_of(self.rest)
            rest = [numbers[id(frame)], len(frame) - len(self.rest)]
        else:
            rest = bytes(self.rest).decode("latin-1")
        row = [stream, *self[1:4], rest, *self[5:]]
        # As an older version has sent it, which does not know the last fields.
        while row[-1] is None:
            row.pop()
        return row

    @classmethod
    def from_json(
        cls, values: list[t.Any], frames: cabc.Mapping[int, Chunk] | None = None
    ) -> ReaderState:
        """
        :param frames: The frames that were sent separately, by number.
        """
        stream, begun, epoch, cursor, rest, *others = known_of_row(cls, values)
        left: Chunk
        if isinstance(rest, str):
            left = rest.encode("latin-1")
        else:
            number, start = rest
            left = memoryview((frames or {})[number])[start:]
        return cls(stream_from_json(stream), begun, epoch, cursor, left, *others)


class RosterState(t.NamedTuple):
    """A roster of which the hub has all rows, up to the end of its log."""

    channel: str
    #: See :class:`.Roster`.
    sure: int
    #: Each as ``[number, item, data]``.
    rows: list[list[t.Any]]

    @classmethod
    def all_of(cls, log: Log) -> list[RosterState]:
        return [
            cls(watched.name.channel, watched.whole.sure, _to_rows(watched.whole))
            for watched in log.rosters.by_name.values()
            if watched.whole is not None
        ]

    def restore(self, log: Log) -> None:
        """Make a log go on with the roster. It is at the end of the other hub's."""
        rows = [RosterRow(row[0], row[1], row[2].encode()) for row in self.rows]
        name = OwnChannel(PRESENT, self.channel)
        log.rosters.restore(name, Roster(rows, self.sure), log.end, log.epoch)


def _to_rows(roster: Roster) -> list[list[t.Any]]:
    return [
        [row.number, row.item, (row.data or b"").decode(errors="replace")]
        for row in roster.rows()
    ]


class HubState(t.NamedTuple):
    log: LogState
    #: Each with its descriptor.
    readers: list[tuple[ReaderState, int]]
    #: Descriptors from which the hub drops what servers still write to their clients.
    drains: list[int]
    #: An older version has sent none.
    rosters: list[RosterState] = []
    #: Who is present. ``None`` from an older version.
    presence: PresenceState | None = None
    #: What was counted. ``None`` from an older version, and if nothing is stored.
    figures: FigureState | None = None

    @property
    def watched(self) -> list[str]:
        """The channels and rosters of which the hub has everything up to its end."""
        own = [OwnChannel(PRESENT, roster.channel) for roster in self.rosters]
        return [*self.log.channels, *own, *self._followed]

    @property
    def _followed(self) -> list[str]:
        """The channels of runs that readers follow. The hub need not have all of their
        rows: readers that lack some read them from the store."""
        follows = (place.stream.follow for place, _ in self.readers)
        names = {OwnChannel(RUN, follow.channel) for follow in follows if follow.tag}
        return list(names)

    def restore(self, log: Log) -> list[str]:
        """Make a log go on from here. All its readers have joined it before.

        :return: The channels and rosters that the feed has to begin with.
        """
        self.log.restore(log)
        for roster in self.rosters:
            roster.restore(log)
        log.hold(list(log.rosters.by_name))
        if self.log.position is not None:
            log.hold(self._followed)
        new = [channel.name for channel in log.channels.values() if not channel.held]
        runs = [] if self.log.position else self._followed
        return [*new, *(roster.name for roster in log.rosters.partial), *runs]

    @classmethod
    def nothing(cls) -> HubState:
        return cls(LogState(), [], [])


def stream_to_json(stream: Stream) -> dict[str, t.Any]:
    values = stream._asdict()
    values["head"] = stream.head.decode("latin-1")
    # As an older version has sent it, which does not know these fields.
    for name in _ADDED:
        if values[name] == Stream._field_defaults[name]:
            del values[name]
    if "presence" in values:
        values["presence"] = stream.presence.to_json()
    if "follow" in values:
        values["follow"] = stream.follow.to_json()
    return values


def stream_from_json(values: dict[str, t.Any]) -> Stream:
    given = known(Stream, values)
    given["channels"] = tuple(given["channels"])
    given["head"] = given["head"].encode("latin-1")
    if "presence" in given:
        given["presence"] = StreamPresence.from_json(given["presence"])
    if "follow" in given:
        given["follow"] = Follow.from_json(given["follow"])
    return Stream(**given)
