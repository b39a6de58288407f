"""Each test of the rules of items finds a broker that breaks its promise."""

from __future__ import annotations

import pytest
from support import broken_brokers as brokers
from support import broken_items as broken
from support.broken_brokers import names_of
from support.broken_items import check
from support.broken_items import find

from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._item_rules_contract import ItemRulesContract

#: By test, a broker that it finds.
BROKEN: dict[str, type[MemoryBroker]] = {
    "test_all_expectations_are_checked_before_anything_is_stored": broken.Nonatomic,
    "test_an_expectation_is_one_of_the_epoch_in_which_the_row_was_stored": (
        broken.NumbersAlone
    ),
    "test_a_row_is_due_when_its_time_is_over": broken.Undying,
    "test_a_row_that_is_due_is_unset_before_it_is_changed": broken.Lazy,
    "test_the_same_again_moves_the_deadline_and_is_no_event": broken.Restless,
    "test_another_value_has_another_deadline_or_none": broken.SameDeadline,
    "test_rows_of_all_channels_and_kinds_are_due_so_many_at_a_time": broken.AllAtOnce,
    "test_a_wall_clock_that_is_wrong_makes_no_row_due": brokers.WallClock,
    "test_an_owner_has_its_living_rows_of_all_channels": broken.OneChannel,
    "test_a_channel_has_so_many_items_and_refuses_more": broken.AllItems,
    "test_items_have_so_many_bytes_and_refuse_more": broken.AllBytes,
    "test_the_retention_of_events_leaves_items_alone": broken.Aging,
    "test_a_channel_keeps_so_many_tombstones_and_a_horizon": broken.Hoarding,
    "test_a_channel_with_many_items_keeps_as_many_tombstones": broken.Few,
    "test_tombstones_are_removed_when_they_are_old_but_not_the_newest_row": broken.ForEver,
}


@pytest.mark.parametrize("test", BROKEN)
def test_the_contract_finds_broken_rules(
    test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(test, BROKEN[test], monkeypatch)
    check(test, MemoryBroker)


@pytest.mark.parametrize(
    ("test", "broker"),
    [
        (
            "test_all_expectations_are_checked_before_anything_is_stored",
            broken.ExpectingNothing,
        ),
        ("test_the_same_again_moves_the_deadline_and_is_no_event", broken.Sweeping),
        ("test_a_channel_keeps_so_many_tombstones_and_a_horizon", broken.Complete),
        (
            "test_tombstones_are_removed_when_they_are_old_but_not_the_newest_row",
            broken.Removing,
        ),
    ],
)
def test_the_contract_also_finds(
    test: str, broker: type[MemoryBroker], monkeypatch: pytest.MonkeyPatch
) -> None:
    find(test, broker, monkeypatch)


def test_each_test_of_rules_finds_a_broker() -> None:
    assert names_of(ItemRulesContract) == {*BROKEN}
