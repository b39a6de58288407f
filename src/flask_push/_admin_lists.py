"""What the admin page lists: streams and channels of this machine, and active runs."""

from __future__ import annotations

import collections.abc as cabc
import heapq
import typing as t
from dataclasses import replace
from functools import partial

from ._hub.thread import ThreadDoor
from ._ipc.active_runs import active_runs
from ._ipc.files import HubFiles
from ._ipc.listing_protocol import ChannelPage
from ._ipc.listing_protocol import ListChannels
from ._ipc.listing_protocol import ListStreams
from ._ipc.listing_protocol import StreamPage
from ._ipc.status import channels_of
from ._ipc.status import streams_of
from ._state import Services
from .brokers import KeepsRuns
from .brokers import NotRead

#: Streams, channels and runs that are shown.
MOST = 50
# Pages of a hub that are read for one list. More streams than on these are not looked at.
_MOST_PAGES = 60


class Hub(t.NamedTuple):
    """How a hub of this machine is asked."""

    streams: cabc.Callable[[ListStreams], StreamPage]
    channels: cabc.Callable[[ListChannels], ChannelPage]


def hubs_of(services: Services, all_files: cabc.Iterable[HubFiles]) -> list[Hub]:
    """The hubs of this machine, or the one of this process if it is a thread."""
    door = services.hub
    if isinstance(door, ThreadDoor):
        # It answers each question with its own kind of page.
        return [Hub(t.cast(t.Any, door.listed), t.cast(t.Any, door.listed))]
    return [Hub(partial(streams_of, f), partial(channels_of, f)) for f in all_files]


class Lists:
    """Lists of these hubs. What can't be listed is a sentence in ``problems``."""

    def __init__(self, hubs: cabc.Sequence[Hub]) -> None:
        self._hubs = [*hubs]
        self.problems: list[str] = []

    def streams(self, user: str | None, channel: str | None) -> dict[str, t.Any]:
        """The streams that match, without their sessions: one may be what proves a login.
        A page needs only to know whether there is one."""
        rows, matching = list[dict[str, t.Any]](), 0
        asked = ListStreams(user=user, channel=channel)
        for page in self._pages(asked, lambda: MOST - len(rows)):
            matching += page.matching
            for row in page.streams:
                rows.append({**row, "session": row.get("session") is not None})
        return {"streams": rows, "more": matching - len(rows)}

    def channels(self) -> list[tuple[str, int]]:
        """The channels that have the most readers."""
        found: dict[str, int] = {}
        for page in self._pages(ListChannels(), lambda: MOST):
            for name, readers in page.channels:
                found[name] = found.get(name, 0) + readers
        return heapq.nlargest(MOST, found.items(), key=lambda pair: pair[1])

    def session_of(self, id: str) -> str | None:
        """The session of the stream with this public id."""
        for page in self._pages(ListStreams(id=id), lambda: MOST):
            for row in page.streams:
                # A longer name is not whole.
                return None if row.get("cut") else row.get("session")
        return None

    def _pages(
        self, asked: ListStreams | ListChannels, most: cabc.Callable[[], int]
    ) -> cabc.Iterator[t.Any]:
        """The pages of all hubs. One that does not answer is asked no more, so that a
        request waits for it once."""
        for hub in [*self._hubs]:
            try:
                yield from self._pages_of(hub, asked, most)
            except OSError as error:
                self._note(f"A hub of this machine could not be asked: {error}.")
                self._hubs.remove(hub)

    def _pages_of(
        self, hub: Hub, asked: ListStreams | ListChannels, most: cabc.Callable[[], int]
    ) -> cabc.Iterator[t.Any]:
        ask: t.Any = hub.streams if isinstance(asked, ListStreams) else hub.channels
        after = asked.after
        for _ in range(_MOST_PAGES):
            page = ask(replace(asked, after=after, most=most()))
            yield page
            if page.next is None:
                return
            after = page.next
        self._note("There are more streams than this page looks at.")

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def runs(self, services: Services) -> list[dict[str, t.Any]]:
        """The runs of the store that are active."""
        if not isinstance(services.broker, KeepsRuns):
            return []
        try:
            found = active_runs(services.broker, MOST)
        except NotRead as error:
            self._note(str(error))
            return []
        return [
            {
                **{"channel": channel, "run": record.run, "key": record.key},
                **{"status": record.status, "attempt": record.attempt},
            }
            for channel, record in found
        ]
