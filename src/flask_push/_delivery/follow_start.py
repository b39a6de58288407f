"""Which run a stream follows, and from where, when its browser may have a position.

A position inside a run is that of a reader who has a part of it, and gets the rest. At or
behind an end, its reader has all of it, and gets no other run instead. With any other
position, a reader begins at the first event, as without one (law R58).
"""

from __future__ import annotations

import typing as t

from .._event import escape
from .._event import Position
from .run_record import Record
from .run_rows import MAX_PACKED
from .run_rows import tag_of


class Place(t.NamedTuple):
    """What a reader has, in the epoch of the store."""

    number: int
    #: How many events it has of the row behind the position.
    skip: int = 0


class Start(t.NamedTuple):
    """Where a stream begins."""

    tag: str
    #: The number of the position.
    after: int
    #: How many events of the first row its reader has already.
    skip: int = 0


def place_of(id: str, channel: str, epoch: str, end: int) -> Place | None:
    """The place that a browser's last id names. ``None`` if the store does not have it.

    :param end: That of the store.
    """
    position = Position.parse(id)
    if position.epoch != epoch or not epoch or position.number > end:
        return None
    _, _, names = id.partition(".")
    name, _, skip = names.partition(".")
    # Such an id has only an event that is not the last one of its row.
    if skip.isascii() and skip.isdigit() and name == escape(channel):
        return Place(position.number, min(int(skip[:9]), MAX_PACKED))
    return Place(position.number)


def start_of_channel(record: Record, place: Place | None, late: bool) -> Start | None:
    """Where a stream begins that follows what runs on a channel. ``None`` if it would get
    nothing.

    :param late: Whether the newest run counts although it has ended.
    """
    if place is not None:
        number = place.number
        if number >= record.start or number > record.last_attempt > 0:
            return _start_of_newest(record, place)
        for past in record.past:
            if number > past.last:
                if past is record.past[0] and record.last_attempt:
                    # It is in an older attempt of the newest run.
                    break
                return None
            if number >= past.first:
                return Start(tag_of(past.serial, past.attempt), *place)
    if record.is_active or late:
        return Start(record.tag, record.start)
    return None


def start_of_run(record: Record, serial: int, place: Place | None) -> Start | None:
    """Where a stream begins that follows one run. ``None`` if it would get nothing: its
    reader has all of it, or the record no longer has the run.

    :param record: That of the run's channel.
    """
    if serial == record.serial:
        return _start_of_newest(record, place)
    for past in record.past:
        if past.serial == serial:
            tag = tag_of(serial, past.attempt)
            if place is None or place.number < past.first:
                return Start(tag, past.first)
            return None if place.number > past.last else Start(tag, *place)
    return None


def _start_of_newest(record: Record, place: Place | None) -> Start | None:
    if place is None or place.number <= record.last_attempt:
        return Start(record.tag, record.start)
    if place.number < record.start:
        # Behind the end of the attempt before, or before the run.
        return None if record.last_attempt else Start(record.tag, record.start)
    if not record.is_active and place.number > record.position.number:
        return None
    return Start(record.tag, *place)
