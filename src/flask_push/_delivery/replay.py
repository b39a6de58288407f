"""How readers that are behind get what they missed.

Where the log does not reach back to a reader, a page of history is put before it, and stays
there if the budget allows it. Most readers are cut off together, and reconnect together. So
the frames that the first of them gets are kept for the others, whatever the budget.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from bisect import bisect_right
from collections import deque
from heapq import merge
from itertools import chain
from itertools import groupby

from .._event import Entry
from .._event import Page
from .._event import Position
from .._event import Proof
from . import wire
from .channel import Budget
from .channel import ExcludingFrame
from .channel import Frame
from .channel import Gap
from .channel import number_of
from .channel import Piece
from .subscription import ReaderGroup
from .subscription import Subscription

#: Makes the frame of an event, given the epoch and the number for its id. Returns ``None``
#: if the event cannot be sent.
Encode = cabc.Callable[[Entry, str, int], bytes | None]

# How many runs are kept. A reader that missed much reads several.
_MAX_RUNS = 8
# A run that has so many bytes more than its limit is long. Only the latest is kept.
_LONG_BYTES = 256 * 1024


def prove(sub: Subscription, page: Page, end: int, frames: Budget) -> dict[str, Proof]:
    """Since which numbers the page and the log together have each channel of the reader.

    Empty if the log, at `end`, is too far behind the store to decide.
    """
    proofs = {}
    for channel in sub.group.channels:
        since, reason = page.proofs[channel.name]
        if number := channel.lost_until(sub.cursor):
            since, reason = max(since, number), "unknown"
        if since > max(end, sub.cursor):
            return {}
        if since > max(channel.floor, sub.cursor):
            # The store has dropped events that the log still has. A reader with this cursor
            # may have got a gap from another hub. All readers get the same.
            frames.drop(channel, since)
        proofs[channel.name] = Proof(since, reason)
    return proofs


def gaps(proofs: cabc.Mapping[str, Proof], after: int, reach: int) -> list[tuple[int, Gap]]:
    """The gaps of a reader that is at `after`, up to `reach`. Each has the number since
    which its channel is complete again (law 12)."""
    return sorted(
        (since, Gap((name,), reason))
        for name, (since, reason) in proofs.items()
        if after < since <= reach
    )


def newest(sub: Subscription, page: Page) -> int:
    """The number of the newest event that a reader gets before it is live, if it begins
    at its cursor with this page."""
    if page.reach < page.end:
        return page.end
    known = [c.pieces[-1][0] for c in sub.group.channels if len(c)]
    read = [entry.number for entry in page.entries[-1:]]
    since = [proof.since for proof in page.proofs.values()]
    return max(sub.cursor, *known, *read, *since)


def absorb(group: ReaderGroup, page: Page, budget: Budget, encode: Encode) -> None:
    """Put the page before the log, if the budget allows it."""
    older: dict[str, tuple[int, int, list[Piece]]] = {}
    for channel in group.channels:
        since = max(page.after, page.proofs[channel.name].since)
        # Readers before a lost range get a gap, and nothing older after it (law 6).
        since = max([since, *(upto for _, upto in channel.lost if upto <= channel.floor)])
        if since < channel.floor <= page.reach:
            older[channel.name] = since, channel.floor, []
    if not older or not budget.allows(sum(len(entry.data) for entry in page.entries)):
        return
    for entry in page.entries:
        number, name = entry.number, entry.channel
        if name in older and not entry.item:
            since, upto, pieces = older[name]
            if since < number <= upto:
                frame = encode(entry, page.epoch, number)
                pieces.append((number, frame or Gap((name,), "unknown")))
    for channel in group.channels:
        if channel.name in older:
            since, _, pieces = older[channel.name]
            budget.put_before(channel, pieces, since)


def replay(
    sub: Subscription,
    page: Page,
    proofs: cabc.Mapping[str, Proof],
    reach: int,
    encode: Encode,
) -> cabc.Iterator[Piece]:
    """The events of the page that the log does not have, up to each channel's floor."""
    floors = {channel.name: channel.floor for channel in sub.group.channels}
    for entry in page.entries:
        number, name = entry.number, entry.channel
        if name not in proofs or entry.item or not sub.cursor < number <= reach:
            continue
        if proofs[name].since < number <= floors[name]:
            frame = encode(entry, page.epoch, number)
            yield number, frame or Gap((name,), "unknown")


def gap_frame(pieces: cabc.Iterable[bytes | Gap], wait: float, position: Position) -> bytes:
    """One frame for all gaps at one number.

    Several channels may be complete since the same number, the store's oldest. With two
    frames, a reader that is cut off after the first would never get the second.
    """
    gaps = [piece for piece in pieces if isinstance(piece, Gap)]
    names = [name for gap in gaps for name in gap.channels]
    return wire.gap(names, gaps[0].reason, wait, position)


class Run(t.NamedTuple):
    """The frames for each reader of a group whose cursor is at a number."""

    group: ReaderGroup
    epoch: str
    after: int
    frames: list[Frame]
    #: The log's end when it was made.
    made: int


class RunCache:
    """Makes runs, and keeps the latest, because the next reader often needs the same.

    :param render: Makes the frame of all pieces at a number.
    """

    def __init__(self, render: cabc.Callable[[int, list[bytes | Gap]], bytes]) -> None:
        self._render = render
        self._runs: deque[Run] = deque(maxlen=_MAX_RUNS)
        self._long: deque[Run] = deque(maxlen=1)

    def find(self, sub: Subscription) -> list[Frame]:
        """The next frames of a reader that the log reaches. Empty if none is kept."""
        base = 0 if sub.items is None else sub.items.base
        for group, epoch, after, frames, made in chain(self._runs, self._long):
            if group is not sub.group or epoch != sub.epoch:
                continue
            # It may have rows that were unset before the reader's items began (law 30).
            if made < base:
                continue
            if after <= sub.cursor < frames[-1][0]:
                index = bisect_right(frames, sub.cursor, key=number_of)
                # The reader has all frames, and only has to move to the end.
                return frames[index:] if frames[index][1] else []
        return []

    def make(
        self,
        sub: Subscription,
        sources: cabc.Iterable[cabc.Iterable[Piece]],
        reach: int,
        limit: int,
        end: int,
    ) -> list[Frame]:
        """About `limit` bytes of frames from these sources, up to `reach`.

        :param end: The log's.
        """
        frames: list[Frame] = []
        shared = sub.group.members > 1
        for number, same in groupby(merge(*sources, key=number_of), key=number_of):
            pieces = [piece for _, piece in same]
            # A gap, and a frame that excludes a reader, are not shared.
            shared &= not isinstance(pieces[0], (ExcludingFrame, Gap))
            frame = sub.unless_excluded(self._render(number, pieces))
            frames.append((number, frame))
            limit -= len(frame)
            if limit <= 0:
                break
        else:
            if frames:
                frames.append((reach, b""))
        if shared and frames:
            runs = self._long if limit < -_LONG_BYTES else self._runs
            runs.append(Run(sub.group, sub.epoch, sub.cursor, frames, end))
        return frames
