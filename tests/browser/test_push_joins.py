"""Each subscription of push.js gets all events after its start, whatever pages, server and
browser do meanwhile. Here, these are fakes at the wire and at the clock, so that a million
events take a minute; `test_push_js` tests the same in real browsers."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.fake_wire import cases
from support.fake_wire import is_noticed
from support.fake_wire import Mutant
from support.fake_wire import run


@pytest.mark.parametrize("case", cases("cases.mjs"))
def test_push_js_keeps_its_promise_where(case: str) -> None:
    status, said = run("cases.mjs", case)
    assert status == 0, said


def test_every_subscription_gets_its_events_once_and_in_order_or_a_gap() -> None:
    status, said = run("joins.mjs", 1, 400)
    assert status == 0, said


@pytest.mark.slow
def test_every_subscription_gets_its_events_in_many_runs() -> None:
    status, said = run("joins.mjs", 1000, 20_000)
    assert status == 0, said


RUNS = "1 600"

MUTANTS = [
    Mutant(
        "what a subscription had is not given to it again",
        "!_live || !one._items && (ahead < 0 || ahead == 0 && first)",
        "!_live",
        RUNS,
    ),
    Mutant(
        "the event at its position is one that it had",
        " || ahead == 0 && first",
        "",
        "events_before_the_page_s_position_are_not_repeated",
    ),
    Mutant(
        "of several events at one position only the first is kept",
        "ahead == 0 && first",
        "ahead == 0",
        "events_that_are_not_stored_arrive_once_and_leave_nothing_behind",
    ),
    Mutant(
        "what was published before it was made is old",
        "one._end = end;\n",
        "\n",
        "a_later_subscription_gets_only_later_events",
    ),
    Mutant(
        "what was published while it was asked for is new",
        "1e3 * Math.max(0, said.when - one._made)",
        "0",
        "a_later_subscription_gets_only_later_events",
    ),
    Mutant(
        "no time before the end of the replay is none",
        "1e3 * Math.max(0, said.when - one._made)",
        "1e3 * (said.when - one._made)",
        "a_hub_whose_clock_is_ahead_holds_back_no_new_event",
    ),
    Mutant(
        "it begins where its page is, and not where its connection does",
        "one._at = since || head;",
        'one._at = since || "";',
        "events_during_the_replacement_of_a_connection_reach_every_page",
    ),
    Mutant(
        "it tells the line where it begins",
        "since: view._needed(),",
        "",
        "events_during_the_replacement_of_a_connection_reach_every_page",
    ),
    Mutant(
        "a line that began too late for it is sent back",
        " && !(compare(from || at, one._at) > 0)",
        "",
        RUNS,
    ),
    Mutant(
        "a line that lacks a channel gives none of it",
        "one._live = asked.includes(channel) &&",
        "one._live =",
        RUNS,
    ),
    Mutant(
        "a line goes back for who begins before it",
        "compare(since, id) < 0",
        "false",
        "a_subscription_begins_at_its_own_since",
    ),
    Mutant(
        "a line does not go to another epoch's position",
        "compare(since, id) < 0",
        "!(compare(since, id) >= 0)",
        "an_old_store_s_position_is_a_gap_of_its_page_alone",
    ),
    Mutant(
        "a page learns that its epoch is over when the line has known it for long",
        "isNaN(compare(at, had))",
        "false",
        "an_old_store_s_position_is_a_gap_of_its_page_alone",
    ),
    Mutant(
        "a page has a place as soon as the line has one",
        "one._at ||= at;",
        "",
        "1523 1",
    ),
    Mutant(
        "a place in an epoch that is over is one",
        "head = at || from;",
        "head = at || head;",
        "10872 1",
    ),
    Mutant(
        "a place on a line that is no more is none",
        'if (state == "closed") view._reset("");',
        "",
        "a_page_without_subscriptions_for_a_while_misses_nothing",
    ),
    Mutant(
        "a new line is told where all are",
        "const start = () => {\n    view._reset();",
        "const start = () => {",
        "a_second_page_begins_where_the_connection_is",
    ),
    Mutant(
        "when it was made matters until it has a connection, and no longer",
        "          one._made = 0;\n",
        "",
        "a_clock_that_was_set_back_hides_no_silence",
    ),
    Mutant(
        "a gap that a page had is not told again",
        "ahead < 0 || ahead == 0 && first",
        "ahead < 0",
        "a_page_gets_a_gap_only_once",
    ),
    Mutant(
        "an older link is not listened to",
        "(said) => mine == joined && hear(said)",
        "(said) => hear(said)",
        "messages_of_an_older_connection_are_ignored",
    ),
    Mutant(
        "the clock may be set back",
        "if (silent < 0) heard = Date.now();",
        "",
        "a_clock_that_was_set_back_hides_no_silence",
    ),
    Mutant(
        "locks may be refused",
        ".catch(failed);\n  else then();",
        ".catch(() => {});\n  else then();",
        "where_one_way_to_share_is_closed_the_next_one_is_used",
    ),
    Mutant(
        "a worker may fail",
        "  worker.onerror = failed;\n",
        "",
        "where_one_way_to_share_is_closed_the_next_one_is_used",
    ),
    Mutant(
        "a worker may never answer",
        "rejoin(silent > 3)",
        "rejoin(0)",
        "where_one_way_to_share_is_closed_the_next_one_is_used",
    ),
    Mutant(
        "a worker may die",
        "if (silent++) rejoin",
        "if (silent < 0) rejoin",
        "a_page_whose_worker_died_gets_no_event_twice",
    ),
    Mutant(
        "what has no callback is in the console",
        " || (console[name] || console.warn)(name, ...args)",
        "",
        "events_without_a_listener_are_in_the_console",
    ),
    Mutant(
        "what is not granted is said once",
        "if (denied && !one._denied)",
        "if (denied)",
        "events_without_a_listener_are_in_the_console",
    ),
    Mutant(
        "a disconnect is listened to",
        '"push:whole", "push:disconnect",',
        '"push:whole",',
        "each_page_is_notified_of_a_disconnect_once_and_resumes",
    ),
    Mutant(
        "a refusal has its status",
        "open(true);",
        "again(reason);",
        "every_status_that_cannot_change_is_final",
    ),
    Mutant(
        "a page that joins a line that was refused has it ask again",
        'status.state == "closed" || ',
        "",
        "each_page_gets_a_refusal_and_each_new_page_tries_again",
    ),
    Mutant(
        "a long address is none",
        "const LONGEST = 2e3;",
        "const LONGEST = 2e9;",
        "many_channels_are_requested_by_post",
    ),
    Mutant(
        "a page's own body is sent",
        "!given.method && ",
        "",
        "the_page_s_own_body_is_sent_unchanged",
    ),
    Mutant(
        "the types that are listened to are those that are wanted",
        "if (!types.includes(type)) source",
        "if (false) source",
        "types_without_a_callback_are_no_longer_listened_to",
    ),
    Mutant(
        "callbacks that are taken back leave no type",
        "if (!callback || !all?.size) this",
        "if (!callback) this",
        "types_without_a_callback_are_no_longer_listened_to",
    ),
    Mutant(
        "a loop has so many events waiting, and no more",
        "while (waiting.length <= 1e4)",
        "while (true)",
        "ten_thousand_events_can_wait_for_a_loop",
    ),
    Mutant(
        "a loop ends",
        '    this._call("push:end");\n',
        "",
        "a_loop_ends_with_its_subscription",
    ),
    Mutant(
        "who is unsubscribed hears nothing more",
        "    this._live = false;\n    this._changed",
        "    this._changed",
        "a_callback_that_unsubscribes_another_silences_it_at_once",
    ),
    Mutant(
        "a connection that is closed listens to nothing of its page's",
        "    this.#gone.abort();\n",
        "",
        "what_is_closed_stays_closed",
    ),
    Mutant("and joins nothing", "rejoin(9);", "sleep();", "what_is_closed_stays_closed"),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.safeguard for mutant in MUTANTS])
def test_a_case_fails_when_a_safeguard_is_removed(mutant: Mutant, tmp_path: Path) -> None:
    script = "joins.mjs" if mutant.noticed[0].isdigit() else "cases.mjs"
    is_noticed(mutant, script, tmp_path)
