"""The judge of presence finds each ``left`` that is wrong, and nothing else."""

from __future__ import annotations

from math import inf

import pytest
from support.presence_judge import Change
from support.presence_judge import Judge
from support.presence_judge import Key
from support.presence_judge import Shown
from support.presence_judge import Trouble

KEY = "a", "ann"
GRACE, BEAT, NOW = 10.0, 5.0, 1000.0


def stream(opened: float, closed: float = inf, server: int = 0, retry: float = 0) -> Shown:
    return Shown("ann", ("a",), server, opened - 0.1, opened, closed, retry)


def judged(
    *shown: Shown,
    left: tuple[float, ...] = (),
    troubles: tuple[Trouble, ...] = (),
    confirmed: int = 0,
) -> list[str]:
    counts: dict[Key, int] = {KEY: confirmed}
    judge = Judge(GRACE, BEAT, NOW, shown, troubles, counts)
    return judge.judge("watcher", [Change(time, *KEY, False) for time in left])


def test_a_user_whose_streams_follow_each_other_never_leaves() -> None:
    shown = stream(100, 200), stream(150, 300, 1), stream(305, 400), stream(408)
    assert judged(*shown) == []
    for time in 210, 311, 411, 999:
        assert f"left at {time}" in judged(*shown, left=(time,))[0]


def test_a_user_may_leave_once_after_each_absence_of_the_grace() -> None:
    shown = stream(100, 200), stream(250, 300), stream(310, 400)
    assert judged(*shown, left=(210, 310, 410)) == []
    assert judged(*shown, left=(240, 410)) == []
    assert judged(*shown, left=(210, 310, 410, 500))
    assert "left at 209" in judged(*shown, left=(209,))[0]
    assert "left at 400" in judged(*shown, left=(210, 310, 400))[0]


def test_each_stay_that_was_waited_for_has_an_end() -> None:
    shown = stream(100, 200), stream(250, 300)
    assert judged(*shown, left=(210, 310), confirmed=2) == []
    assert "left 2 times" in judged(*shown, left=(310,), confirmed=2)[0]
    assert judged(*shown, left=(310,), confirmed=1) == []


def test_the_grace_begins_when_a_retry_is_over() -> None:
    shown = stream(100, 200, retry=30), stream(239)
    assert judged(*shown) == []
    assert judged(*shown, left=(212,))
    assert judged(stream(100, 200, retry=30), stream(250), left=(240,)) == []


@pytest.mark.parametrize("kind", ["killed", "stopped", "away"])
def test_a_stream_counts_only_if_its_hub_could_store_it(kind: str) -> None:
    server = None if kind == "away" else 1
    trouble = Trouble(kind, server, 205.5, 215, 216)
    before, during, after = stream(100, 200), stream(205, 214, 1), stream(216)
    assert judged(before, during, after, left=(210,), troubles=(trouble,)) == []
    assert judged(before, during, after, left=(210, 224), troubles=(trouble,))
    assert judged(before, during, after, left=(210,))
    other = trouble._replace(server=2)
    assert judged(before, during, after, left=(210,), troubles=(other,))


def test_a_user_may_leave_a_hub_that_was_stopped_for_long() -> None:
    shown = stream(100, 700, 1), stream(100, 110, 2)
    for server, seconds, is_allowed in (1, 30, True), (1, 10, False), (2, 30, False):
        trouble = Trouble("stopped", server, 200, 200 + seconds, 205 + seconds)
        found = judged(*shown, left=(225, 710), troubles=(trouble,))
        assert is_allowed == (not found), found
        assert judged(*shown, left=(225, 320, 710), troubles=(trouble,))


def test_the_users_of_a_killed_hub_stay_until_others_know_it() -> None:
    shown = stream(100, 200, 1), stream(220)
    killed = Trouble("killed", 1, 200, 200, 200)
    assert judged(*shown, left=(211,)) == []
    assert judged(*shown, left=(211,), troubles=(killed,))
    later = stream(100, 200, 1), stream(230)
    assert "first=225" in judged(*later, left=(211,), troubles=(killed,))[0]
    assert judged(*later, left=(226,), troubles=(killed,)) == []
    # It was asked to end, and has unset the user before it did.
    asked = Trouble("killed", 1, 209, 212, 212)
    assert judged(*shown, left=(211,), troubles=(asked,)) == []


@pytest.mark.parametrize("kind", ["stopped", "away"])
def test_each_grace_begins_again_after_a_trouble(kind: str) -> None:
    shown = stream(100, 228, 1), stream(235, server=1)
    trouble = Trouble(kind, 1, 212, 230, 237)
    assert judged(*shown, left=(239,), troubles=(trouble,))
    assert judged(*shown[:1], stream(245), left=(241,), troubles=(trouble,)) == []
    assert judged(*shown[:1], stream(245), left=(239,), troubles=(trouble,))


def test_what_a_store_has_lost_may_be_shown_once_more() -> None:
    trouble = Trouble("lost", None, 300, 305, 315)
    for end, is_allowed in (295, True), (inf, True), (270, False):
        shown = stream(100, end)
        left = (310, 330) if end < inf else (310,)
        assert judged(shown, left=left[1:]) == []
        assert is_allowed == (not judged(shown, left=left, troubles=(trouble,)))


def test_a_stopped_hub_keeps_no_user_from_leaving_others() -> None:
    trouble = Trouble("stopped", 1, 200, 260, 270)
    shown = stream(100, 230, 1), stream(240, 245, 2), stream(256, 300, 2)
    assert judged(*shown, left=(228, 255, 310), troubles=(trouble,)) == []
    assert judged(*shown, left=(228, 255, 260, 310), troubles=(trouble,)) == []
    assert judged(*shown, left=(228, 255, 260, 280, 310), troubles=(trouble,))


def test_a_user_who_came_for_a_moment_may_have_been_shown() -> None:
    shown = stream(100, 200), stream(300, 300.5)
    assert judged(*shown, left=(210,)) == []
    assert judged(*shown, left=(210, 311)) == []
    assert judged(*shown, left=(210, 311, 400))


def test_a_user_without_a_stream_is_never_shown() -> None:
    judge = Judge(GRACE, BEAT, NOW, [stream(100)])
    assert judge.judge("watcher", [Change(150, "a", "bob", True)])
    assert judge.judge("watcher", [Change(101, *KEY, True)]) == []
