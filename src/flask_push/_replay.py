"""How a page of history joins the log, for a reader whom the log does not reach."""

from __future__ import annotations

import collections.abc as cabc

from ._channel import Budget
from ._channel import Gap
from ._channel import Piece
from ._channel import Subscription
from ._event import Entry
from ._event import Page
from ._event import Proof

#: Makes the frame of an event, given the epoch and the number for its id; ``None`` if it
#: can't.
Encode = cabc.Callable[[Entry, str, int], bytes | None]


def prove(sub: Subscription, page: Page, end: int, frames: Budget) -> dict[str, Proof]:
    """Since when page and log together have each of the reader's channels.

    Empty if we, at `end`, are too far behind the store to tell.
    """
    proofs = {}
    for channel in sub.set.channels:
        since, reason = page.proofs[channel.name]
        after, upto = channel.lost
        if after < sub.cursor < upto <= channel.floor:
            since, reason = max(since, upto), "unknown"
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
        number, _, name, _, _ = entry
        if name not in proofs or not sub.cursor < number <= reach:
            continue
        if proofs[name].since < number <= floors[name]:
            frame = encode(entry, page.epoch, number)
            yield number, frame or Gap((name,), "unknown")
