"""Laws 25 to 33, held by Hypothesis against :mod:`items_world`."""

from __future__ import annotations

import typing as t

import pytest
from hypothesis import strategies as st
from support.item_stories import is_missed
from support.item_stories import Mutant
from support.item_stories import search
from support.item_stories import Step
from support.item_stories import steps
from support.item_stories import tell
from support.item_stories import World
from support.items_store import ITEMS
from support.items_store import LOG
from support.items_world import Rules

two = st.integers(0, 1)
items = st.sampled_from("abc")


#: Everything that can happen.
ALL = st.one_of(
    steps("publish"),
    *[steps("set", items, st.integers(1, 2))] * 2,
    steps("unset", items),
    steps("elsewhere"),
    steps("trim", st.integers(1, 3)),
    steps("forget", st.integers(1, 2)),
    steps("fail", st.integers(0, 3)),
    steps("turn", two, st.integers(1, 4)),
    steps("turn", two, st.integers(4, 9)),
    steps("link", two),
    steps("evict", two, st.sampled_from([LOG, ITEMS]), st.integers(1, 3)),
    steps("lose", two),
    steps("restart", two),
    steps("replace", two),
    *[steps("connect", two, two)] * 2,
    steps("cut", two),
    steps("deliver", two, st.integers(1, 3)),
    steps("deliver", two, st.integers(3, 9)),
    steps("grant", two, st.booleans()),
    steps("eager", two, st.booleans()),
)
#: One hub, and items alone.
FOCUS = st.one_of(
    steps("set", st.sampled_from("ab"), st.integers(1, 2)),
    steps("unset", st.sampled_from("ab")),
    steps("forget", st.just(2)),
    steps("turn", st.just(0), st.integers(1, 9)),
    steps("evict", st.just(0), st.just(ITEMS), st.integers(1, 3)),
    steps("link", st.just(0)),
    steps("lose", st.just(0)),
    steps("connect", two, st.just(0)),
    steps("cut", two),
    steps("deliver", two, st.integers(1, 9)),
)
#: Readers that go from one hub to the other.
HUBS = st.one_of(
    *[steps("set", st.sampled_from("ab"), st.integers(1, 2))] * 2,
    steps("unset", st.sampled_from("ab")),
    steps("publish"),
    steps("forget", st.just(2)),
    *[steps("turn", two, st.integers(1, 3))] * 2,
    steps("evict", two, st.just(ITEMS), st.integers(1, 3)),
    *[steps("connect", two, two)] * 2,
    *[steps("deliver", two, st.integers(1, 4))] * 2,
)


def play(story: t.Sequence[Step], rules: Rules, pushes: bool) -> None:
    """Let this happen, and then everything arrive."""
    world = World(rules, pushes, hubs=2)
    world.add_client(claims=False)
    world.add_client(claims=True)
    for step in story:
        world.happen(*step)
    world.settle()


@pytest.mark.parametrize("happens", [ALL, FOCUS, HUBS], ids=["all", "focus", "hubs"])
def test_readers_get_all_items_and_every_change(
    happens: st.SearchStrategy[Step],
) -> None:
    search(play, happens, 400)


MUTANTS = [
    Mutant(
        "27 what the log has is dropped when the horizon is beyond its end",
        "set b 2; turn 0 3; set a 1; unset b; unset a; forget 2",
        "        self._budget.drop(channel.items, number)\n        self._risen",
        "        self._risen",
        False,
    ),
    Mutant(
        "27 live readers below the horizon get all items",
        "set b 2; connect 1 1; deliver 1 3; turn 1 8; unset b; deliver 1 4; set a 1; "
        "forget 2",
        "self._risen.append(channel)",
        "pass",
        False,
    ),
    Mutant(
        "27 readers that are behind and below the horizon get all items",
        "set b 2; set a 2; connect 1 0; deliver 1 3; deliver 1 2; turn 0 5; unset b; "
        "unset a; forget 2",
        "return horizon > max(sub.cursor, base)",
        "return False",
        False,
    ),
    Mutant(
        "25 a row that is lost is noticed",
        "connect 0 0; set a 1; turn 0 9; deliver 0 9; set a 2; set b 1; lose 0",
        "if prev > items.last and prev > self.proved and not final:",
        "if False:",
        True,
    ),
    Mutant(
        "28 a position does not say that its page has the items",
        "connect 1 0; deliver 1 2; connect 1 0",
        "        # A position alone does not say",
        '        return "" if position else "all"\n        # A position alone does not say',
        False,
    ),
    Mutant(
        "28 a page holds the items of exactly its channels",
        "set a 1; turn 0 9; grant 1 0; connect 1 0; deliver 1 9; grant 1 1; connect 1 0",
        "sub.holds == word",
        "sub.holds",
        False,
    ),
    Mutant(
        "29 all items have the position at which the reader resumes",
        "set a 1; set b 2; publish; turn 1 5; connect 1 1; deliver 1 4; connect 1 0",
        "wire.one_of_all(position, piece.tail)",
        "wire.change(str(Position(log.epoch, piece.number)), piece.tail)",
        False,
    ),
    Mutant(
        "30 all items begin when the end has reached the position",
        "set a 1; turn 0 9; turn 1 9; connect 0 0; deliver 0 9; set b 1; turn 0 9; "
        "deliver 0 9; connect 0 1; deliver 0 9",
        "if log.proved < place.position:",
        "if False:",
        False,
    ),
    Mutant(
        "30 the horizon is compared with the base",
        "connect 0 1; deliver 0 8; set a 1; unset a; set b 1; forget 2",
        "return horizon > max(sub.cursor, base)",
        "return horizon > sub.cursor",
        False,
    ),
    Mutant(
        "30 no bytes from before the base are used",
        "connect 1 0; deliver 1 2; set a 2; connect 0 0; deliver 0 1; turn 0 3; "
        "unset a; deliver 0 8; set b 2; forget 2",
        "if made < base:",
        "if False:",
        False,
    ),
    Mutant(
        "32 all items are no newer than the position",
        "set a 1; turn 0 9; turn 1 9; connect 0 0; deliver 0 9; set a 2; turn 1 9; "
        "connect 0 1; deliver 0 3; connect 0 0; deliver 0 9",
        "_known(sub, place.position)",
        "_known(sub, place.base)",
        False,
    ),
    Mutant(
        "32 all items that are read are no newer than the position",
        "set a 1; turn 0 9; turn 1 9; connect 0 0; deliver 0 9; evict 1 items 3; "
        "set a 2; turn 1 9; evict 1 items 3; connect 0 1; deliver 0 3; connect 0 0; "
        "deliver 0 9",
        "min(page.reach, place.position)",
        "min(page.reach, place.base)",
        False,
    ),
    Mutant(
        "33 after a new epoch come all items",
        "fail 0; connect 1 0; deliver 1 3",
        "            if sub.asks_for_items or sub.group.has_items():\n"
        "                begin_items(sub)",
        "            pass",
        False,
    ),
    Mutant(
        "33 a page with the items of another epoch gets all items",
        "connect 0 0; set a 1; turn 0 9; deliver 0 9; fail 1; restart 0",
        "unsure = log.horizons.known and (known or end > log.end)",
        "unsure = False",
        False,
    ),
    Mutant(
        "10 a reader in the middle of all items continues there",
        "set a 1; set b 1; turn 0 9; connect 0 0; deliver 0 3; replace 0",
        "return cls(position, base, bool(sending)), cursor",
        "return cls(position, position, False), position",
        False,
    ),
    Mutant(
        "unsets are not among all items",
        "set a 1; unset a; turn 0 9; connect 0 0",
        "(piece for piece in rows if piece.living)",
        "rows",
        False,
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.law))
def test_each_law_of_items_taken_out_is_missed(mutant: Mutant) -> None:
    is_missed(play, mutant)


def test_rows_that_a_feed_has_skipped_are_not_replaced_by_older_ones() -> None:
    story = (
        "set a 1; turn 1 2; set a 2; turn 0 1; connect 0 0; deliver 0 3; publish; "
        "connect 0 1; unset a; turn 1 1; deliver 0 7"
    )
    tell(play, story, Rules(), pushes=False)


def test_all_rows_before_a_lost_one_may_be_lost() -> None:
    story = (
        "publish; set b 2; publish; set c 2; publish; turn 0 3; set b 2; set b 2; "
        "lose 0; lose 0"
    )
    tell(play, story, Rules(), pushes=True)


def test_the_first_item_may_be_before_the_position_of_a_reader() -> None:
    tell(
        play,
        "connect 0 0; set a 1; turn 0 9; deliver 0 2; connect 0 1; deliver 0 2",
        Rules(),
        pushes=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("happens", [ALL, FOCUS, HUBS], ids=["all", "focus", "hubs"])
def test_very_many_interleavings_keep_the_promise_of_items(
    happens: st.SearchStrategy[Step],
) -> None:
    search(play, happens, 20_000)
