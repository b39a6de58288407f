"""Who is present, from the rows of all hubs; and what those who watch receive."""

from __future__ import annotations

import typing as t

from hypothesis import given
from hypothesis import strategies as st

from flask_push._delivery import roster as rosters
from flask_push._delivery.roster import Change
from flask_push._delivery.roster import COUNT
from flask_push._delivery.roster import Merged
from flask_push._delivery.roster import Roster
from flask_push._delivery.roster import RosterRow

HUBS, USERS = "AB", ["ada", "bob", "c.d"]


class Raw(t.NamedTuple):
    """What a store does with one item."""

    hub: str
    #: Empty for the count.
    user: str
    #: ``None`` to unset it.
    data: bytes | None

    @property
    def item(self) -> str:
        return f"{self.hub}.{self.user}" if self.user else self.hub


rows = st.one_of(
    *[
        st.builds(
            Raw,
            st.sampled_from(HUBS),
            st.sampled_from(USERS),
            st.sampled_from([b'{"n":1}', b'{"n":2}', None]),
        )
    ]
    * 3,
    st.builds(Raw, st.sampled_from(HUBS), st.just(""), st.sampled_from([b"0", b"7", None])),
)


def stored(raws: list[Raw]) -> list[RosterRow]:
    """Their rows, of which those that change nothing get no number."""
    living: dict[str, bytes] = {}
    found: list[RosterRow] = []
    for raw in raws:
        if raw.data is None and living.pop(raw.item, None) is None:
            continue
        if raw.data is not None:
            living[raw.item] = raw.data
        found.append(RosterRow(len(found) + 1, raw.item, raw.data))
    return found


def newest(raws: list[RosterRow]) -> dict[str, RosterRow]:
    """The newest row of each item."""
    return {row.item: row for row in raws}


def truth(raws: list[RosterRow]) -> Merged:
    """Who is present by law 52."""
    members: dict[str, tuple[int, bytes]] = {}
    counted = 0
    for number, item, data in newest(raws).values():
        hub, dot, user = item.partition(".")
        if data is None:
            continue
        if dot:
            members[user] = max(members.get(user, (0, b"")), (number, data))
        else:
            counted += int(data)
    return Merged({user: data for user, (_, data) in members.items()}, counted)


class Page:
    """What a browser knows of the roster."""

    def __init__(self, changes: t.Iterable[Change | None] = ()) -> None:
        self.members: dict[str, bytes] = {}
        self.counted = 0
        for change in changes:
            self.take(change)

    def take(self, change: Change | None) -> None:
        match change:
            case Change(user=user, data=data) if user == COUNT:
                self.counted = int(data or 0)
            case Change(user=user, data=None):
                self.members.pop(user, None)
            case Change(user=user, data=data):
                self.members[user] = data or b""

    def knows(self) -> Merged:
        return Merged(self.members, self.counted)


@given(st.lists(rows, max_size=30))
def test_what_is_received_is_who_is_present(raws: list[Raw]) -> None:
    page, roster = Page(), Roster()
    every = stored(raws)
    for index, row in enumerate(every, 1):
        before = dict(page.members), page.counted
        change = roster.take(row)
        page.take(change)
        assert page.knows() == roster.merged() == truth(every[:index])
        if change is not None:
            assert change.number == row.number
            assert (page.members, page.counted) != before or change.data in (None, b"0")


@given(st.lists(rows, max_size=30), st.data())
def test_a_roster_that_is_read_is_the_same_as_one_that_was_watched(
    raws: list[Raw], data: st.DataObject
) -> None:
    """Also if rows were unset before the store was read, and arrive afterwards."""
    every = stored(raws)
    start = data.draw(st.integers(0, len(every)), "watched since")
    sure = data.draw(st.integers(start, len(every)), "read at")
    watched = Roster()
    old = Page(watched.take(row) for row in every[:start])
    living = [row for row in newest(every[:sure]).values() if row.data is not None]
    # The newest row that was read has arrived when the roster is whole.
    end = max([start, *(row.number for row in living)])
    for row in every[start:end]:
        old.take(watched.take(row))
    known = newest([*living, *every[start:end]]).values()
    roster = Roster((row for row in known if row.data is not None), sure)
    new = Page(roster.all())
    assert [change.number for change in roster.all()] == sorted(
        change.number for change in roster.all()
    )
    for row in every[end:]:
        change = roster.take(row)
        old.take(change)
        new.take(change)
    assert old.knows() == new.knows() == roster.merged() == truth(every)


@given(st.lists(rows, max_size=30), st.data())
def test_a_roster_that_another_hub_hands_over_is_the_same(
    raws: list[Raw], data: st.DataObject
) -> None:
    every = stored(raws)
    cut = data.draw(st.integers(0, len(every)))
    first = Roster()
    for row in every[:cut]:
        first.take(row)
    second = Roster(first.rows())
    assert second.merged() == first.merged()
    for row in every[cut:]:
        assert second.take(row) == first.take(row)


def member(number: int, user: str, hub: str = "A", data: bytes | None = b"1") -> RosterRow:
    return RosterRow(number, f"{hub}.{user}", data)


def test_the_newest_info_of_a_user_counts() -> None:
    roster = Roster()
    assert roster.take(member(1, "ada", "A", b"1")) == Change(1, "ada", b"1")
    assert roster.take(member(2, "ada", "B", b"1")) is None
    assert roster.take(member(3, "ada", "B", b"2")) == Change(3, "ada", b"2")
    assert roster.take(member(4, "ada", "B", None)) == Change(4, "ada", b"1")
    assert roster.take(member(5, "ada", "A", None)) == Change(5, "ada", None)


def test_a_roster_lists_so_many_members_and_no_more() -> None:
    roster = Roster(member(n, f"user {n}") for n in range(1, rosters.MAX_MEMBERS + 1))
    assert roster.take(member(2001, "late")) is None
    assert roster.take(RosterRow(2002, "B", b"12")) == Change(2002, COUNT, b"12")
    assert len(roster.merged().members) == rosters.MAX_MEMBERS
    assert "late" not in roster.merged().members
    # A place is free for the next row, and not before it.
    assert roster.take(member(2003, "user 5", data=None)) == Change(2003, "user 5", None)
    assert "late" not in roster.merged().members
    assert roster.take(member(2004, "late", data=b"2")) == Change(2004, "late", b"2")
    assert len(roster) == rosters.MAX_MEMBERS + 1


def test_a_roster_has_room_when_many_have_left_and_others_are_not_listed() -> None:
    numbers = range(1, rosters.MAX_MEMBERS + 1)
    roster = Roster(
        [*(member(n, f"user {n}") for n in numbers), RosterRow(1500, "B", b"9")]
    )
    leaving = [member(2002 + n, f"user {n}", data=None) for n in range(1, 101)]
    roster.take(member(2001, "late"))
    for row in leaving:
        assert not roster.has_room
        roster.take(row)
    assert roster.has_room
    roster = Roster(roster.rows())
    assert "late" in roster.merged().members and not roster.has_room


def test_a_user_who_was_not_listed_here_leaves() -> None:
    """Another hub may have listed the user, who came earlier there."""
    roster = Roster(member(n, f"user {n}") for n in range(1, rosters.MAX_MEMBERS + 1))
    roster.take(member(2001, "late"))
    assert roster.take(member(2002, "late", data=None)) == Change(2002, "late", None)


def test_what_was_unset_before_the_roster_was_read_is_sent_when_it_arrives() -> None:
    """A page that comes from another hub may have the older info."""
    roster = Roster([member(1, "ada", "B", b"1")], sure=3)
    assert roster.take(member(3, "ada", "A", None)) == Change(3, "ada", b"1")
    assert roster.take(member(4, "ada", "C", b"1")) is None


def test_a_count_that_is_no_number_counts_nothing() -> None:
    roster = Roster([RosterRow(1, "A", b"5"), RosterRow(2, "B", b"nonsense")])
    assert roster.merged().counted == 5
    assert roster.take(RosterRow(3, "C", b"-9")) is None
