"""No event is written to a stream after its user was disconnected, whatever is late or
lost: random stories, and for each rule a story that breaks without it."""

from __future__ import annotations

import collections.abc as cabc

import pytest
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
from support import coroutines
from support.disconnect_world import Broken
from support.disconnect_world import Operation
from support.disconnect_world import Rules
from support.disconnect_world import World
from support.mutants import Mutant

from flask_push._hub.disconnect_list import DisconnectList
from flask_push._hub.disconnects import Disconnects
from flask_push._hub.hub import Hub
from flask_push._hub.starts import Starts

users, machines = st.sampled_from("uuv"), st.integers(0, 1)
few = st.integers(0, 3)
operations = st.one_of(
    st.just(("publish",)),
    st.tuples(st.just("end"), users, machines),
    st.tuples(st.just("begin"), users, machines),
    st.tuples(st.just("decide"), few),
    st.tuples(st.just("hand"), few),
    st.tuples(st.just("adopt"), machines),
    st.tuples(st.just("redeem"), st.integers(0, 2), machines),
    st.tuples(st.just("turn"), machines, st.integers(1, 9)),
    st.tuples(st.just("tell"), machines),
    st.tuples(st.just("restart"), machines),
    st.tuples(st.just("takeover"), machines),
    st.tuples(st.just("forget"), st.integers(1, 2)),
    st.tuples(st.just("epoch"), few),
)
#: A whole stream, so that stories with one are not rare.
whole = st.builds(
    lambda user, machine: [
        *(("begin", user, machine), ("decide", 0), ("hand", 0), ("adopt", machine)),
        ("turn", machine, 9),
    ],
    users,
    machines,
)
stories = st.lists(
    st.one_of(operations.map(lambda one: [one]), whole), min_size=5, max_size=40
).map(lambda parts: [one for part in parts for one in part])


TRUE = Rules()


def play(story: cabc.Iterable[Operation], rules: Rules = TRUE) -> None:
    async def main() -> None:
        world = World(rules)
        try:
            await world.play(story)
            await world.check_return()
            world.check()
        finally:
            world.close()

    coroutines.run(main())


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(stories)
def test_no_event_follows_a_disconnect_and_who_is_allowed_returns(
    story: list[Operation],
) -> None:
    play(story)


TAKE, LATE = (DisconnectList, "take"), (DisconnectList, "is_late")

BEGIN: list[Operation] = [("turn", 0, 9), ("turn", 1, 9)]
#: A view that decides, and then its user is disconnected.
LATE_VIEW: list[Operation] = [*BEGIN, ("begin", "u", 0), ("decide", 0), ("end", "u", 1)]
#: A stream that is live.
OTHER: list[Operation] = [
    *(("begin", "v", 0), ("decide", 0), ("hand", 0), ("adopt", 0), ("turn", 0, 9))
]
LIVE: list[Operation] = [
    *(*BEGIN, ("begin", "u", 0), ("decide", 0), ("hand", 0), ("adopt", 0)),
    ("turn", 0, 9),
]
TURN, PUBLISH, END = ("turn", 0, 9), ("publish",), ("end", "u", 1)
ADOPT: list[Operation] = [("adopt", 0), TURN, PUBLISH, TURN, TURN]

#: For each rule, a story that ends badly without it.
MUTANTS: dict[str, tuple[Mutant, list[Operation]]] = {
    "late views are not noticed": (
        Mutant(Disconnects, "admits", "if self._list.is_late(stream):", "if False:"),
        [*LATE_VIEW, ("hand", 0), TURN, *ADOPT],
    ),
    "return tickets are not checked": (
        Mutant(Disconnects, "refuses", "or self._list.is_late(stream)", ""),
        [*BEGIN, *OTHER, *LATE_VIEW, ("hand", 0), TURN, ("redeem", 0, 0)],
    ),
    "a late view is not noticed after its page was read": (
        Mutant(Starts, "_begin_with", "if not self._admits(connection):", "if False:"),
        [*BEGIN, *OTHER, ("begin", "u", 0), ("decide", 0), ("hand", 0), ("adopt", 0)]
        + [END, PUBLISH, TURN],
    ),
    "streams begin before the list is known": (
        Mutant(Disconnects, "admits", "if not self._list.known:", "if False:"),
        # Every other stream is replayed.
        [*BEGIN, *OTHER, *OTHER, *LATE_VIEW, TURN, ("hand", 0)] + [("takeover", 0), *ADOPT],
    ),
    "the epoch of a request does not matter": (
        Mutant(*LATE, "epoch != self.epoch or", ""),
        [*LATE_VIEW, ("hand", 0), ("epoch", 1), TURN, *ADOPT],
    ),
    "the beginning of the list does not matter": (
        Mutant(*LATE, "or number < self.since", ""),
        [*LATE_VIEW, ("hand", 0), ("forget", 1), TURN, *ADOPT],
    ),
    "a new epoch sends no stream back": (
        Mutant(*TAKE, 'doubt = "the store began another epoch"', "pass"),
        [*LIVE, END, ("epoch", 1), TURN, PUBLISH, TURN],
    ),
    "disconnects that were missed send no stream back": (
        Mutant(*TAKE, "elif page.since > self.end:", "elif False:"),
        [*LIVE, END, ("forget", 1), TURN, PUBLISH, TURN],
    ),
    "a hub begins with an empty list": (
        Mutant(*TAKE, "if self.known and number <= self.end:", "if not self.known:"),
        [*LATE_VIEW, ("restart", 0), TURN, ("hand", 0), *ADOPT],
    ),
    "a successor applies nothing that came meanwhile": (
        Mutant(*TAKE, "if number > self.end:", "if self.known:"),
        [*LIVE, END, ("takeover", 0), TURN, PUBLISH, TURN],
    ),
    "disconnects are applied after the events of their turn": (
        Mutant(
            *(Hub, "own", "self.disconnects.take(page)"),
            "self._loop.call_soon(self.disconnects.take, page)",
        ),
        [*LIVE, END, PUBLISH, TURN],
    ),
    "a position that was recent stays so": (
        Mutant(
            *(Disconnects, "take", "change, self._recent = self._list.take(page), None"),
            "change = self._list.take(page)",
        ),
        [*BEGIN, *OTHER, *LATE_VIEW, ("hand", 0), TURN, *ADOPT],
    ),
    "the position is not noted when disconnects are applied": (
        Mutant(Disconnects, "take", "self.note()", "pass"),
        [*BEGIN, END],
    ),
}
#: Rules that the app and the store keep, and not the hub.
WORLDS: dict[str, tuple[Rules, list[Operation]]] = {
    "the position is that at which push.stream() runs": (
        Rules(seen="stream"),
        [*BEGIN, ("begin", "u", 0), ("decide", 0), ("end", "u", 0), ("hand", 0), TURN]
        + ADOPT,
    ),
    "a ticket has the position at which it was made": (
        Rules(ticket="made"),
        [*LATE_VIEW, ("hand", 0), TURN, ("redeem", 0, 0), TURN, PUBLISH, TURN],
    ),
    "the store keeps only the newest disconnect of a user": (
        Rules(newest_only=True),
        [*LIVE, END, PUBLISH, END, ("turn", 0, 1)],
    ),
}


@pytest.mark.parametrize("rule", MUTANTS)
def test_each_rule_of_the_hub_is_needed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant, story = MUTANTS[rule]
    play(story)
    mutant.install(monkeypatch)
    with pytest.raises(Broken):
        play(story)


@pytest.mark.parametrize("rule", WORLDS)
def test_each_rule_of_the_others_is_needed(rule: str) -> None:
    rules, story = WORLDS[rule]
    play(story)
    with pytest.raises(Broken):
        play(story, rules)
