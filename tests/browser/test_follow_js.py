"""follow.js shows each page its run to the end, whatever server and browser do meanwhile.
Here, these are fakes at the wire and at the clock: ``tests/clients/follow.mjs`` has the
cases, and plays what happens by chance."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from support.fake_wire import cases
from support.fake_wire import is_noticed
from support.fake_wire import Mutant
from support.fake_wire import NODE
from support.fake_wire import run
from support.run_wire_server import RunWireServer
from support.servers import program
from support.servers import TESTS


@pytest.mark.parametrize("case", cases("follow.mjs"))
def test_a_page_follows_its_run_where(case: str) -> None:
    status, said = run("follow.mjs", case)
    assert status == 0, said


def test_no_event_is_missing_or_repeated_in_any_story() -> None:
    status, said = run("follow.mjs", 1, 400)
    assert status == 0, said


@pytest.mark.slow
def test_no_event_is_missing_or_repeated_in_many_stories() -> None:
    status, said = run("follow.mjs", 1000, 20_000)
    assert status == 0, said


def test_a_run_is_followed_in_node_and_the_process_ends_with_it() -> None:
    script = TESTS / "clients" / "follow_node.mjs"
    with contextlib.closing(RunWireServer()) as runs:
        runs.begin()
        runs.write("a", "b")
        command = [str(NODE), str(script), f"{runs.url}/follow"]
        with program(command, text=True) as process:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            assert [next(lines), next(lines)] == ["a\n", "b\n"]
            runs.cut()
            runs.write("c")
            runs.end("done")
            assert [*lines] == ["c\n", "done\n"]
            assert process.wait(30) == 0


MUTANTS = [
    Mutant(
        "a new attempt drops what the page has",
        "if (attempt && attempt != now)",
        "if (false)",
        "another_attempt_is_a_restart_before_its_first_event",
        "follow",
    ),
    Mutant(
        "an attempt belongs to an epoch",
        '[id.split("-")[0], said.run, said.attempt]',
        "[said.run, said.attempt]",
        "the_same_run_in_a_store_that_has_lost_it_is_a_restart",
        "follow",
    ),
    Mutant(
        "the address has the position",
        '    ask("last_event_id", id);\n',
        "",
        "a_cut_connection_resumes_where_it_was",
        "follow",
    ),
    Mutant(
        "the whole id is sent, with the count of events",
        'ask("last_event_id", id)',
        'ask("last_event_id", id.split(".")[0])',
        "a_connection_that_is_cut_within_a_row_gets_the_rest_of_it",
        "follow",
    ),
    Mutant(
        "a silent connection is replaced",
        "if (silent <= (patience || silence)) return;",
        "return;",
        "a_connection_that_falls_silent_is_replaced",
        "follow",
    ),
    Mutant(
        "heartbeats say how long the silence may be",
        "patience = 2e3 * (said.seconds || 15) + 1e3",
        "patience = 1e3",
        "heartbeats_keep_a_connection",
        "follow",
    ),
    Mutant(
        "a page polls if nothing comes",
        "polls = !polls",
        "polls = 0",
        "a_run_is_polled_where_a_proxy_holds_streams_back",
        "follow",
    ),
    Mutant(
        "a page that is set aside ends its stream",
        'addEventListener?.("pagehide", drop',
        'addEventListener?.("pagehide", () => {}',
        "a_page_that_is_set_aside_has_no_stream_and_misses_nothing",
        "follow",
    ),
    Mutant(
        "a page that is shown again goes on",
        "persisted && open()",
        "persisted",
        "a_page_that_is_set_aside_has_no_stream_and_misses_nothing",
        "follow",
    ),
    Mutant(
        "204 is no error",
        "if (reason.status == 204) finish(resolve, null);",
        "if (false) ;",
        "a_follow_of_nothing_ends_with_null",
        "follow",
    ),
    Mutant(
        "a refusal that stays ends the follow",
        "FINAL.test(reason.status)",
        "false",
        "a_refusal_that_stays_is_an_error_with_its_status",
        "follow",
    ),
    Mutant(
        "a page in place of the stream ends the follow",
        "status != 200 || isStream",
        "true",
        "a_page_in_place_of_the_stream_is_an_error_that_says_so",
        "follow",
    ),
    Mutant(
        "the server's retry is the shortest wait",
        "floor = said.milliseconds || floor",
        "floor = 500",
        "the_wait_is_never_shorter_than_the_servers_retry",
        "follow",
    ),
    Mutant(
        "Retry-After is the shortest wait",
        "again(reason.wait || 0)",
        "again(0)",
        "a_server_that_says_when_is_not_asked_before",
        "follow",
    ),
    Mutant(
        "the wait grows",
        "1e3 * 2 ** tries",
        "0",
        "a_server_that_is_down_is_asked_less_and_less_often_and_found_again",
        "follow",
    ),
    Mutant(
        "a run that has ended is not asked for again",
        "    close();\n    settle(value);",
        "    settle(value);",
        "a_page_gets_the_events_the_statuses_and_the_end",
        "follow",
    ),
    Mutant(
        "an answer that comes after close changes nothing",
        "      if (mine != source) return;\n",
        "",
        "close_ends_a_wait_and_a_question",
        "follow",
    ),
    Mutant(
        "an error of a callback is its own",
        "      one(...args);\n    } catch",
        "      one(...args);\n    } finally {\n    }\n    try {\n    } catch",
        "an_error_of_a_callback_stops_nothing",
        "follow",
    ),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.safeguard for mutant in MUTANTS])
def test_a_case_fails_when_a_safeguard_of_follow_is_removed(
    mutant: Mutant, tmp_path: Path
) -> None:
    is_noticed(mutant, "follow.mjs", tmp_path)
