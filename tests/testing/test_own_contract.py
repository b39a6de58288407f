"""Each test of own logs finds a broker that breaks its promise."""

from __future__ import annotations

import pytest
from support import broken_brokers as brokers
from support import broken_own_logs as broken
from support.broken_brokers import names_of
from support.broken_own_logs import check
from support.broken_own_logs import find

from flask_push.brokers.memory import MemoryBroker
from flask_push.testing import OwnLogContract

#: By test, a broker that it finds.
BROKEN: dict[str, type[MemoryBroker]] = {
    "test_entries_have_numbers_in_the_sequence_of_all_events": broken.Normalizing,
    "test_a_log_is_read_after_a_number": broken.ReadingAll,
    "test_no_channel_shows_an_own_log": broken.AsEvents,
    "test_two_own_logs_do_not_mix": broken.OneLog,
    "test_a_bad_name_time_or_size_is_refused": broken.Unchecked,
    "test_threads_and_brokers_append_at_once": broken.OneThread,
    "test_a_closed_broker_opens_again_when_it_appends": broken.Forgetting,
    "test_an_entry_expires_after_its_time_and_the_page_says_so": broken.Endless,
    "test_an_entry_stays_while_one_before_it_does": broken.OutOfOrder,
    "test_a_log_keeps_so_many_entries": broken.Endless,
    "test_a_log_keeps_so_many_bytes": broken.Endless,
    "test_the_retention_of_events_leaves_own_logs_alone": broken.WithTheEvents,
    "test_a_wall_clock_that_is_wrong_ages_nothing": brokers.WallClock,
    "test_a_feed_begins_with_all_of_the_log": broken.BeginningEmpty,
    "test_a_feed_that_goes_on_begins_the_log_from_its_beginning": broken.Continuing,
    "test_an_entry_wakes_the_feed_and_moves_its_end": broken.Silent,
    "test_a_feed_gives_entries_before_the_events_that_follow_them": broken.Late,
    "test_a_feed_gives_entries_before_a_page_that_reaches_them": broken.Hasty,
    "test_a_feed_says_that_entries_expired_which_it_has_not_given": broken.Unsaying,
    "test_a_feed_begins_the_log_again_with_each_epoch": broken.OneEpoch,
    "test_a_sink_without_own_logs_receives_all_events": broken.Closing,
}


@pytest.mark.parametrize("test", BROKEN)
def test_the_contract_finds_a_broken_log(
    test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(test, BROKEN[test], monkeypatch)
    check(test, MemoryBroker)


@pytest.mark.parametrize(
    "test",
    [
        "test_an_entry_expires_after_its_time_and_the_page_says_so",
        "test_a_log_keeps_so_many_entries",
        "test_a_log_keeps_so_many_bytes",
    ],
)
def test_the_contract_finds_a_log_that_proves_more_than_it_has(
    test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(test, broken.Overproving, monkeypatch)


def test_each_test_of_own_logs_finds_a_broker() -> None:
    assert names_of(OwnLogContract) == {*BROKEN}
