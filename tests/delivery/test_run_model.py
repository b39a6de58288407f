"""What processes do with one run, in every order."""

from __future__ import annotations

import pytest
from support import run_world
from support.run_world import Rules
from support.run_world import search


def test_a_run_ends_once_and_nothing_is_stored_behind_its_end() -> None:
    found, worlds = search(Rules())
    assert (found, worlds > 3000) == ("", True)


def test_a_run_has_no_hole_after_the_store_has_lost_an_event() -> None:
    found, worlds = search(Rules(), unsure=1, failovers=1)
    assert (found, worlds > 3000) == ("", True)


@pytest.mark.parametrize(
    ("rules", "failovers", "words"),
    [
        (run_world.NoRecord, 0, "written"),
        (run_world.NoPlace, 0, "stored twice"),
        (run_world.NoLast, 1, "not whole"),
        (run_world.NoLook, 0, "over"),
        (run_world.NoId, 0, "two ends"),
        (run_world.EntersWhatRuns, 0, "two holders"),
    ],
)
def test_each_rule_is_needed(rules: type[Rules], failovers: int, words: str) -> None:
    found, _ = search(rules(), failovers=failovers)
    assert words in found
