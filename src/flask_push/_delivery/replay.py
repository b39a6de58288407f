"""How readers that are behind are given what they lack.

A page of history joins the log, which does not reach back to its reader, and stays in it
if the budget allows it. Readers mostly come back together, and were cut off together: those
after the first find the frames put together already, whatever the budget.
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
from .channel import Frame
from .channel import Gap
from .channel import number_of
from .channel import Piece
from .subscription import ChannelSet
from .subscription import Subscription

#: Makes the frame of an event, given the epoch and the number for its id; ``None`` if it
#: can't.
Encode = cabc.Callable[[Entry, str, int], bytes | None]

# Runs that are kept. What somebody reads at a go is several, if much was missed.
_RUNS = 8
# Bytes beyond what was asked for above which a run is long: of such runs, the last is kept.
_LONG = 256 * 1024


def prove(sub: Subscription, page: Page, end: int, frames: Budget) -> dict[str, Proof]:
    """Since when page and log together have each of the reader's channels.

    Empty if we, at `end`, are too far behind the store to tell.
    """
    proofs = {}
    for channel in sub.set.channels:
        since, reason = page.proofs[channel.name]
        if number := channel.lost_until(sub.cursor):
            since, reason = max(since, number), "unknown"
        if since > max(end, sub.cursor):
            return {}
        if since > max(channel.floor, sub.cursor):
            # The store has let go of more than we have, and whoever was at this cursor
            # elsewhere may have been sent on without it. So shall all be.
            frames.drop(channel, since)
        proofs[channel.name] = Proof(since, reason)
    return proofs


def gaps(proofs: cabc.Mapping[str, Proof], after: int, reach: int) -> list[tuple[int, Gap]]:
    """What a reader from `after` has to be told of, up to `reach`: each gap has the
    number since which its channel is whole again (law 12)."""
    return sorted(
        (since, Gap((name,), reason))
        for name, (since, reason) in proofs.items()
        if after < since <= reach
    )


def newest(sub: Subscription, page: Page) -> int:
    """The number of the newest event that a reader, which begins at its cursor with this
    page, is sent before it is live."""
    if page.reach < page.end:
        return page.end
    known = [c.pieces[-1][0] for c in sub.set.channels if len(c)]
    read = [entry.number for entry in page.entries[-1:]]
    since = [proof.since for proof in page.proofs.values()]
    return max(sub.cursor, *known, *read, *since)


def absorb(set: ChannelSet, page: Page, budget: Budget, encode: Encode) -> None:
    """Let the log reach back as far as the page does, if the budget allows it."""
    older: dict[str, tuple[int, int, list[Piece]]] = {}
    for channel in set.channels:
        since = max(page.after, page.proofs[channel.name].since)
        # Readers before it have to be told, and are not filled backwards (law 6).
        since = max([since, *(upto for _, upto in channel.lost if upto <= channel.floor)])
        if since < channel.floor <= page.reach:
            older[channel.name] = since, channel.floor, []
    if not older or not budget.allows(sum(len(entry.data) for entry in page.entries)):
        return
    for entry in page.entries:
        number, _, name, _, _, _ = entry
        if name in older:
            since, upto, pieces = older[name]
            if since < number <= upto:
                frame = encode(entry, page.epoch, number)
                pieces.append((number, frame or Gap((name,), "unknown")))
    for channel in set.channels:
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
    """The page's own part: what it proves, up to each channel's floor."""
    floors = {channel.name: channel.floor for channel in sub.set.channels}
    for entry in page.entries:
        number, _, name, _, _, _ = entry
        if name not in proofs or not sub.cursor < number <= reach:
            continue
        if proofs[name].since < number <= floors[name]:
            frame = encode(entry, page.epoch, number)
            yield number, frame or Gap((name,), "unknown")


def tell(pieces: cabc.Iterable[bytes | Gap], wait: float, position: Position) -> bytes:
    """The frame of gaps at one number.

    Channels that are whole since the same number, the store's oldest, are told of in one
    frame: cut behind the first of two, the second would be lost.
    """
    gaps = [piece for piece in pieces if isinstance(piece, Gap)]
    names = [name for gap in gaps for name in gap.channels]
    return wire.gap(names, gaps[0].reason, wait, position)


class Run(t.NamedTuple):
    """What everybody of a set gets who reads on from a number."""

    set: ChannelSet
    epoch: str
    after: int
    frames: list[Frame]


class Runs:
    """Makes them, and keeps the latest: the next reader mostly wants the same.

    :param render: Makes a frame of what is at a number.
    """

    def __init__(self, render: cabc.Callable[[int, list[bytes | Gap]], bytes]) -> None:
        self._render = render
        self._runs: deque[Run] = deque(maxlen=_RUNS)
        self._long: deque[Run] = deque(maxlen=1)

    def find(self, sub: Subscription) -> list[Frame]:
        """What comes next for a reader whom the log reaches. Empty if it is not known."""
        for set, epoch, after, frames in chain(self._runs, self._long):
            if set is not sub.set or epoch != sub.epoch:
                continue
            if after <= sub.cursor < frames[-1][0]:
                index = bisect_right(frames, sub.cursor, key=number_of)
                # Nothing is left but to come to the end.
                return frames[index:] if frames[index][1] else []
        return []

    def make(
        self,
        sub: Subscription,
        sources: cabc.Iterable[cabc.Iterable[Piece]],
        reach: int,
        limit: int,
    ) -> list[Frame]:
        """About `limit` bytes of what these sources have, up to `reach`."""
        frames: list[Frame] = []
        shared = sub.set.members > 1
        for number, group in groupby(merge(*sources, key=number_of), key=number_of):
            pieces = [piece for _, piece in group]
            # A frame that excludes a reader is not shared.
            shared &= type(pieces[0]) is bytes
            frame = sub.unless_excluded(self._render(number, pieces))
            frames.append((number, frame))
            limit -= len(frame)
            if limit <= 0:
                break
        else:
            if frames:
                frames.append((reach, b""))
        if shared and frames:
            runs = self._long if limit < -_LONG else self._runs
            runs.append(Run(sub.set, sub.epoch, sub.cursor, frames))
        return frames
