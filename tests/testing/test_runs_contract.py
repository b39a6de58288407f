"""Each test of stores that keep runs finds a broker that breaks its promise."""

from __future__ import annotations

import pytest
from support import broken_runs as broken
from support.broken_brokers import names_of
from support.broken_runs import check
from support.broken_runs import find

from flask_push.brokers.memory import MemoryBroker
from flask_push.testing import RunsContract

#: By test, a broker that it finds.
BROKEN: dict[str, type[MemoryBroker]] = {
    "test_single_rows_are_found_by_their_names": broken.Plain,
    "test_a_row_that_is_due_is_found": broken.Living,
    "test_many_rows_are_found_at_once": broken.Full,
    "test_an_expectation_of_a_row_that_is_not_changed_stores_nothing": broken.Storing,
    "test_a_holder_stores_nothing_that_it_may_not": broken.OnlyWhatChanges,
    "test_of_two_processes_that_end_a_run_one_does": broken.Unexpecting,
    "test_the_oldest_rows_are_forgotten_up_to_a_number": broken.KeepingHorizons,
    "test_only_the_channel_of_this_kind_loses_rows": broken.OfAnyKind,
    "test_so_many_rows_are_forgotten_at_once": broken.Unlimited,
    "test_deadlines_and_owners_are_forgotten_with_their_rows": broken.KeepingDeadlines,
    "test_a_channel_of_which_all_is_forgotten_keeps_its_horizon": broken.Dropping,
    "test_rows_that_are_forgotten_count_for_no_bound": broken.KeepingBytes,
    "test_any_rows_are_forgotten_as_a_list_would": broken.Unlimited,
    "test_a_feed_gives_the_horizon_of_rows_that_were_forgotten": broken.Silent,
    "test_a_feed_that_begins_has_the_horizon_of_what_was_forgotten": broken.AtTheFloor,
}


@pytest.mark.parametrize("test", BROKEN)
def test_the_contract_finds_a_broken_broker(
    test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(test, BROKEN[test], monkeypatch)
    check(test, MemoryBroker)


@pytest.mark.parametrize(
    ("test", "broker"),
    [
        ("test_many_rows_are_found_at_once", broken.AsNamed),
        ("test_a_holder_stores_nothing_that_it_may_not", broken.Unexpecting),
        ("test_the_oldest_rows_are_forgotten_up_to_a_number", broken.Unsetting),
        ("test_a_feed_gives_the_horizon_of_rows_that_were_forgotten", broken.Unsetting),
    ],
)
def test_the_contract_also_finds(
    test: str, broker: type[MemoryBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    find(test, broker, monkeypatch)


def test_each_test_of_runs_finds_a_broker() -> None:
    assert names_of(RunsContract) == {*BROKEN}
