"""Each test of the store finds a broker that breaks its promise."""

from __future__ import annotations

import pytest
from support import broken_brokers as broken
from support.broken_brokers import check
from support.broken_brokers import find
from support.broken_brokers import names_of

from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._store_contract import StoreContract

#: By test, a broker that it finds.
BROKEN: dict[str, type[MemoryBroker]] = {
    "test_numbers_grow_over_all_channels_in_the_order_of_the_caller": broken.Reversing,
    "test_an_epoch_and_a_number_make_an_id": broken.OwnNumbers,
    "test_each_event_names_the_one_before_it_on_its_channel": broken.WithoutPredecessors,
    "test_a_page_begins_behind_its_number_and_proves_what_it_has": broken.OffByOne,
    "test_a_full_page_says_how_far_it_reaches": broken.Reaching,
    "test_the_last_events_of_several_channels": broken.OneMore,
    "test_type_and_data_come_back_byte_for_byte": broken.Normalizing,
    "test_the_connection_that_an_event_excludes_is_read_with_it": broken.WithoutExclude,
    "test_all_of_a_call_is_stored_or_nothing": broken.Nonatomic,
    "test_ten_thousand_channels": broken.FewChannels,
    "test_a_key_stores_once_and_belongs_to_its_channel": broken.Keyless,
    "test_threads_publish_at_once": broken.OneThread,
    "test_a_closed_broker_opens_again_when_it_is_used": broken.ClosedForGood,
}
#: It says that its store is shared by processes, which it is not.
FORK = "test_a_child_of_a_fork_publishes_and_so_does_its_parent"


@pytest.mark.parametrize("test", BROKEN)
def test_the_contract_finds_a_broken_store(
    test: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find(test, BROKEN[test], monkeypatch)
    check(test, MemoryBroker)


def test_the_contract_finds_a_store_that_processes_do_not_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    find(FORK, MemoryBroker, monkeypatch, shared=True)
    check(FORK, MemoryBroker)


def test_each_test_of_the_store_finds_a_broker() -> None:
    assert names_of(StoreContract) == {*BROKEN, FORK}
