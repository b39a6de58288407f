"""What a run has gathered is stored in order, in rows that are not too large."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_push._holder import pending as pending_events
from flask_push._holder.pending import Pending
from flask_push._holder.pending import Progress
from flask_push._holder.pending import Source


def add(pending: Pending, source: Source, *texts: str) -> None:
    for text in texts:
        pending.add(text, source)


def rows(pending: Pending) -> list[tuple[list[str], str]]:
    found = []
    while pending.has_events:
        found.append(pending.row())
        pending.row_stored()
    return found


def test_a_row_has_events_of_one_source() -> None:
    pending, a, b = Pending(), Source("message"), Source("said")
    add(pending, a, "1", "2")
    add(pending, b, "3")
    add(pending, a, "4")
    assert rows(pending) == [
        *((["1", "2"], "message"), (["3"], "said"), (["4"], "message"))
    ]
    assert (a.stored, b.stored) == (3, 1)


def test_a_row_keeps_its_events_until_it_is_stored() -> None:
    pending, source = Pending(), Source("message")
    add(pending, source, "1")
    assert pending.row() == (["1"], "message")
    add(pending, source, "2")
    assert pending.row() == (["1"], "message")
    pending.row_stored()
    assert pending.row() == (["2"], "message") and source.stored == 1


def test_a_row_has_1000_events_or_64_kilobytes_at_most() -> None:
    pending, source = Pending(), Source("message")
    add(pending, source, *["x"] * 2500)
    assert [len(texts) for texts, _ in rows(pending)] == [1000, 1000, 500]
    add(pending, source, *["é" * 10_000] * 7)
    assert [len(texts) for texts, _ in rows(pending)] == [3, 3, 1]
    # One that is larger has a row of its own.
    add(pending, source, "x", "y" * 100_000, "z")
    assert [len(texts) for texts, _ in rows(pending)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("texts", "much"),
    [
        (["x"] * 999, False),
        (["x"] * 1000, True),
        (["x" * 65_535], False),
        (["é" * 32_768], True),
    ],
)
def test_a_source_does_not_get_far_ahead_of_the_store(
    texts: list[str], much: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_events, "_LATE_SECONDS", 1000)
    pending = Pending()
    add(pending, Source("message"), *texts)
    assert pending.is_much is much
    rows(pending)
    assert not pending.is_much


def test_events_that_wait_for_long_are_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending_events, "_LATE_SECONDS", -1)
    pending = Pending()
    assert not pending.is_much
    add(pending, Source("message"), "x")
    assert pending.is_much


def test_rows_and_progress_are_due_at_once_and_then_after_a_pause() -> None:
    pending, source = Pending(), Source("message")
    assert pending.due() is None and not pending
    add(pending, source, "x")
    assert pending.due() == float("-inf") and pending
    rows(pending)
    assert pending.due() is None
    add(pending, source, "y")
    after_a_row = pending.due()
    assert after_a_row is not None and after_a_row > 0
    pending.progress = first = Progress(done=1, total=None, text="")
    assert pending.due() == float("-inf")
    pending.progress_stored(first)
    assert pending.due() == after_a_row and not pending.progress_is_due
    pending.row()
    pending.row_stored()
    assert not pending


@pytest.mark.parametrize("seconds", [0, 1000])
def test_the_next_row_is_expected_if_the_last_one_has_waited(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending_events, "_WAITED_SECONDS", seconds)
    pending, source = Pending(), Source("message")
    assert pending.expected() is None
    add(pending, source, "x")
    rows(pending)
    expected = pending.expected()
    assert pending.expected() is None, "it was asked"
    add(pending, source, "y")
    assert expected == (None if seconds else pending.due())


def test_progress_that_is_newer_than_what_was_stored_stays() -> None:
    pending = Pending()
    first = Progress(done=1, total=2, text="")
    pending.progress = newer = Progress(done=2, total=2, text="")
    pending.progress_stored(first)
    assert pending.progress is newer


def test_dropped_events_are_those_of_one_source() -> None:
    pending, a, b = Pending(), Source("message"), Source("said")
    add(pending, a, "1")
    add(pending, b, "2")
    pending.row()
    pending.drop(a)
    assert rows(pending) == [(["2"], "said")] and a.stored == 0
    add(pending, b, "3", "4")
    add(pending, a, "5")
    pending.row()
    add(pending, b, "6")
    # The store may have the row that begins.
    pending.drop(a)
    assert rows(pending) == [(["3", "4"], "said"), (["6"], "said")]


@given(st.lists(st.tuples(st.sampled_from("abs"), st.text(max_size=3))))
def test_all_events_are_stored_once_and_in_order(steps: list[tuple[str, str]]) -> None:
    pending = Pending()
    sources = {"a": Source("message"), "b": Source("message")}
    added: list[tuple[str, str]] = []
    stored: list[str] = []
    for name, text in steps:
        if name in sources:
            pending.add(text, sources[name])
            added.append((name, text))
        elif pending.has_events:
            stored += pending.row()[0]
            pending.row_stored()
    for texts, _ in rows(pending):
        stored += texts
    assert stored == [text for _, text in added]
    for name, source in sources.items():
        assert source.stored == [name for name, _ in added].count(name)
    assert not pending.is_much
