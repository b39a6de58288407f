"""The names and data that own logs refuse, and the pages that feeds give to sinks."""

from __future__ import annotations

import math

import pytest

from flask_push.brokers import KeepsOwnLogs
from flask_push.brokers import OwnEntry
from flask_push.brokers import OwnPage
from flask_push.brokers import OwnSink
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.own import check_own
from flask_push.brokers.own import MAX_OWN_ENTRY
from flask_push.brokers.own import OwnPages


class Recording:
    """A sink that records the own logs alone."""

    def __init__(self) -> None:
        self.given: list[tuple[str, OwnPage]] = []

    def deliver(self, epoch: str, entries: object, end: int | None) -> None: ...

    def missed(self, end: int) -> None: ...

    def watched(self, channels: object) -> None: ...

    def own(self, log: str, page: OwnPage) -> None:
        self.given.append((log, page))


class Plain:
    """A sink of an older version."""

    deliver = Recording.deliver
    missed = Recording.missed
    watched = Recording.watched


def page(epoch: str, since: int, end: int, *numbers: int) -> OwnPage:
    return OwnPage(epoch, since, end, [OwnEntry(number, b"x") for number in numbers])


def test_a_broker_and_a_sink_are_known_by_their_methods() -> None:
    assert isinstance(MemoryBroker(), KeepsOwnLogs)
    assert isinstance(Recording(), OwnSink)
    assert not isinstance(Plain(), OwnSink) and not isinstance(Plain(), KeepsOwnLogs)


@pytest.mark.parametrize("log", ["", "A", "a-b", "a:b", "ä", "a\n", " a", "a" * 33])
def test_a_log_has_a_name_of_letters(log: str) -> None:
    check_own("a" * 32)
    with pytest.raises(ValueError, match="1 to 32 of the letters a to z, not '"):
        check_own(log)


@pytest.mark.parametrize("keep", [0, -1, math.inf, -math.inf, math.nan])
def test_an_entry_is_kept_for_a_time_above_zero(keep: float) -> None:
    check_own("a", b"x", 0.000_001)
    with pytest.raises(ValueError, match="a number of seconds above 0, not "):
        check_own("a", b"x", keep)


def test_an_entry_has_a_number_of_bytes_at_most() -> None:
    check_own("a", b"x" * MAX_OWN_ENTRY)
    with pytest.raises(ValueError, match="at most 65,536 bytes, not 65,537. Store less"):
        check_own("a", b"x" * (MAX_OWN_ENTRY + 1))


def test_the_first_page_is_given_even_if_it_is_empty() -> None:
    sink = Recording()
    pages = OwnPages(sink)
    assert pages and pages.after("a", "one") == 0
    pages.give("a", page("one", 5, 9))
    assert sink.given == [("a", page("one", 5, 9))]
    assert pages.after("a", "one") == 9 and pages.after("b", "one") == 0


def test_a_later_page_is_given_if_it_says_anything() -> None:
    sink = Recording()
    pages = OwnPages(sink)
    given = [page("one", 5, 9, 6), page("one", 9, 12, 11), page("one", 15, 16)]
    pages.give("a", given[0])
    pages.give("a", page("one", 9, 10))
    assert pages.after("a", "one") == 9, "where the last page that was given ended"
    pages.give("a", given[1])
    # Entries have expired that were not given.
    pages.give("a", given[2])
    pages.give("a", page("one", 16, 17))
    assert sink.given == [("a", each) for each in given]
    assert pages.after("a", "one") == 16


def test_each_epoch_begins_with_a_page_from_the_beginning() -> None:
    sink = Recording()
    pages = OwnPages(sink)
    pages.give("a", page("one", 5, 9, 6))
    assert pages.after("a", "two") == 0
    pages.give("a", page("two", 5, 7))
    assert sink.given[-1] == ("a", page("two", 5, 7))
    assert pages.after("a", "two") == 7 and pages.after("a", "one") == 0


def test_a_sink_that_takes_no_own_logs_is_given_none() -> None:
    pages = OwnPages(Plain())
    assert not pages
    pages.give("a", page("one", 5, 9, 6))
    assert pages.after("a", "one") == 0
