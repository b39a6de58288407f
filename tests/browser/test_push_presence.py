"""push.presence shows each page who is there, whatever pages, server and browser do
meanwhile. Here, these are fakes at the wire and at the clock: ``tests/clients`` has the
cases in ``presence.mjs``, and ``presence_stories.mjs`` plays what happens by chance."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fake_wire import cases
from support.fake_wire import is_noticed
from support.fake_wire import Mutant
from support.fake_wire import run


@pytest.mark.parametrize("case", cases("presence.mjs"))
def test_the_members_that_a_page_has_are_right_where(case: str) -> None:
    status, said = run("presence.mjs", case)
    assert status == 0, said


def test_no_member_is_missing_or_left_over_in_any_story() -> None:
    status, said = run("presence_stories.mjs", 1, 400)
    assert status == 0, said


@pytest.mark.slow
def test_no_member_is_missing_or_left_over_in_many_stories() -> None:
    status, said = run("presence_stories.mjs", 1000, 20_000)
    assert status == 0, said


STORIES = "1 400"

MUTANTS = [
    Mutant(
        "a page may watch a channel whose events it may not read",
        '_list: "watch"',
        '_list: "channels"',
        "a_channel_that_the_view_only_lets_watch_is_no_error",
        "presence",
    ),
    Mutant(
        "a page that may only watch a channel gets no error",
        "    Object.defineProperties(one, { _denied: { get: () => true, set() {} } });\n",
        "",
        "a_channel_that_the_view_only_lets_watch_is_no_error",
        "presence",
    ),
    Mutant(
        "a page that may not watch a channel gets an error",
        "if (denied && !had)",
        "if (false)",
        "a_channel_that_the_view_does_not_let_watch_is_an_error_once",
        "presence",
    ),
    Mutant(
        "a page that may not watch a channel gets one error",
        "if (denied && !had)",
        "if (denied)",
        "a_channel_that_the_view_does_not_let_watch_is_an_error_once",
        "presence",
    ),
    Mutant(
        "the stream says that a channel has no members",
        '    one.on("push:unset", () => {});\n',
        "",
        "a_channel_without_members_has_an_empty_map",
        "presence",
    ),
    Mutant(
        "a user may have the name that a count has on the wire",
        'type == "push:count" ? COUNTED : item',
        "item",
        "a_user_may_have_any_name",
        "presence",
    ),
    Mutant(
        "a member who leaves has left",
        '_unset: "push:left"',
        '_unset: "push:unset"',
        STORIES,
        "presence",
    ),
    Mutant(
        "those who were there before the page have not joined",
        "if (!had && begun)",
        "if (!had)",
        "a_page_gets_all_members_at_once_and_then_who_joins_and_leaves",
        "presence",
    ),
    Mutant(
        "a member with another info has not joined",
        "if (!had && begun)",
        "if (begun)",
        "another_info_of_a_member_neither_joins_nor_leaves",
        "presence",
    ),
    Mutant(
        "a member who joined and left in one task was not there",
        "} else if (had) {",
        "} else {",
        "changes_in_one_task_are_one_call",
        "presence",
    ),
    Mutant(
        "a count that no longer comes is none",
        "counted = found?.count || 0",
        "counted = found?.count || counted",
        "members_who_left_while_the_page_was_away_have_left",
        "presence",
    ),
    Mutant(
        "listed members count, too",
        "count: members.size + counted",
        "count: counted",
        STORIES,
        "presence",
    ),
    Mutant(
        "the items of a channel are not its members",
        "JSON.stringify([kind._list, channel, options])",
        "JSON.stringify([channel])",
        "a_channel_may_have_events_and_items_too",
        "items",
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.safeguard for mutant in MUTANTS])
def test_a_case_fails_when_a_safeguard_of_presence_is_removed(
    mutant: Mutant, tmp_path: Path
) -> None:
    script = "presence_stories.mjs" if mutant.noticed[0].isdigit() else "presence.mjs"
    is_noticed(mutant, script, tmp_path)
