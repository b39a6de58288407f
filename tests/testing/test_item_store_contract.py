"""Each test of rows and pages of items finds a broker that breaks its promise."""

from __future__ import annotations

import pytest
from support import broken_items as broken
from support.broken_brokers import names_of
from support.broken_items import check
from support.broken_items import find

from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._item_store_contract import ItemStoreContract

#: By test, a broker that it finds.
BROKEN: dict[str, type[MemoryBroker]] = {
    "test_changes_have_numbers_in_the_sequence_of_all_events": broken.Reversing,
    "test_an_item_has_one_row_which_is_the_newest": broken.Normalizing,
    "test_an_unset_leaves_a_tombstone": broken.Deleting,
    "test_the_unset_of_an_absent_item_stores_nothing": broken.UnsettingAll,
    "test_a_change_of_an_older_version_changes_nothing": broken.Versionless,
    "test_all_changes_of_a_call_are_stored_or_none": broken.Nonatomic,
    "test_a_channel_has_a_log_and_items_that_do_not_mix": broken.AsEvents,
    "test_no_name_leads_to_items_of_another_kind": broken.OneKind,
    "test_a_change_that_can_not_be_is_refused": broken.Unchecked,
    "test_items_are_read_after_a_number_and_up_to_another": broken.WithoutEnd,
    "test_a_full_page_of_items_says_how_far_it_reaches": broken.Reaching,
    "test_a_page_has_events_and_rows_in_one_order": broken.ItemsLast,
    "test_threads_and_brokers_change_at_once": broken.OneThread,
    "test_a_closed_broker_opens_again_when_it_changes": broken.Forgetting,
    "test_any_changes_leave_the_rows_that_the_model_has": broken.Sweeping,
}


@pytest.mark.parametrize("test", BROKEN)
def test_the_contract_finds_broken_items(
    test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(test, BROKEN[test], monkeypatch)
    check(test, MemoryBroker)


def test_the_contract_finds_versions_that_are_compared_as_floats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    test = "test_a_change_of_an_older_version_changes_nothing"
    find(test, broken.FloatVersions, monkeypatch)


def test_the_contract_finds_rows_that_claim_that_others_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find("test_a_page_has_events_and_rows_in_one_order", broken.Claiming, monkeypatch)


def test_each_test_of_rows_finds_a_broker() -> None:
    assert names_of(ItemStoreContract) == {*BROKEN}
