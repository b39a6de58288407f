"""Which events and gaps each reader receives, in which order.

A channel is a log, a subscription is a cursor, live is replay that has caught up.

A reader that is up to date has no cursor of its own: it is ``live``, which means at the
end. All live readers of the same channels are one group, and are sent the same bytes. Any
other reader has a cursor, and :meth:`Readers.read` says what comes next for it: frames,
merged over its channels by number; or ``None``, when a :class:`Page` of history has to be
fetched first, because the log no longer reaches back to the cursor. Connecting, replay,
live, slow and resume are this one function.
"""

from __future__ import annotations

import collections.abc as cabc

from .._event import Page
from .._event import Position
from . import wire
from .all_items import begin_items
from .all_items import items_for
from .all_items import lacks_items
from .all_items import LivingPieces
from .all_items import read_items
from .channel import Frame
from .channel import Gap
from .followed import RunGroup
from .followed import RunPieces
from .following import Following
from .groups import drop_group
from .groups import join_group
from .item_replay import absorb_items
from .item_replay import known_items
from .item_replay import replay_items
from .log import Log
from .replay import absorb
from .replay import gap_frame
from .replay import gaps
from .replay import prove
from .replay import replay
from .replay import RunCache
from .subscription import Subscription


class Readers:
    """All readers of a log.

    :param wait: Returns how many seconds the page should wait, after a gap, before it
        fetches its data again.
    :param note: Is called with the reason of each gap that is sent.
    """

    def __init__(
        self,
        log: Log,
        wait: cabc.Callable[[], float],
        note: cabc.Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.log = log
        self._wait = wait
        self._note = note
        self._runs = RunCache(self._render)
        #: Of those that follow a run.
        self.following = Following(log, wait, note)

    def join(
        self,
        sub: Subscription,
        names: cabc.Iterable[str],
        gzip: bool = False,
        every: float = 0,
    ) -> list[str]:
        """Add a reader. It can begin when the feed watches all channels of its group.

        :return: Channels that the feed does not watch yet.
        """
        group, new = join_group(self.log, names, gzip, every, sub.follow)
        sub.enter(group)
        return new

    def leave(self, sub: Subscription) -> list[str]:
        """Remove a reader that is no longer live.

        :return: Channels that have no reader now, and whose events were dropped (law 8);
            and rosters.
        """
        sub.group.members -= 1
        if sub.group.members:
            return []
        return drop_group(self.log, sub.group)

    def lacks(self, sub: Subscription, position: Position) -> int:
        """The highest number at which the page that a reader begins with may start."""
        number = position.number
        lacks = position.epoch == self.log.epoch and not sub.group.reaches(number)
        return number if lacks else max(number, self.log.end)

    def begin(
        self,
        sub: Subscription,
        connection_id: str,
        position: Position | None = None,
        page: Page | None = None,
    ) -> bool:
        """Put a reader where it starts. The feed watches all of its channels.

        A position that some store has issued needs a page, which was read after the reader
        came, and starts where the reader :meth:`lacks` something. Only the store knows
        whether it has a position after the log's end (law 7), and which gaps the reader was
        not told of by another hub.

        :return: False if the log is too far behind the store to decide. Try again with
            another page after the next turn.
        """
        log = self.log
        if isinstance(sub.group, RunGroup):
            self.following.begin(sub, sub.group, connection_id)
            return True
        end = log.end
        if page is not None:
            if page.epoch != log.epoch:
                return False
            end = max(end, page.end)
        sub.epoch, names = log.epoch, sub.group.names
        if position is None:
            sub.cursor = log.end
        elif position.epoch == log.epoch and position.number <= end:
            sub.cursor = position.number
        else:
            known = position.epoch not in ("", log.epoch)
            # Its page may have items of another epoch, though there are none in this one.
            # Or there are some that the log has not reached.
            unsure = log.horizons.known and (known or end > log.end)
            items = "all" if unsure else items_for(sub, log.epoch, None)
            watch = sub.group.watch
            sub.send_first(wire.opening(connection_id, names, None, items, watch))
            self._send_gap(sub, "restarted" if known else "unknown", end)
            if items:
                begin_items(sub)
            return True
        if page is not None and not prove(sub, page, log.end, log.budget):
            return False
        items = items_for(sub, log.epoch, position)
        if not items and log.horizons.known and sub.cursor > log.end:
            # The first item may be before the reader's position.
            return False
        here = Position(log.epoch, sub.cursor)
        sub.open(wire.opening(connection_id, names, here, items, sub.group.watch), page)
        if items == "all":
            begin_items(sub)
        return True

    def read(
        self,
        sub: Subscription,
        limit: int,
        page: Page | None = None,
        rows: LivingPieces | RunPieces | None = None,
    ) -> list[Frame] | None:
        """The frames to write next, about `limit` bytes.

        The list is empty if the reader is at the end, and may be live. ``None`` means that
        it has to wait: for the log's end, if its cursor is after the end, or for a page of
        its channels from its cursor on. If it is sent all items, that is a page of living
        rows.
        """
        log = self.log
        if isinstance(group := sub.group, RunGroup):
            assert not isinstance(rows, LivingPieces)
            return self.following.read(sub, group, limit, rows)
        if sub.epoch != log.epoch and not sub.rest:
            sub.epoch, sub.items = log.epoch, None
            self._send_gap(sub, "restarted", log.birth)
            if sub.asks_for_items or sub.group.has_items():
                begin_items(sub)
        if sub.rest:
            return [(sub.cursor, sub.rest)]
        if (place := sub.items) is not None and place.sending:
            assert not isinstance(rows, RunPieces)
            frames = read_items(sub, place, log, limit, rows)
            if place.sending:
                return frames
        if sub.cursor >= log.end:
            return self._read_end(sub)
        if lacks_items(sub, horizon := sub.group.horizon()):
            return self._read_items_again(sub, horizon, limit)
        return self._read_log(sub, limit, page)

    def _read_log(
        self, sub: Subscription, limit: int, page: Page | None
    ) -> list[Frame] | None:
        log = self.log
        reach, sources = log.end, []
        if sub.group.reaches(sub.cursor):
            if known := self._runs.find(sub):
                return known
        else:
            channels = sub.group.channels
            if blurred := [c.blurred for c in channels if c.is_blurred(sub.cursor)]:
                self._send_gap(sub, "unknown", max(blurred))
                return [(sub.cursor, sub.rest)]
            if page is None or page.epoch != log.epoch:
                return None
            if not page.after <= sub.cursor < page.reach or sub.is_newer_than(page.end):
                return None
            if not (proofs := prove(sub, page, log.end, log.budget)):
                return None
            horizon = max(page.horizons.values(), default=0)
            if lacks_items(sub, horizon):
                return self._read_items_again(sub, horizon, limit)
            if not gaps(proofs, sub.cursor, reach) and (known := self._runs.find(sub)):
                return known
            reach = min(reach, page.reach)
            absorb(sub.group, page, log.budget, log.encode)
            sources = [
                gaps(proofs, sub.cursor, reach),
                replay(sub, page, proofs, reach, log.encode),
                replay_items(sub, page, reach, log),
            ]
            absorb_items(sub.group, page, log)
        sources += [channel.between(sub.cursor, reach) for channel in sub.group.channels]
        sources += known_items(sub, reach, log.epoch)
        if frames := self._runs.make(sub, sources, reach, limit, log.end):
            return frames
        sub.cursor = reach
        return self._read_end(sub) if reach == log.end else None

    def _read_end(self, sub: Subscription) -> list[Frame] | None:
        """What a reader gets that is not before the end."""
        log = self.log
        if sub.cursor != log.end:
            return None
        if sub.items is None:
            return []
        # The reader has all items, at this number (law 31).
        sub.items, group = None, sub.group
        here = Position(log.epoch, log.end)
        sub.send_first(wire.whole(group.names, here, group.watch))
        return [(sub.cursor, sub.rest)]

    def send_again(self, sub: Subscription) -> None:
        """Send a reader all items again, which is not live: a roster of it was lost, and is
        whole again."""
        if sub.epoch == self.log.epoch:
            if sub.items is not None and sub.items.sending:
                sub.cursor = sub.items.position
            begin_items(sub)

    def resume(self, sub: Subscription) -> None:
        """Continue with a reader that another hub has handed over. The numbers of members
        may be others here, so one that was sent some of them gets all again."""
        if sub.group.rosters and sub.items is not None and sub.items.sending:
            self.send_again(sub)

    def _read_items_again(
        self, sub: Subscription, horizon: int, limit: int
    ) -> list[Frame] | None:
        if horizon > max(self.log.end, sub.cursor):
            # The log is too far behind the store.
            return None
        begin_items(sub)
        return self.read(sub, limit)

    def aged(self, age: int) -> list[Subscription]:
        """Live readers of this epoch whose last id is more than `age` behind the end.

        They may get no event for longer than the store remembers. If such a reader is cut
        off, the store cannot tell whether it missed something (law 13).
        """
        oldest = self.log.end - age
        return [
            sub
            for group in self.log.groups.values()
            if group.last_id_number < oldest
            for sub in group.live.values()
            if sub.last_id_number < oldest and sub.epoch == self.log.epoch
        ]

    def reopen(self, sub: Subscription, connection_id: str) -> None:
        """Send a newer id to a reader that was live, and no longer is."""
        sub.cursor, names = sub.group.place(self.log.end), sub.group.names
        here = Position(self.log.epoch, sub.cursor)
        sub.send_first(wire.opening(connection_id, names, here, watch=sub.group.watch))

    def _render(self, number: int, pieces: list[bytes | Gap]) -> bytes:
        if isinstance(pieces[0], bytes):
            return pieces[0]
        self._note(pieces[0].reason)
        return gap_frame(pieces, self._wait(), Position(self.log.epoch, number))

    def _send_gap(self, sub: Subscription, reason: str, number: int) -> None:
        sub.cursor = number
        sub.send_first(self._render(number, [Gap(sub.group.names, reason)]))
