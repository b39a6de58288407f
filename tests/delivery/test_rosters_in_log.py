"""Readers that watch a roster, held by Hypothesis against :mod:`rosters_world`."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import strategies as st
from support.item_stories import is_missed
from support.item_stories import Mutant
from support.item_stories import search
from support.item_stories import Step
from support.item_stories import steps
from support.item_stories import World
from support.items_store import ITEMS
from support.items_store import LOG
from support.items_world import Rules
from support.rosters_world import RostersClient
from support.rosters_world import RostersHub
from support.rosters_world import RostersStore

two = st.integers(0, 1)
members = st.sampled_from(["A.ada", "B.ada", "A.bob", "A"])


class RostersWorld(World):
    """Two hubs, and clients that watch the roster."""

    store: RostersStore
    hubs: list[RostersHub]
    clients: list[RostersClient]  # type: ignore[assignment]

    def __init__(self, rules: Rules, pushes: bool) -> None:
        self.store = RostersStore()
        self.hubs = [RostersHub(self.store, rules, pushes) for _ in range(2)]
        self.clients = [
            RostersClient(self.store, claims=False),
            RostersClient(self.store, claims=True),
            RostersClient(self.store, claims=True, every=1),
        ]

    def happen(self, verb: str, *args: t.Any) -> None:
        match verb, args:
            case "enter", (item, value):
                self.store.enter(item, str(value))
            case "exit", (item,):
                self.store.enter(item, None)
            case "read", (hub,):
                self.hubs[hub].read()
            case "watch", (client, watches):
                self.clients[client].cut()
                self.clients[client].watches = bool(watches)
            case _:
                super().happen(verb, *args)

    def settle(self) -> None:
        for client in self.clients:
            if client.hub is None:
                client.connect(self.hubs[0])
        for _ in range(60):
            for hub in self.hubs:
                hub.turn(9)
                hub.read()
                hub.pace()
            for client in self.clients:
                client.deliver(9)
        super().settle()
        for client in self.clients:
            client.check()


#: Everything that can happen.
ALL = st.one_of(
    steps("publish"),
    steps("set", st.sampled_from("ab"), st.integers(1, 2)),
    *[steps("enter", members, st.integers(1, 2))] * 3,
    *[steps("exit", members)] * 2,
    steps("elsewhere"),
    steps("trim", st.integers(1, 3)),
    steps("forget", st.integers(1, 2)),
    steps("fail", st.integers(0, 3)),
    steps("turn", two, st.integers(1, 4)),
    *[steps("turn", two, st.integers(4, 9))] * 2,
    *[steps("read", two)] * 3,
    steps("link", two),
    steps("evict", two, st.sampled_from([LOG, ITEMS]), st.integers(1, 3)),
    steps("lose", two),
    steps("restart", two),
    steps("replace", two),
    *[steps("connect", st.integers(0, 2), two)] * 2,
    steps("cut", st.integers(0, 2)),
    steps("pace", two),
    steps("deliver", st.integers(0, 2), st.integers(1, 3)),
    *[steps("deliver", st.integers(0, 2), st.integers(3, 9))] * 2,
    steps("watch", st.integers(0, 2), st.booleans()),
    steps("eager", st.integers(0, 2), st.booleans()),
)
#: One hub, and the roster alone.
FOCUS = st.one_of(
    *[steps("enter", members, st.integers(1, 2))] * 2,
    *[steps("exit", members)] * 2,
    steps("forget", st.just(2)),
    steps("turn", st.just(0), st.integers(1, 9)),
    *[steps("read", st.just(0))] * 2,
    steps("link", st.just(0)),
    steps("lose", st.just(0)),
    steps("replace", st.just(0)),
    steps("connect", two, st.just(0)),
    steps("cut", two),
    steps("deliver", two, st.integers(1, 9)),
)
#: Readers that go from one hub to the other.
HUBS = st.one_of(
    *[steps("enter", members, st.integers(1, 2))] * 2,
    *[steps("exit", members)] * 2,
    steps("publish"),
    steps("forget", st.just(2)),
    *[steps("turn", two, st.integers(1, 3))] * 2,
    *[steps("read", two)] * 2,
    *[steps("connect", two, two)] * 2,
    *[steps("deliver", two, st.integers(1, 9))] * 3,
)
KINDS = pytest.mark.parametrize("happens", [ALL, FOCUS, HUBS], ids=["all", "focus", "hubs"])


def play(story: t.Sequence[Step], rules: Rules, pushes: bool) -> None:
    """Let this happen, and then everything arrive."""
    world = RostersWorld(rules, pushes)
    for step in story:
        world.happen(*step)
    world.settle()


@KINDS
def test_readers_get_who_is_there_and_every_change(
    happens: st.SearchStrategy[Step],
) -> None:
    search(play, happens, 300)


MUTANTS = [
    Mutant(
        "25 a row that is lost is noticed",
        "connect 0 0; turn 0 9; enter A.ada 1; enter A.bob 1; lose 0",
        "if entry.prev > max(whole.last, roster.horizon, proved):",
        "if False:",
    ),
    Mutant(
        "25 a row that is lost while the members are read is noticed",
        "enter A.ada 1; turn 0 9; connect 0 0; turn 0 1; read 0; "
        "enter A.bob 1; enter B.ada 2; lose 0; turn 0 9; read 0",
        "return self._lacks <= self._since",
        "return True",
    ),
    Mutant(
        "27 rows that are behind a hole are read again",
        "connect 0 0; turn 0 9; deliver 0 9; enter A.ada 1; publish; trim 1",
        "        self.rosters.lose_all()\n        for name, number",
        "        for name, number",
        False,
    ),
    Mutant(
        "25 unsets that were forgotten before they arrived are noticed",
        "enter A.ada 1; connect 0 0; turn 0 9; read 0; read 0; exit A.ada; "
        "enter A.bob 1; forget 2; link 0",
        "            elif horizons[name] > end:\n                self.lose(roster)",
        "            elif False:\n                pass",
        False,
    ),
    Mutant(
        "52 what was unset before the members were read is sent when it arrives",
        "enter B.ada 1; enter A.ada 2; turn 0 9; turn 1 9; connect 1 0; "
        "turn 0 9; read 0; read 0; deliver 1 9; connect 0 1; turn 1 9; "
        "exit A.ada; read 1; read 1; connect 1 1; deliver 1 9; turn 1 9",
        "if now == before and row.number > self.sure:",
        "if now == before:",
    ),
    Mutant(
        "52 a row that has arrived is newer than an older one that is read later",
        "enter A.ada 1; turn 0 9; connect 0 0; turn 0 1; read 0; "
        "enter A.ada 2; turn 0 9; read 0",
        "if known is None or known.number < row.number:\n"
        "            self._rows[row.item] = row",
        "if True:\n            self._rows[row.item] = row",
    ),
    Mutant(
        "25 a reader gets no member before the log has reached the row",
        "enter A.ada 1; turn 0 9; connect 0 0; turn 0 9; enter A.bob 1; "
        "enter A.cyd 1; read 0; read 0; read 0; deliver 0 9; eager 0 0; "
        "turn 0 1; deliver 0 9",
        "roster.is_watched and roster.reading.newest <= end",
        "roster.is_watched",
    ),
    Mutant(
        "10 the numbers of members may change when a hub is replaced",
        "connect 1 0; turn 0 9; enter B.ada 1; enter A.ada 2; enter A.bob 1; "
        "exit A.ada; turn 0 9; connect 0 0; deliver 0 3; replace 0",
        "if sub.group.rosters and sub.items is not None and sub.items.sending:",
        "if False:",
    ),
    Mutant(
        "27 the members that were read are no news for older positions",
        "enter A.ada 1; turn 0 9; connect 1 0; turn 0 9; read 0; read 0; "
        "deliver 1 9; exit A.ada; turn 1 9; connect 1 1; turn 1 9; read 1; "
        "read 1; deliver 1 9",
        "self.items, self.horizon = ItemLog(0, whole=True), end",
        "self.items, self.horizon = ItemLog(0, whole=True), 0",
    ),
    Mutant(
        "30 a page of items has no members, and they come with it",
        "enter A.ada 1; set a 1; turn 0 9; evict 0 items 3; connect 0 0; "
        "turn 0 9; read 0; read 0; deliver 0 9",
        "return reach, merge(pieces, *living, key=_number_of)",
        "return reach, pieces",
    ),
    Mutant(
        "27 changes of members come to readers that are behind",
        "connect 0 0; turn 0 9; deliver 0 9; eager 0 0; enter A.ada 1; "
        "turn 0 9; deliver 0 9",
        "        for channel in sub.group.with_items\n",
        "        for channel in sub.group.channels\n",
    ),
    Mutant(
        "28 a reader begins with all members",
        "enter A.ada 1; connect 0 0; turn 0 9; read 0; read 0; deliver 0 9",
        "[c.items for c in sub.group.with_items if",
        "[c.items for c in sub.group.channels if",
    ),
    Mutant(
        "25 rows that arrive before the feed watches prove nothing",
        "enter A.ada 1; exit A.ada; enter A.bob 1; forget 2; connect 0 0; turn 0 1; link 0",
        "if roster is None or not roster.is_watched or entry.prev is None:",
        "if roster is None or entry.prev is None:",
    ),
    Mutant(
        "33 a new epoch has other members",
        "enter A.ada 1; enter A.bob 1; connect 0 0; turn 0 9; read 0; read 0; "
        "deliver 0 9; fail 1; publish; publish",
        "        self.rosters.lose_all()\n        for channel",
        "        for channel",
    ),
    Mutant(
        "25 only a store without rows is not read",
        "enter A.ada 1; turn 0 9; connect 0 0",
        "roster.reading.is_done = name in without",
        "roster.reading.is_done = True",
    ),
    Mutant(
        "30 members that are sent again have the position of the reader's logs",
        "enter A.ada 1; enter A.bob 1; publish; connect 0 0; turn 0 9; read 0; "
        "read 0; deliver 0 3; enter A.cyd 1; enter A.dan 1; lose 0; turn 0 9; "
        "read 0; read 0; read 0; deliver 0 9",
        "                sub.cursor = sub.items.position\n            begin_items(sub)",
        "                pass\n            begin_items(sub)",
    ),
    Mutant(
        "31 a reader waits for members that are read again",
        "enter A.ada 1; connect 0 0; turn 0 9; read 0; read 0; deliver 0 9; "
        "enter A.bob 1; enter A.cyd 1; lose 0; turn 0 9; connect 1 0; "
        "deliver 1 9",
        "        if sub.group.lacks_rosters:\n            return None\n        place.base",
        "        place.base",
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.law))
def test_each_rule_of_rosters_taken_out_is_missed(mutant: Mutant) -> None:
    is_missed(play, mutant)


@pytest.mark.slow
@KINDS
def test_very_many_interleavings_keep_the_promise_of_rosters(
    happens: st.SearchStrategy[Step],
) -> None:
    search(play, happens, 20_000)
