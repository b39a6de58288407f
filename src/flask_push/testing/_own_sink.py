"""The sink in the tests of brokers that keep logs of Flask-Push's own."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t

from .._event import Entry
from .._event import Page
from ..brokers import OWN_LOGS
from ..brokers import OwnEntry
from ..brokers import OwnPage
from ._sink import RecordingSink


class OwnRecordingSink(RecordingSink):
    """Also records the own logs that a feed gives it, and checks what must hold."""

    def __init__(self, *args: t.Any) -> None:
        #: The pages of each epoch, by log.
        self.pages: dict[tuple[str, str], list[OwnPage]] = {}
        #: By call of the feed: the epoch, the number up to which the own logs had to be
        #: given, and how many pages of each log had been given.
        self._reached: list[tuple[str, int, dict[str, int]]] = []
        super().__init__(*args)

    def own(self, log: str, page: OwnPage) -> None:
        numbers = [entry.number for entry in page.entries]
        first, last = min(numbers, default=page.end), max(numbers, default=page.end)
        self.expect(numbers == sorted(set(numbers)), "out of order")
        self.expect(not numbers or page.since < first, "from before the page begins")
        self.expect(last <= page.end, "from after the page ends")
        self.expect(page.since <= page.end, "backwards")
        pages = self.pages.setdefault((page.epoch, log), [])
        self.expect(not pages or pages[-1].end <= page.end, "backwards")
        pages.append(page)

    def deliver(self, epoch: str, entries: cabc.Sequence[Entry], end: int | None) -> None:
        numbers = [entry.number - 1 for entry in entries]
        self._reach(epoch, max([*numbers, 0 if end is None else end]))
        super().deliver(epoch, entries, end)

    def missed(self, end: int) -> None:
        self._reach(self.epoch, end)
        super().missed(end)

    async def read(self, *channels: str, **where: int) -> Page:
        found: asyncio.Future[Page] = asyncio.get_running_loop().create_future()

        def answer(page: Page) -> None:
            self._reach(page.epoch, page.reach)
            found.set_result(page)

        self.feed.read(channels, answer, **where)
        return await asyncio.wait_for(found, 10)

    def _reach(self, epoch: str, number: int) -> None:
        for log in OWN_LOGS:
            given = bool(self.pages.get((epoch, log)))
            self.expect(given, "delivered before the own logs")
        counts = {log: len(self.pages[epoch, log]) for log in OWN_LOGS}
        self._reached.append((epoch, number, counts))

    def entries_of(self, log: str) -> list[OwnEntry]:
        """Those of the epoch that it has."""
        pages = self.pages.get((self.epoch, log), [])
        return sorted({entry for page in pages for entry in page.entries})

    def check(self, log: str, numbers: cabc.Iterable[int]) -> None:
        """Each entry of this epoch was given in time, or a page says that it had expired.

        :param numbers: Of all that were ever appended to the log.
        """
        expected = sorted(numbers)
        pages = self.pages[self.epoch, log]
        for epoch, reached, counts in self._reached:
            if epoch != self.epoch:
                continue
            before = pages[: counts[log]]
            given = {entry.number for page in before for entry in page.entries}
            for number in expected:
                if number > reached:
                    break
                assert number in given or self._is_expired(number, before), (
                    "it was given too late"
                )

    def _is_expired(self, number: int, pages: list[OwnPage]) -> bool:
        """Whether a page says that entries up to it have expired, that were not given."""
        end = 0
        for page in pages:
            if end < number <= page.since:
                return True
            end = page.end
        return False
