"""Each test of feeds finds a broker that delivers something else."""

from __future__ import annotations

import pytest
from support import broken_brokers as broken
from support.broken_brokers import check
from support.broken_brokers import find
from support.broken_brokers import names_of

from flask_push.brokers.memory import MemoryBroker
from flask_push.testing import BrokerContract

#: By test, a broker that it finds.
BROKEN: dict[str, type[MemoryBroker]] = {
    "test_a_hub_hears_what_it_watches_from_then_on": broken.OneType,
    "test_a_feed_delivers_the_connection_that_an_event_excludes": broken.DeliveredToAll,
    "test_a_hub_stops_hearing_and_may_begin_again": broken.Unwatching,
    "test_what_is_not_stored_is_heard_once_and_not_kept": broken.StoringAll,
    "test_a_hub_reads_history": broken.ReadingAll,
    "test_hubs_that_join_while_others_publish_miss_nothing": broken.Losing,
    "test_a_feed_goes_on_where_another_has_ended": broken.Starting,
    "test_a_feed_says_that_the_store_has_forgotten_what_it_should_deliver": (
        broken.NeverMissing
    ),
    "test_several_hubs_hear_the_same": broken.Losing,
}


@pytest.mark.parametrize("test", BROKEN)
def test_the_contract_finds_a_broken_feed(
    test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(test, BROKEN[test], monkeypatch)
    check(test, MemoryBroker)


def test_each_test_of_feeds_finds_a_broker() -> None:
    assert names_of(BrokerContract) == {*BROKEN}
