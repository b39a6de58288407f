"""The names of a run's rows, and rows that have several events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_push._delivery.run_rows import pack
from flask_push._delivery.run_rows import place
from flask_push._delivery.run_rows import progress
from flask_push._delivery.run_rows import tag_in
from flask_push._delivery.run_rows import tag_of
from flask_push._delivery.run_rows import transition
from flask_push._delivery.run_rows import unpack


def test_the_rows_of_an_attempt_are_known_by_their_names() -> None:
    tag = tag_of(5, 1)
    names = [place(tag, 0), place(tag, 123), transition(tag, 7), progress(tag)]
    assert len({*names}) == 4 and all(tag_in(name) == tag for name in names)
    others = ["now", tag, place(tag_of(5, 11), 0), place(tag_of(15, 1), 0), "5.1x"]
    assert not any(tag_in(name) == tag for name in others)
    assert tag_in("now") == ""


@given(st.lists(st.text(), min_size=1))
def test_a_row_returns_the_events_that_were_packed(texts: list[str]) -> None:
    assert unpack(pack(texts).encode()) == [text.encode() for text in texts]


def test_a_row_of_one_event_is_short() -> None:
    assert pack(["hello"]) == "5\nhello"
    assert unpack(b"0\n") == [b""]


@pytest.mark.parametrize("data", [b"", b"x", b"3\nxx", b"1\nxx", b"3 -1\nxx", b"a\nx"])
def test_a_row_of_another_program_is_noticed(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        unpack(data)
