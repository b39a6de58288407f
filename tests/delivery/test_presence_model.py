"""No user is shown as gone who was away only for a moment, and in the end all that is shown
is true, whatever is late, lost or stopped: random stories, and for each rule a story that
breaks without it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
from support.mutants import Mutant
from support.presence_world import Broken
from support.presence_world import Operation
from support.presence_world import SITES
from support.presence_world import World

from flask_push._delivery.hub_record import HubRecord
from flask_push._delivery.members import Members
from flask_push._delivery.other_hubs import OtherHubs
from flask_push._delivery.other_hubs import Record

sites, flags = st.integers(0, SITES - 1), st.booleans()


def ticks(least: int, most: int) -> st.SearchStrategy[Operation]:
    return st.tuples(st.just("tick"), st.integers(least, most))


operations = st.one_of(
    st.just(("nop",)),
    *[ticks(1, 4)] * 4,
    ticks(4, 12),
    *[st.tuples(st.just("connect"), st.sampled_from("uuv"), sites)] * 3,
    *[st.tuples(st.just("leave"), st.sampled_from("uuv"), sites)] * 2,
    st.tuples(st.just("move"), st.sampled_from("uv"), sites),
    *(
        st.tuples(st.just(name), sites)
        for name in ("write", "crash", "stop", "back", "pause", "resume")
    ),
    *(st.tuples(st.just(name), sites, flags) for name in ("takeover", "link", "doubt")),
    st.tuples(st.just("outage"), flags),
    st.tuples(st.just("lose"), st.integers(1, 4)),
)
#: Of one hub, whose users go and return while the store or the hub is away.
of_one = st.one_of(
    st.just(("nop",)),
    *[ticks(1, 2)] * 3,
    ticks(4, 9),
    *[st.tuples(st.just("connect"), st.sampled_from("uvwx"), st.just(0))] * 4,
    st.tuples(st.just("leave"), st.sampled_from("uv"), st.just(0)),
    st.tuples(st.just("move"), st.sampled_from("uv"), st.integers(0, 1)),
    st.tuples(st.just("outage"), flags),
    st.just(("takeover", 0, True)),
    st.just(("pause", 0)),
    st.just(("resume", 0)),
    st.tuples(st.just("doubt"), st.just(0), flags),
)


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(
        st.lists(operations, min_size=6, max_size=40),
        st.lists(of_one, min_size=6, max_size=40),
    )
)
def test_only_users_who_are_away_leave_and_in_the_end_the_presence_is_true(
    story: list[Operation],
) -> None:
    World().play(story)


#: Long enough, so that ``u`` has not just come.
LONG = ("tick", 12)
HERE: list[Operation] = [("connect", "u", 0), LONG]
DEAD: list[Operation] = [("connect", "u", 0), ("tick", 1), ("crash", 0)]

#: For each rule, a story that ends badly without it.
MUTANTS: dict[str, tuple[list[Mutant], list[Operation]]] = {
    "writes do not expect the hub's own record": (
        [
            Mutant(HubRecord, "plan", "[fence(self.name, self._id), *_", "[*_"),
            Mutant(HubRecord, "_plan_beat", "expect=self._id", "expect=None"),
        ],
        [("connect", "u", 0), ("tick", 1), ("pause", 0), ("tick", 24), ("resume", 0)],
    ),
    "a hub keeps its name": (
        [
            Mutant(
                *(HubRecord, "_begin", "self._new_name()"),
                "getattr(self, 'name', '') or self._new_name()",
            )
        ],
        [("connect", "u", 0), ("tick", 2), ("lose", 2)],
    ),
    "the record of a dead hub is unset at once": (
        [Mutant(OtherHubs, "plan", "'{\"dead\":true}'", "None")],
        DEAD,
    ),
    "rows of a dead hub are not found": (
        [Mutant(OtherHubs, "done", "found.rows", "()")],
        DEAD,
    ),
    "a hub without members does not look after others": (
        [Mutant(HubRecord, "plan", "if self._looks else None", "if False else None")],
        DEAD,
    ),
    "the record does not have that browsers are away": (
        [Mutant(HubRecord, "will_leave", "self._members.users", "False")],
        [*HERE, ("back", 0), ("crash", 0), ("tick", 9)],
    ),
    "other hubs do not read that browsers are away": (
        [Mutant(Record, "is_silent", "self.leaving", "0")],
        [*HERE, ("back", 0), ("crash", 0), ("tick", 9)],
    ),
    "the grace begins while browsers are away": (
        [Mutant(World, "_leave", "retry * BEAT_SECONDS", "0")],
        [*HERE, ("back", 0), ("tick", 6)],
    ),
    "a successor does not read what is stored": (
        [Mutant(HubRecord, "take_over", "self._unsure = Step.RECORD", "pass")],
        [("connect", "u", 0), ("tick", 1), ("leave", "u", 0), ("tick", 2)]
        + [("takeover", 0, True)],
    ),
    "a successor does not know who is in the grace": (
        [Mutant(Members, "restore", "in rows:", "in []:")],
        [*HERE, ("leave", "u", 0), ("takeover", 0, False), ("tick", 1)],
    ),
    "the grace goes on while the store is away": (
        [Mutant(HubRecord, "_be_patient", "self._members.patient(now)", "pass")],
        [*HERE, ("outage", True), ("leave", "u", 0), ("connect", "u", 1), ("tick", 4)]
        + [("outage", False), ("tick", 2)],
    ),
    "the grace goes on while the hub is stopped": (
        [Mutant(HubRecord, "_note_lateness", "self._be_patient(now)", "pass")],
        [*HERE, ("leave", "u", 0), ("pause", 0), ("outage", True), ("connect", "u", 1)]
        + [("tick", 4), ("outage", False), ("resume", 0), ("tick", 2)],
    ),
    "a successor does not notice that it is late": (
        [Mutant(HubRecord, "take_over", "self._good = now", "pass")],
        [*HERE, ("outage", True), ("move", "u", 1), ("takeover", 0, True), ("pause", 0)]
        + [("tick", 8)],
    ),
    "a new epoch does not matter": (
        [Mutant(HubRecord, "_note_epoch", "self._unsure = Step.RECORD", "pass")],
        [("connect", "v", 0), ("tick", 1), ("connect", "u", 0), ("write", 0), ("lose", 2)],
    ),
}


@pytest.mark.parametrize("rule", MUTANTS)
def test_each_rule_of_presence_is_needed(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutants, story = MUTANTS[rule]
    World().play(story)
    for mutant in mutants:
        mutant.install(monkeypatch)
    with pytest.raises(Broken):
        World().play(story)
