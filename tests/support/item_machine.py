"""A Hypothesis state machine that changes items, and judges the store after each call."""

from __future__ import annotations

import random
import typing as t

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize
from hypothesis.stateful import invariant
from hypothesis.stateful import rule
from hypothesis.stateful import RuleBasedStateMachine

from flask_push import Event
from flask_push.brokers import ItemChange
from flask_push.brokers import Retention
from flask_push.brokers.memory import item_rows
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._item_judge import Both
from flask_push.testing._item_judge import judge
from flask_push.testing._item_model import ItemModel

#: Seconds for which an item lives, and for which the test waits. No sum of these times is
#: near to one of those.
TTLS, WAITS = (None, None, 0.05, 0.5), (0.031, 0.07, 0.6)
RETENTION = Retention(age=0.3, items=5, item_bytes=1200)
TOMBSTONES = 3

#: A change, and what it expects: an id, which the machine looks up, or ``None``.
Draft = tuple[Event | ItemChange, str | None]


@st.composite
def drafts(draw: st.DrawFn) -> Draft:
    channel, item = draw(st.sampled_from("ab")), draw(st.sampled_from("ijklmn"))
    what = draw(st.sampled_from(["event", "unset", "due", "set", "set", "set"]))
    if what == "event":
        return Event(channel, "event"), None
    change = ItemChange(channel, item, None, kind=draw(st.sampled_from(["", "", "own"])))
    if what == "due":
        return change._replace(due=True), None
    expect = draw(st.sampled_from([None] * 16 + ["none", "row", "epoch", "wrong"]))
    change = change._replace(version=draw(st.sampled_from([None, None, 0, 1, 2])))
    if what == "set":
        change = change._replace(
            data=draw(st.sampled_from(["x", "y", "z" * 400, "ü" * 250])),
            ttl=draw(st.sampled_from(TTLS)),
            type=draw(st.sampled_from(["message", "message", "t"])),
            owner=draw(st.sampled_from(["", "me", "you"])),
        )
    return change, expect


class ItemMachine(RuleBasedStateMachine):
    """Changes the items of a store whose clock it sets."""

    kind: t.ClassVar[type[MemoryBroker]] = MemoryBroker

    @initialize()
    def begin(self) -> None:
        self.broker = self.kind(RETENTION)
        self.time = self.broker._last / 1_000_000
        clock: t.Any = self
        self.broker._clock = clock
        store = t.cast(Both, self.broker)
        end = store.read([]).end
        self.model = ItemModel(RETENTION, lambda: self.time, 0.001, end, TOMBSTONES)
        self.store = store

    def now(self, last: int) -> int:
        """The store's clock, which does not go on by itself."""
        return round(self.time * 1_000_000)

    @rule(changes=st.lists(drafts(), min_size=1, max_size=5))
    def change(self, changes: list[Draft]) -> None:
        self.model.change(self.store.change, [self._expecting(*each) for each in changes])

    @rule(item=st.sampled_from("ijklmn"), times=st.integers(1, 6))
    def flicker(self, item: str, times: int) -> None:
        """Set and unset some items, so that their channel has many tombstones."""
        items = [item, *"opqrs"][:times]
        calls = [[ItemChange("a", name, data) for name in items] for data in ("x", None)]
        for changes in calls:
            self.model.change(self.store.change, changes)

    @rule(seconds=st.sampled_from(WAITS))
    def wait(self, seconds: float) -> None:
        self.time += seconds

    @rule()
    def sweep(self) -> None:
        self.model.change(self.store.change, self.store.due())

    @rule()
    def begin_another_epoch(self) -> None:
        self.broker._epoch = "".join(random.choices("abcdefgh", k=5))

    @invariant()
    def rows_are_right(self) -> None:
        if hasattr(self, "model"):
            judge(self.store, self.model, 0)
            judge(self.store, self.model, self.model.end - 50_000)

    def _expecting(self, change: Event | ItemChange, expect: str | None) -> t.Any:
        if isinstance(change, Event) or expect is None:
            return change
        row = self.model.rows.get((change.kind, change.channel, change.item))
        number = row.position.number if row else 7
        found = {
            "none": "",
            "row": str(row.position) if row else "",
            "epoch": str(row.position._replace(epoch="other")) if row else "",
            "wrong": f"{self.broker._epoch}-{number + 1}",
        }
        return change._replace(expect=found[expect])


def run(kind: type[MemoryBroker], examples: int, monkeypatch: t.Any) -> None:
    """Fail if the machine finds that the store breaks a rule."""
    monkeypatch.setattr(item_rows, "MIN_TOMBSTONES", TOMBSTONES)
    machine = type("Machine", (ItemMachine,), {"kind": kind})
    case = machine.TestCase  # type: ignore[attr-defined]
    case.settings = settings(
        max_examples=examples, stateful_step_count=25, deadline=None, database=None
    )
    case().runTest()
