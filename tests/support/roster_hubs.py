"""A hub whose streams watch who is present, and pages that know it."""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t
from functools import partial

import pytest

from flask_push import Event
from flask_push._delivery.options import Options
from flask_push._delivery.roster import PRESENT
from flask_push._delivery.snapshot import HubState
from flask_push._delivery.stream_presence import StreamPresence
from flask_push.brokers import Broker
from flask_push.brokers import ItemChange
from flask_push.brokers.memory import MemoryBroker
from support.hubs import Run
from support.hubs import run_scene
from support.hubs import run_with_url
from support.item_hubs import ItemPage
from support.item_hubs import ItemScene
from support.reader import SocketReader

Scenario = cabc.Callable[["RosterScene"], cabc.Coroutine[t.Any, t.Any, None]]
#: By channel, the info of each user.
Members = dict[str, dict[str, t.Any]]


class RosterPage(ItemPage[SocketReader]):
    """What a page knows of the channels that it watches."""

    def __init__(self, reader: SocketReader, watches: tuple[str, ...] = ()) -> None:
        super().__init__(reader)
        self.watches = watches
        self.members: Members = {}
        self.counts: dict[str, int] = {}
        #: The types of what it has got of members, and the users.
        self.told_of: list[tuple[str, str]] = []

    def _take(self, event: Event) -> None:
        super()._take(event)
        if event.type == "push:items":
            for channel in event.json.get("watch", ()):
                self.members.pop(channel, None)
                self.counts.pop(channel, None)
        if event.type not in ("push:joined", "push:left", "push:count"):
            return
        data = event.json
        channel, user = data["channel"], data.get("user", "")
        assert event.channel == channel
        self.told_of.append((event.type, user))
        members = self.members.setdefault(channel, {})
        if event.type == "push:joined":
            members[user] = data["info"]
        elif event.type == "push:left":
            members.pop(user, None)
        else:
            self.counts[channel] = data["count"]


class RosterScene(ItemScene):
    def enter(self, channel: str, *items: str, info: t.Any = 1) -> None:
        """Store rows as hubs do."""
        change = ItemChange(channel, "", json.dumps(info), kind=PRESENT, owner="hub")
        self.store.change([change._replace(item=item) for item in items])

    def exit(self, channel: str, *items: str) -> None:
        self.store.change([ItemChange(channel, item, None, kind=PRESENT) for item in items])

    def present(self, channel: str) -> dict[str, list[str]]:
        """Who is present on a channel, as :meth:`knows` takes it."""
        rows = self.store.read_items([channel], kind=PRESENT).rows
        users = {row.item.partition(".")[2]: None for row in rows}
        return {channel: [*users]} if users else {}

    def watch(self, *watch: str, channels: tuple[str, ...] = ("a",), **how: t.Any) -> t.Any:
        reader = self.adopt(*channels, **self._watching(watch, how))
        return RosterPage(reader, watch)

    def watch_again(self, page: RosterPage, *watch: str, **how: t.Any) -> None:
        self.again(page, "a", **self._watching(watch, how))

    @staticmethod
    def _watching(watch: tuple[str, ...], how: dict[str, t.Any]) -> dict[str, t.Any]:
        return {**how, "presence": StreamPresence(watch=watch)}

    async def knows(self, page: RosterPage, **members: list[str]) -> None:
        """Wait until a page knows that exactly these users are present."""

        def meets() -> bool:
            known = page.look().members
            return {name: [*users] for name, users in known.items() if users} == members

        await self.until(page, meets)

    async def is_true(self, page: RosterPage) -> None:
        """Wait until a page knows what the store has."""

        def meets() -> bool:
            page.look()
            return bool(page.whole) and all(
                (page.members.get(name, {}), page.counts.get(name, 0)) == self.truth(name)
                for name in page.watches
            )

        await self.until(page, meets)

    def truth(self, channel: str) -> tuple[dict[str, t.Any], int]:
        """The info of those who are present, and how many are counted."""
        rows = self.store.read_items([channel], kind=PRESENT).rows
        found = [(*row.item.partition(".")[1:], json.loads(row.data)) for row in rows]
        members = {user: info for dot, user, info in found if dot}
        return members, sum(info for dot, _, info in found if not dot)

    def replace(self, older: bool = False) -> None:
        """Let another hub take over.

        :param older: Whether the first one hands over no rosters.
        """
        state = self.hub.freeze()
        self.hub = self.make_hub(HubState(*state[:3]) if older else state)


@pytest.fixture
def run(url: str) -> Run:
    """Runs a scenario with each store."""
    return partial(run_with_url, run_with, url)


def run_with(test: Scenario, broker: Broker, **options: t.Any) -> None:
    run_scene(lambda: RosterScene(t.cast(MemoryBroker, broker), Options(**options)), test)
