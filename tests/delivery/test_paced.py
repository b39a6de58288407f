"""Law 35: a paced group is written to at most so often, and nothing that it has to get is
left out."""

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

from flask_push._delivery.log import Log
from flask_push._delivery.readers import Readers
from flask_push._delivery.subscription import Subscription

items = st.sampled_from("ab")
three = st.integers(0, 2)


#: What happens to one hub with three readers, of which two are paced.
HAPPENS = st.one_of(
    steps("publish"),
    *[steps("set", items, st.integers(1, 2))] * 2,
    steps("unset", items),
    steps("pass"),
    steps("elsewhere"),
    steps("trim", st.integers(1, 3)),
    steps("forget", st.integers(1, 2)),
    steps("fail", st.integers(0, 3)),
    *[steps("turn", st.integers(1, 9))] * 3,
    *[steps("pace")] * 2,
    steps("link"),
    steps("evict", st.sampled_from([LOG, ITEMS]), st.integers(1, 3)),
    steps("lose"),
    steps("replace"),
    *[steps("connect", three)] * 2,
    steps("cut", three),
    *[steps("deliver", three, st.integers(1, 9))] * 3,
    steps("grant", three, st.booleans()),
    steps("eager", three, st.booleans()),
)


def play(story: t.Sequence[Step], rules: Rules, pushes: bool) -> None:
    """Let this happen, and then everything arrive."""
    world = World(rules, pushes)
    world.add_client(claims=False, every=1)
    world.add_client(claims=True, every=1)
    world.add_client(claims=False)
    for number, (verb, *args) in enumerate(story):
        match verb:
            case "pass":
                world.hubs[0].pass_by(f"t{number}")
            case "connect":
                world.happen(verb, *args, 0)
            case "turn" | "pace" | "evict" | "lose" | "link" | "replace":
                world.happen(verb, 0, *args)
            case _:
                world.happen(verb, *args)
    world.settle()


#: One paced reader that keeps up most of the time.
FOCUS = st.one_of(
    *[steps("publish")] * 2,
    *[steps("set", items, st.integers(1, 2))] * 2,
    steps("unset", items),
    *[steps("pass")] * 2,
    steps("elsewhere"),
    *[steps("turn", st.just(9))] * 3,
    *[steps("pace")] * 3,
    steps("connect", st.just(0)),
    *[steps("deliver", st.just(0), st.just(9))] * 3,
    steps("eager", st.just(0), st.booleans()),
)


@pytest.mark.parametrize("happens", [HAPPENS, FOCUS], ids=["all", "focus"])
def test_paced_readers_get_every_event_and_the_newest_of_each_item(
    happens: st.SearchStrategy[Step],
) -> None:
    search(play, happens, 300)


BEGIN = "connect 0; deliver 0 9; turn 9; pace; "

MUTANTS = [
    Mutant(
        "a new epoch is a gap",
        BEGIN + "fail 0; turn 9; pace",
        "if sub.epoch != log.epoch or not self.reaches(since):",
        "if not self.reaches(since):",
    ),
    Mutant(
        "what the log has dropped is read from the store",
        BEGIN + "publish; turn 9; evict log 1; pace",
        "if sub.epoch != log.epoch or not self.reaches(since):",
        "if sub.epoch != log.epoch:",
    ),
    Mutant(
        "the first turn that waits counts",
        BEGIN + "publish; turn 9; publish; turn 9; pace",
        "        if self.since is None:\n            self.since = start",
        "        self.since = start",
    ),
    Mutant(
        "what was written no longer waits",
        BEGIN + "publish; turn 9; pace; publish; turn 9; pace",
        "        self.since = None\n        self._forget_passing()",
        "        self._forget_passing()",
    ),
    Mutant(
        "a reader that comes to the end while others wait has a place of its own",
        BEGIN + "publish; turn 9; connect 1; deliver 1 9; pace",
        "            self.late[key] = sub",
        "            super().admit(key, sub)",
    ),
    Mutant(
        "14 events that the store does not keep wait too",
        BEGIN + "pass; pace",
        "                self._passing,\n",
        "",
    ),
    Mutant(
        "14 events that the store does not keep are written once",
        BEGIN + "pass; pace; publish; turn 9; pace",
        "        self.since = None\n        self._forget_passing()",
        "        self.since = None",
    ),
    Mutant(
        "14 an event that the store does not keep comes after the one with its number",
        BEGIN + "publish; turn 9; pass; pace",
        "        pieces = list(\n            merge(\n",
        "        pieces = list(\n            merge(\n                self._passing,\n",
    ),
    Mutant(
        "12 a gap is a frame for each reader",
        BEGIN + "publish; publish; publish; link; trim 2; turn 9; turn 9; pace",
        "            if isinstance(frame, Gap):\n"
        "                self.excluded = frozenset()\n"
        "                return None",
        "            if isinstance(frame, Gap):\n                continue",
    ),
    Mutant(
        "the newest of each item is sent",
        BEGIN + "set a 1; set a 2; turn 9; pace",
        "                *known_items(sub, log.end, log.epoch),\n",
        "",
    ),
    Mutant(
        "of each item, only what has changed since is sent",
        BEGIN + "set a 1; turn 9; pace; publish; turn 9; pace",
        "        sub.cursor = since\n        pieces",
        "        pieces",
    ),
    Mutant(
        "10 a reader for which something waits continues after what it has",
        BEGIN + "publish; turn 9; replace",
        "        return end if self.since is None else self.since",
        "        return end",
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.law))
def test_each_rule_of_paced_groups_taken_out_is_missed(mutant: Mutant) -> None:
    is_missed(play, mutant)


def test_a_paced_group_is_noted_when_the_end_has_reached_the_horizon_of_its_items() -> None:
    log = Log(report=lambda *args: None)
    sub = Subscription()
    Readers(log, lambda: 0.0).join(sub, ["a", "b"], every=1)
    log.hold(["a", "b"])
    (group,) = log.turn("epoch", [], 10)
    group.turn = []
    log.take_horizons("epoch", {"a": 20, "b": 21}, [])
    assert log.turn("epoch", [], 19) == []
    # Nothing has come for the group. But its readers need all items.
    assert sub.group in log.turn("epoch", [], 21)
