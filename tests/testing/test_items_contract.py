"""Each test of the feeds of items finds a broker that breaks its promise."""

from __future__ import annotations

import pytest
from support import broken_brokers as brokers
from support import broken_item_feeds as broken
from support.broken_brokers import names_of
from support.broken_items import check
from support.broken_items import find

from flask_push.brokers.memory import MemoryBroker
from flask_push.testing import ItemsContract

#: By test, a broker that it finds.
BROKEN: dict[str, type[MemoryBroker]] = {
    "test_a_feed_delivers_rows_and_events_in_one_order": broken.ItemsLast,
    "test_a_feed_stops_to_deliver_rows_and_may_begin_again": broken.Unwatching,
    "test_a_feed_gives_the_horizon_of_a_channel_before_it_watches_it": broken.Silent,
    "test_a_feed_gives_a_horizon_again_before_an_end_that_passes_it": broken.Once,
    "test_a_row_that_supersedes_others_leaves_no_hole": broken.Stored,
    "test_a_feed_that_goes_on_delivers_what_was_changed_since": brokers.Starting,
    "test_events_that_the_store_has_forgotten_concern_items_too": brokers.NeverMissing,
    "test_the_pages_of_a_feed_have_items": broken.WithoutItems,
    "test_a_feed_reads_living_rows_and_those_that_are_due": broken.WithoutDue,
    "test_a_hub_that_joins_while_others_change_has_all_items": broken.Losing,
    "test_a_new_epoch_begins_with_the_horizons": broken.OneEpoch,
    "test_a_feed_says_whether_rows_have_a_time_to_live": broken.Untimed,
    "test_a_sink_without_items_receives_all_events_and_no_rows": broken.Telling,
}


@pytest.mark.parametrize("test", BROKEN)
def test_the_contract_finds_a_broken_feed(
    test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(test, BROKEN[test], monkeypatch)
    check(test, MemoryBroker)


@pytest.mark.parametrize(
    ("test", "broker"),
    [
        (
            "test_a_feed_gives_the_horizon_of_a_channel_before_it_watches_it",
            broken.Without,
        ),
        ("test_a_feed_delivers_rows_and_events_in_one_order", broken.Resting),
        ("test_a_feed_delivers_rows_and_events_in_one_order", broken.AllKinds),
        ("test_a_feed_says_whether_rows_have_a_time_to_live", broken.AlwaysTimed),
    ],
)
def test_the_contract_also_finds(
    test: str, broker: type[MemoryBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    find(test, broker, monkeypatch)


def test_each_test_of_feeds_finds_a_broker() -> None:
    assert names_of(ItemsContract) == {*BROKEN}
