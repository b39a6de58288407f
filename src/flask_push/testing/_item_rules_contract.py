"""Tests of the conditions, the times and the bounds of items."""

from __future__ import annotations

import time
import typing as t

from .._event import Event
from .._event import Position
from ..brokers import Conflict
from ..brokers import ItemsFull
from ..brokers import KeepsItems
from ..brokers import Retention
from ..brokers.items import MIN_TOMBSTONES
from ..brokers.items import UNSET
from ._item_judge import Both
from ._item_judge import numbers_of
from ._item_judge import refused
from ._item_judge import set_
from ._item_judge import SOON
from ._item_judge import unset
from ._open import Contract


class ItemRulesContract(Contract):
    """When a change is refused or stores nothing, and what a store removes."""

    def open_items(self, retention: Retention | None = None) -> Both:
        broker = self.open(retention)
        assert isinstance(broker, KeepsItems)
        return t.cast(Both, broker)

    def wait(self, seconds: float) -> None:
        """Let the time of the store's clock pass. Override it with :meth:`clock` if the
        test can set that clock."""
        time.sleep(seconds)

    def clock(self) -> float:
        """The store's clock, in seconds since any time."""
        return time.monotonic()

    #: Seconds by which :meth:`clock` may differ from the store's.
    tolerance = 0.005

    def begin_again_with_rows(self) -> bool:
        """Begin another epoch of the store of this test, which keeps its rows. ``False`` if
        that can't be: then it is not tested."""
        return False

    # Conditions.

    def test_all_expectations_are_checked_before_anything_is_stored(self) -> None:
        broker = self.open_items()
        (first,) = broker.change([set_("i", "1", expect="")])
        id, other = str(first), str(Position(first.epoch, first.number + 1))
        for wrong in (
            *(set_("i", expect=""), set_("i", expect=other), unset("i", expect=other)),
            *(set_("none", expect=id), unset("none", expect=id), set_("i", expect="x")),
            set_("i", channel="b", expect=id),
        ):
            refused(Conflict, broker, Event("a", "x"), set_("j"), unset("i"), wrong)
        # Against the rows before the call.
        _, second = broker.change([set_("i", "2", expect=id), set_("i", "3", expect=id)])
        refused(Conflict, broker, set_("i", expect=id))
        broker.change([unset("i", expect=str(second))])
        refused(Conflict, broker, set_("i", expect=str(second)))
        broker.change([set_("i", "4", expect="")])
        broker.close()

    def test_an_expectation_is_one_of_the_epoch_in_which_the_row_was_stored(self) -> None:
        broker = self.open_items()
        (first,) = broker.change([set_("i", "1")])
        if self.begin_again_with_rows():
            now = broker.read([], after=0).epoch
            assert now != first.epoch
            (row,) = broker.read_items(["a"]).rows
            assert row.position == first
            refused(Conflict, broker, set_("i", expect=str(Position(now, first.number))))
            broker.change([set_("i", "2", expect=str(first))])
            (row,) = broker.read_items(["a"]).rows
            assert row.position.epoch == now and row.data == b"2"
        broker.close()

    # Time.

    def test_a_row_is_due_when_its_time_is_over(self) -> None:
        broker = self.open_items()
        soon, later = broker.change([set_("i", ttl=SOON, version=3), set_("j", ttl=600)])
        assert not [each for each in broker.due() if each.item == "j"]
        self.wait(SOON + 0.02)
        # It stays, and pages leave it out.
        assert [row.item for row in broker.read_items(["a"]).rows] == ["j"]
        with_due = broker.read_items(["a"], due=True).rows
        assert [row.position for row in with_due] == [soon, later]
        assert len(broker.read(["a"], after=0, items=True).entries) == 2
        found = broker.due()
        assert [(each.channel, each.item, each.data) for each in found] == [
            ("a", "i", None)
        ]
        (gone,) = broker.change(found)
        assert gone.number > later.number and broker.due() == []
        assert broker.change(found) == [gone]
        page = broker.read(["a"], after=later.number, items=True)
        assert [(e.item, e.type, e.number) for e in page.entries] == [
            ("i", UNSET, gone.number)
        ]
        assert broker.change([set_("i", version=3)]) == [gone], "its version stays"
        broker.close()

    def test_a_row_that_is_due_is_unset_before_it_is_changed(self) -> None:
        broker = self.open_items()
        (first,) = broker.change([set_("i", "1", ttl=SOON)])
        self.wait(SOON + 0.02)
        refused(Conflict, broker, set_("i", expect=str(first)))
        end = broker.read([], after=0).end
        (unset_,) = broker.change([unset("i")])
        assert unset_.number > end
        broker.change([set_("i", "2", ttl=SOON)])
        self.wait(SOON + 0.02)
        # The same again is an event, because the item was gone.
        (again,) = broker.change([set_("i", "2", ttl=600, expect="")])
        (row,) = broker.read_items(["a"]).rows
        assert row.position == again and again.number > unset_.number
        broker.close()

    def test_the_same_again_moves_the_deadline_and_is_no_event(self) -> None:
        broker = self.open_items()
        about: dict[str, t.Any] = {"type": "t", "owner": "me"}
        (first,) = broker.change([set_("i", "1", ttl=SOON, **about)])
        assert broker.change([set_("i", "1", ttl=600, **about)]) == [first]
        found = broker.due()
        self.wait(SOON + 0.02)
        assert broker.due() == [] and broker.read_items(["a"]).rows
        # An unset that was found before does nothing now.
        assert broker.change([*found, unset("i", due=True)])[-1] == first
        assert broker.read([], after=0).end == first.number
        # Also earlier, or for the first time.
        assert broker.change([set_("i", "1", ttl=SOON, **about)]) == [first]
        self.wait(SOON + 0.02)
        assert len(broker.due()) == 1
        (other,) = broker.change([set_("j", "1")])
        assert broker.change([set_("j", "1", ttl=SOON)]) == [other]
        self.wait(SOON + 0.02)
        assert {each.item for each in broker.due()} == {"i", "j"}
        broker.close()

    def test_another_value_has_another_deadline_or_none(self) -> None:
        broker = self.open_items()
        for change in (
            *(set_("i", "2", ttl=600), set_("i", "1", type="t", ttl=600)),
            *(set_("i", "1", version=1, ttl=600), set_("i", "1", owner="me", ttl=600)),
            *(set_("i", "1"), set_("i", "2")),
        ):
            (first,) = broker.change([set_("i", "0"), set_("i", "1", ttl=SOON)])[1:]
            (second,) = broker.change([change])
            assert second.number > first.number, change
            self.wait(SOON + 0.02)
            assert broker.due() == [] and broker.read_items(["a"]).rows, change
        broker.close()

    def test_rows_of_all_channels_and_kinds_are_due_so_many_at_a_time(self) -> None:
        broker = self.open_items()
        broker.change(
            [
                set_(f"i{n}", channel=f"c{n % 7}", ttl=SOON, kind="own" * (n % 2))
                for n in range(20)
            ]
        )
        self.wait(SOON + 0.02)
        calls = []
        while found := broker.due(8):
            calls.append(len(found))
            broker.change(found)
        assert calls == [8, 8, 4]
        for kind in "", "own":
            names = [f"c{n}" for n in range(7)]
            assert not broker.read_items(names, kind=kind, due=True).rows
        broker.close()

    def test_a_wall_clock_that_is_wrong_makes_no_row_due(self) -> None:
        broker = self.open_items()
        broker.change([set_("i", ttl=600)])
        for days in 400, -400:
            with self.clock_wrong_by(days * 86400):
                assert broker.due() == [] and broker.read_items(["a"]).rows
                broker.change([set_("j", str(days), ttl=SOON)])
                self.wait(SOON + 0.02)
                assert [each.item for each in broker.due()] == ["j"]
                broker.change([set_("k", str(days), ttl=600)])
            assert [each.item for each in broker.due()] == ["j"]
            broker.change(broker.due())
        assert [row.item for row in broker.read_items(["a"]).rows] == ["i", "k"]
        broker.close()

    # Owners.

    def test_an_owner_has_its_living_rows_of_all_channels(self) -> None:
        broker = self.open_items()
        changes = [
            set_(f"i{n}", str(n), f"c{n % 3}", kind="own", owner="ab"[n % 2])
            for n in range(10)
        ]
        positions = broker.change([*changes, set_("i", owner="a"), set_("i", kind="own")])
        rows = broker.owned("a", kind="own")
        assert [row.position for row in rows] == positions[:10:2]
        expected = [("c0", "i0", "message", b"0"), ("c2", "i2", "message", b"2")]
        assert [(r.channel, r.item, r.type, r.data) for r in rows][:2] == expected
        assert {row.owner for row in rows} == {"a"}
        assert [r.position for r in broker.owned("b", kind="own", limit=2)] == positions[
            1:5:2
        ]
        assert [row.channel for row in broker.owned("a", kind="")] == ["a"]
        broker.change([changes[0]._replace(owner="b"), changes[2]._replace(data=None)])
        broker.change([changes[4]._replace(owner="")])
        assert [r.item for r in broker.owned("a", kind="own")] == ["i6", "i8"]
        assert broker.owned("b", kind="own")[-1].item == "i0"
        assert broker.owned("none", kind="own") == [] == broker.owned("a", kind="other")
        broker.close()

    # Bounds.

    def test_a_channel_has_so_many_items_and_refuses_more(self) -> None:
        broker = self.open_items(Retention(items=5))
        broker.change([set_(f"i{n}") for n in range(5)])
        refused(ItemsFull, broker, Event("a", "x"), set_("i5"), words="PUSH_MAX_ITEMS")
        broker.change([set_("i4", "again")])
        # Its end counts, and not what is between.
        broker.change([set_("i5"), unset("i0")])
        refused(ItemsFull, broker, unset("none"), set_("i6"))
        broker.change([set_(f"i{n}", channel="b") for n in range(5)])
        broker.change([set_(f"i{n}", kind="own") for n in range(9)])
        assert len(broker.read_items(["a"]).rows) == len(broker.read_items(["b"]).rows) == 5
        broker.close()

    def test_items_have_so_many_bytes_and_refuse_more(self) -> None:
        broker = self.open_items(Retention(item_bytes=1000))
        # 100, the item, the type, and the data.
        size = 500 - 100 - 2 - 7
        broker.change([set_("ää"[:1], "x" * size), set_("ä", "ä" * (size // 2) + "x")])
        broker.change([unset("ä")])
        broker.change([set_("i1", "x" * size), set_("i2", "x" * size)])
        for more in set_("i2", "x" * (size + 1)), set_("i2", "x" * size, type="messages"):
            refused(ItemsFull, broker, more, words="PUSH_ITEMS_BYTES")
        refused(ItemsFull, broker, set_("i3", ""), words="PUSH_ITEMS_BYTES")
        broker.change([unset("i1"), set_("i3", "x" * size)])
        broker.change([set_("i3", "x" * 10_000, kind="own")])
        broker.close()

    def test_the_retention_of_events_leaves_items_alone(self) -> None:
        broker = self.open_items(Retention(age=0.1, count=3, bytes=20_000))
        positions = broker.change([set_(f"i{n}", "x" * 10_000) for n in range(9)])
        (event,) = broker.publish([Event("a", "x" * 10_000)])
        assert [e.number for e in broker.read(["a"], after=0).entries] == [event.number]
        time.sleep(0.2)
        for _ in range(50):
            broker.publish([Event("a", "x" * 1000)])
        broker.change([set_("last")])
        rows = broker.read_items(["a"], limit=2**20).rows
        assert [row.position for row in rows[:-1]] == positions
        broker.close()

    def test_a_channel_keeps_so_many_tombstones_and_a_horizon(self) -> None:
        broker = self.open_items()
        birth = broker.read([], after=0).end
        names = [f"i{n}" for n in range(MIN_TOMBSTONES + 10)]
        broker.change([set_("stays"), *(set_(name) for name in names[:500])])
        broker.change([set_(name) for name in names[500:]])
        assert 0 < broker.read_items(["a"]).horizons["a"] <= birth
        gone = broker.change([unset(name) for name in names[:500]])
        gone += broker.change([unset(name) for name in names[500:]])
        found = broker.read(["a"], after=0, limit=2**30, items=True)
        left = [entry.number for entry in found.entries if entry.type == UNSET]
        assert left == numbers_of(gone)[10:]
        assert found.horizons == {"a": gone[9].number}
        assert broker.read_items("ab").horizons["a"] == gone[9].number
        assert 0 < broker.read_items("ab").horizons["b"] <= birth
        assert [row.item for row in broker.read_items(["a"]).rows] == ["stays"]
        broker.close()

    def test_a_channel_with_many_items_keeps_as_many_tombstones(self) -> None:
        broker = self.open_items()
        count = MIN_TOMBSTONES + 200
        for kept in "living", "gone":
            for start in range(0, count, 400):
                broker.change([set_(f"{kept}{n}") for n in range(start, start + 400)])
        for start in range(0, count, 400):
            broker.change([unset(f"gone{n}") for n in range(start, start + 400)])
        page = broker.read(["a"], after=0, limit=2**30, items=True)
        tombstones = [entry for entry in page.entries if entry.type == UNSET]
        assert len(tombstones) == len(page.entries) - count == count
        broker.change([unset("living0")])
        page = broker.read(["a"], after=0, limit=2**30, items=True)
        left = [entry for entry in page.entries if entry.type == UNSET]
        assert len(left) == count - 1
        assert page.horizons["a"] == tombstones[1].number
        assert left[0].number == tombstones[2].number
        broker.close()

    def test_tombstones_are_removed_when_they_are_old_but_not_the_newest_row(self) -> None:
        broker = self.open_items(Retention(age=0.3))
        changes = [set_("i"), set_("j"), unset("i"), unset("j")]
        *_, first, last = broker.change(changes)
        self.wait(0.4)
        broker.publish([Event("a", "x")])
        (newest,) = broker.change([set_("k")])
        for n in range(4):
            newest = broker.change([set_("k", str(n))])[0]
        page = broker.read(["a"], after=0, items=True)
        rows = [(e.number, e.item) for e in page.entries if e.item]
        assert rows == [(newest.number, "k")]
        assert page.horizons["a"] == last.number > first.number
        broker.change([unset("k")])
        entries = broker.read(["a"], after=newest.number, items=True).entries
        assert [entry.item for entry in entries if entry.item] == ["k"]
        broker.close()
