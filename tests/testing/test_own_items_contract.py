"""Each test of the feeds of own items finds a broker that breaks its promise."""

from __future__ import annotations

import pytest
from support import broken_item_feeds as feeds
from support import broken_own_items as broken
from support.broken_brokers import names_of
from support.broken_items import check
from support.broken_items import find

from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._own_items_contract import OwnItemsContract

#: By test, a broker that it finds.
BROKEN: dict[str, type[MemoryBroker]] = {
    "test_a_feed_delivers_own_items_in_order_with_all_others": broken.OwnLast,
    "test_a_feed_delivers_only_the_own_channels_that_are_watched": broken.AnyKind,
    "test_a_feed_gives_the_horizons_of_own_channels": broken.OfTheApp,
    "test_a_feed_that_goes_on_delivers_own_items_too": broken.Forgetting,
    "test_a_feed_reads_own_items": broken.Plain,
    "test_a_new_epoch_begins_with_the_horizons_of_own_channels": feeds.OneEpoch,
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
        ("test_a_feed_delivers_own_items_in_order_with_all_others", broken.Unnamed),
        ("test_a_feed_delivers_own_items_in_order_with_all_others", feeds.AllKinds),
        (
            "test_a_feed_delivers_only_the_own_channels_that_are_watched",
            feeds.Unwatching,
        ),
        ("test_a_feed_gives_the_horizons_of_own_channels", feeds.Without),
        ("test_a_feed_reads_own_items", feeds.WithoutDue),
    ],
)
def test_the_contract_also_finds(
    test: str, broker: type[MemoryBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    find(test, broker, monkeypatch)


def test_each_test_of_own_items_finds_a_broker() -> None:
    assert names_of(OwnItemsContract) == {*BROKEN}
