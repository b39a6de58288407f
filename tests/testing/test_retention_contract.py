"""Each test of what expires finds a broker that keeps too much, or too little."""

from __future__ import annotations

import pytest
from support import broken_brokers as broken
from support.broken_brokers import find
from support.broken_brokers import names_of

from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._retention_contract import RetentionContract

#: By test, a broker that it finds.
BROKEN: dict[str, type[MemoryBroker]] = {
    "test_a_channel_keeps_so_many_events_and_proves_it": broken.AllEvents,
    "test_what_is_too_old_goes_and_positions_from_before_can_tell": broken.ForEver,
    "test_all_channels_together_keep_so_many_bytes": broken.AllBytes,
    "test_an_event_may_be_larger_than_all_that_is_kept": broken.RefusingLarge,
    "test_keys_count_among_the_bytes_and_the_oldest_go": broken.AllBytes,
    "test_what_is_not_stored_drives_out_nothing_that_is": broken.StoringAll,
    "test_a_clock_that_is_ahead_for_one_event_ages_nothing": broken.WallClock,
    "test_a_clock_that_is_behind_for_one_event_ages_nothing": broken.Jumping,
    "test_what_is_too_old_goes_while_the_clock_is_ahead": broken.ForEver,
    "test_what_is_too_old_goes_while_the_clock_is_behind": broken.WallClock,
}


@pytest.mark.parametrize("test", BROKEN)
def test_the_contract_finds_a_store_that_keeps_what_it_should_not(
    test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(test, BROKEN[test], monkeypatch)


@pytest.mark.parametrize(
    "test",
    [
        "test_a_channel_keeps_so_many_events_and_proves_it",
        "test_what_is_too_old_goes_and_positions_from_before_can_tell",
        "test_all_channels_together_keep_so_many_bytes",
    ],
)
def test_the_contract_finds_a_store_that_proves_more_than_it_has(
    test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(test, broken.Overproving, monkeypatch)


def test_each_test_of_what_expires_finds_a_broker() -> None:
    assert names_of(RetentionContract) == {*BROKEN}
