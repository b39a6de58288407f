"""Makes the frames of events and items that come from a store."""

from __future__ import annotations

import collections.abc as cabc

from .._event import Entry
from .._event import GAP
from .._event import Position
from .._event import UNSET
from . import presence_wire
from . import wire
from .event_frame import event_frame
from .item_log import ItemPiece
from .roster import Change
from .roster import COUNT


class Encoder:
    """
    :param report: Is called with an event that cannot be sent, its position, and the
        reason. The program that stored it should have refused it.
    :param max_event: How many bytes of data an event may have.
    """

    def __init__(
        self, report: cabc.Callable[[Entry, Position, Exception], None], max_event: int
    ) -> None:
        self.report = report
        self.max_event = max_event

    def event(self, entry: Entry, epoch: str, number: int) -> bytes | None:
        """The frame of an event, or ``None`` if its readers get a gap instead."""
        if entry.type == GAP:
            return None
        try:
            return event_frame(entry, epoch, number, self.max_event)
        except MemoryError:
            # The event is right, and its readers resume before it.
            raise
        except Exception as error:
            self.report(entry, Position(epoch, number), error)
            return None

    def item(
        self, channel: str, item: str, type: str, data: bytes, position: Position
    ) -> ItemPiece | None:
        """A row as the log keeps it. One that can't be sent counts as unset, so that no
        page keeps an older value. ``None`` if not even its name can be sent."""
        number = position.number
        try:
            if type != UNSET:
                tail = wire.item_tail(channel, item, type, data, number, self.max_event)
                return ItemPiece(number, item, True, tail)
        except MemoryError:
            raise
        except Exception as error:
            self.report(Entry(number, 0, channel, type, data, item=item), position, error)
        try:
            return ItemPiece(number, item, False, wire.unset_tail(channel, item, number))
        except ValueError:
            return None

    def member(self, channel: str, change: Change, position: Position) -> ItemPiece | None:
        """What has changed in a roster, as the log keeps it. A member whose info can't be
        sent counts as one who has left. ``None`` if not even the name can be sent."""
        number, user, data = change
        try:
            if user == COUNT:
                tail = presence_wire.count_tail(channel, int(data or 0), number)
                return ItemPiece(number, user, data is not None, tail)
            if data is not None:
                tail = presence_wire.joined_tail(channel, user, data, number)
                return ItemPiece(number, user, True, tail)
        except MemoryError:
            raise
        except Exception as error:
            entry = Entry(number, 0, channel, presence_wire.JOINED, data or b"", item=user)
            self.report(entry, position, error)
        try:
            tail = presence_wire.left_tail(channel, user, number)
            return ItemPiece(number, user, False, tail)
        except ValueError:
            return None
