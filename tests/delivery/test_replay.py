"""Events that many readers have missed are read once, and readers get a gap where the store
has dropped some."""

from __future__ import annotations

from support.laws import tell


def test_a_hub_that_filled_a_hole_may_tell_a_gap_where_the_store_forgot() -> None:
    """The store names what it forgot of another channel as the predecessor."""
    tell(
        "start 0; replace 0; publish a; trim a 1; publish a; replace 0;"
        " connect 0 a nothing; publish b; trim b 1; cut 0; connect 0 a nothing;"
        " watch 0 1; fill 1; trim a 1; publish a; connect 0 a nothing",
        None,
    )


def test_a_reader_may_get_a_gap_because_another_channel_was_trimmed() -> None:
    """That the store has forgotten up to there, a hub can't tell from an event lost."""
    story = "start 600; connect 1 ab nothing; watch 1 2; publish a; trim a 1; publish b"
    tell(story, None)
