"""Tests of the store of a broker that keeps items."""

from __future__ import annotations

import random
import threading

from .._event import Event
from .._event import MAX_NUMBER
from ..brokers import Entry
from ..brokers import ItemChange
from ..brokers import ItemRow
from ..brokers import Retention
from ..brokers.base import ENTRY_BYTES
from ..brokers.items import UNSET
from ._item_judge import any_change
from ._item_judge import Both
from ._item_judge import judge
from ._item_judge import numbers_in
from ._item_judge import numbers_of
from ._item_judge import refused
from ._item_judge import set_
from ._item_judge import SOON
from ._item_judge import unset
from ._item_model import ItemModel
from ._item_model import Undecided
from ._item_rules_contract import ItemRulesContract


class ItemStoreContract(ItemRulesContract):
    """Rows, pages, and any changes."""

    # Rows.

    def test_changes_have_numbers_in_the_sequence_of_all_events(self) -> None:
        broker = self.open_items()
        (first,) = broker.publish([Event("a", "1")])
        changes: list[Event | ItemChange]
        changes = [set_("i", "2"), Event("a", "3"), set_("j", "4"), unset("i")]
        positions = [first, *broker.change(changes)]
        positions += broker.publish([Event("b", "5")])
        assert len({position.epoch for position in positions}) == 1
        numbers = numbers_of(positions)
        assert numbers == sorted(set(numbers))
        page = broker.read("ab", after=0, items=True)
        assert page.reach == page.end == numbers[-1]
        found = [(entry.number, entry.data, entry.item) for entry in page.entries]
        texts = [b"1", b"3", b"4", b"", b"5"]
        kept = [*numbers[:1], *numbers[2:]]
        assert found == list(zip(kept, texts, ["", "", "j", "i", ""], strict=True))
        assert broker.change([]) == []
        broker.close()

    def test_an_item_has_one_row_which_is_the_newest(self) -> None:
        broker = self.open_items()
        texts = ["", "a\0b", "a\r\nb\rc\nd", "\u2028\x0b", " x ", "\U0001f600", "x" * 2**20]
        names = [f"غرفة:~.\n{n}" for n in range(len(texts))]
        for text in "old", *texts[:1]:
            broker.change([set_(name, text) for name in names])
        broker.change(
            [
                set_(*each, type=f"t {each[1][:9]!r}")
                for each in zip(names, texts, strict=True)
            ]
        )
        page = broker.read_items(["a"], limit=2**30)
        assert [row.item for row in page.rows] == names
        assert [row.data.decode() for row in page.rows] == texts
        assert [row.type for row in page.rows] == [f"t {x[:9]!r}" for x in texts]
        assert {row.channel for row in page.rows} == {"a"}
        all_of_it = broker.read(["a"], after=0, limit=2**30, items=True).entries
        assert [(e.number, e.item, e.data) for e in all_of_it] == [
            (row.number, row.item, row.data) for row in page.rows
        ]
        broker.close()

    def test_an_unset_leaves_a_tombstone(self) -> None:
        broker = self.open_items()
        start, _, last = broker.change([set_("i"), set_("j"), unset("i")])
        page = broker.read(["a"], after=0, items=True)
        shown = [(e.number, e.item, e.type, e.data) for e in page.entries]
        assert shown[1:] == [(last.number, "i", UNSET, b"")]
        assert [row.item for row in broker.read_items(["a"]).rows] == ["j"]
        (again,) = broker.change([set_("i", "again")])
        page = broker.read(["a"], after=start.number, items=True)
        found = [(e.item, e.type, e.number) for e in page.entries]
        assert found[1:] == [("i", "message", again.number)]
        broker.close()

    def test_the_unset_of_an_absent_item_stores_nothing(self) -> None:
        broker = self.open_items()
        positions = broker.change([set_("i"), unset("i"), Event("a", "x")])
        end = broker.change([unset("i"), unset("never"), unset("i", version=5)])
        assert end == positions[-1:] * 3
        page = broker.read(["a"], after=0, items=True)
        assert page.end == positions[-1].number and len(page.entries) == 2
        broker.close()

    def test_a_change_of_an_older_version_changes_nothing(self) -> None:
        broker = self.open_items()
        (first,) = broker.change([set_("i", "1", version=10**18 + 1)])
        for version in 0, 9, 10**18, 10**18 + 1:
            older = set_("i", "older", version=version), unset("i", version=version)
            assert broker.change(older) == [first, first]
        assert broker.read([], after=0).end == first.number
        (row,) = broker.read_items(["a"]).rows
        assert (row.data, row.version, row.position) == (b"1", 10**18 + 1, first)
        newer = [set_("i", "2", version=10**18 + 2), set_("i", "3", version=MAX_NUMBER)]
        second = broker.change(newer)[1]
        assert second.number > first.number
        # A change without a version is made.
        broker.change([set_("i", "4")])
        (row,) = broker.read_items(["a"]).rows
        assert (row.data, row.version) == (b"4", None)
        (gone,) = broker.change([set_("i", "5", version=5), unset("i", version=7)])[1:]
        assert broker.change([set_("i", "older", version=6)]) == [gone]
        assert not broker.read_items(["a"]).rows
        broker.change([set_("i", "6", version=8)])
        assert [row.data for row in broker.read_items(["a"]).rows] == [b"6"]
        broker.close()

    def test_all_changes_of_a_call_are_stored_or_none(self) -> None:
        broker = self.open_items()
        broker.change([set_("i", "1")])
        for bad in set_("k", "\ud800"), Event("a", "\ud800"):
            refused(ValueError, broker, Event("a", "x"), set_("j"), unset("i"), bad)
        broker.close()

    def test_a_channel_has_a_log_and_items_that_do_not_mix(self) -> None:
        broker = self.open_items(Retention(count=5))
        for n in range(20):
            broker.change([Event("a", str(n)), set_(f"i{n}"), unset(f"i{n - 1}")])
        events = broker.read(["a"], after=0)
        assert 5 <= len(events.entries) <= 6 and not events.horizons
        for before, entry in zip(events.entries, events.entries[1:], strict=False):
            assert entry.prev == before.number and not entry.item
        assert events.proofs["a"].since == events.entries[0].prev
        assert (
            len(broker.read(["a"], after=0, items=True).entries) == len(events.entries) + 20
        )
        assert [row.item for row in broker.read_items("ab").rows] == ["i19"]
        broker.close()

    def test_no_name_leads_to_items_of_another_kind(self) -> None:
        broker = self.open_items()
        names = ["a", "members", "members:a", "a:members"]
        changes = [set_("i", kind, "a", kind=kind) for kind in ("members", "other")]
        changes += [set_("i", name, name) for name in names]
        positions = broker.change(changes)
        broker.publish([Event(name, "x") for name in names])
        page = broker.read_items(names)
        assert [(row.channel, row.data.decode()) for row in page.rows] == [
            (name, name) for name in names
        ]
        entries = broker.read(names, after=0, items=True).entries
        assert len([entry for entry in entries if entry.item]) == len(names)
        for kind, position in zip(["members", "other"], positions, strict=False):
            (row,) = broker.read_items(["a"], kind=kind).rows
            assert (row.data, row.position) == (kind.encode(), position)
        broker.change([unset("i", kind="members")])
        assert not broker.read_items(["a"], kind="members").rows
        assert broker.read_items(["a"], kind="other").rows
        assert len(broker.read_items(names).rows) == len(names)
        broker.close()

    def test_a_change_that_can_not_be_is_refused(self) -> None:
        broker = self.open_items()
        ok = set_("ok")
        for kind in "A", "a:b", "a" * 33, "ä", "a\n":
            refused(ValueError, broker, ok, set_("i", kind=kind), words="letters a to z")
        for ttl in 0, -1, float("inf"), float("nan"):
            refused(ValueError, broker, ok, set_("i", ttl=ttl), words="seconds above 0")
        for version in -1, 2**63:
            refused(
                ValueError, broker, ok, set_("i", version=version), words="whole number"
            )
        refused(ValueError, broker, ok, set_(""), words="not empty")
        refused(ValueError, broker, ok, unset("i", ttl=1), words="ttl")
        broker.close()

    # Pages.

    def test_items_are_read_after_a_number_and_up_to_another(self) -> None:
        broker = self.open_items()
        numbers = numbers_of(
            broker.change([set_(f"i{n}", channel="ab"[n % 2]) for n in range(9)])
        )
        broker.change([unset("i4")])
        (end,) = broker.publish([Event("a", "x")])
        page = broker.read_items("ab", after=numbers[2], upto=numbers[6])
        assert [row.number for row in page.rows] == [numbers[3], *numbers[5:7]]
        assert (page.after, page.reach, page.end) == (numbers[2], numbers[6], end.number)
        page = broker.read_items("ab", after=numbers[7])
        assert [row.number for row in page.rows] == numbers[8:]
        assert page.reach == page.end == end.number and page.epoch == end.epoch
        page = broker.read_items("ab", upto=end.number + 10**9)
        assert len(page.rows) == 8 and page.reach == page.end == end.number
        assert [row.number for row in broker.read_items(["b"]).rows] == numbers[1::2]
        empty = broker.read_items([])
        assert not empty.rows and not empty.horizons and empty.reach == empty.end
        broker.close()

    def test_a_full_page_of_items_says_how_far_it_reaches(self) -> None:
        broker = self.open_items()
        broker.change([set_(f"i{n}", "x" * 100, random.choice("ab")) for n in range(20)])
        broker.change([unset("i7", channel) for channel in "ab"])
        seen: list[ItemRow] = []
        after, reads = 0, 0
        while True:
            page = broker.read_items("ab", after=after, limit=700)
            seen += page.rows
            after, reads = page.reach, reads + 1
            if page.reach == page.end:
                break
            assert page.reach == page.rows[-1].number
        assert seen == list(broker.read_items("ab").rows) and len(seen) == 19
        assert 3 < reads < 10
        assert len(broker.read_items("ab", limit=1).rows) == 1
        broker.close()

    def test_a_page_has_events_and_rows_in_one_order(self) -> None:
        broker = self.open_items()
        for n in range(30):
            name = random.choice("ab")
            broker.change([Event(name, "x" * 100), set_(f"i{n % 4}", "x" * 100, name)])
        broker.change([unset("i1", name) for name in "ab"])
        whole = broker.read("ab", after=0, items=True)
        assert numbers_in(whole.entries) == sorted(set(numbers_in(whole.entries)))
        events = [entry for entry in whole.entries if not entry.item]
        assert events == list(broker.read("ab", after=0).entries)
        assert whole.horizons.keys() == {"a", "b"}
        seen: list[Entry] = []
        after = 0
        while after < whole.end:
            page = broker.read("ab", after=after, limit=900, items=True)
            assert len(page.entries) <= 1 + 900 // ENTRY_BYTES
            for name in "ab":
                rows = [e for e in page.entries if e.item and e.channel == name]
                prev = min(page.horizons[name], after)
                for row in rows:
                    # The row that was read before it; none is missing between them.
                    assert row.prev == prev
                    prev = row.number
            seen += page.entries
            after = page.reach
        assert [e._replace(prev=0) for e in seen] == [
            e._replace(prev=0) for e in whole.entries
        ]
        newest = broker.read("ab", last=3, items=True)
        assert len([e for e in newest.entries if not e.item]) == 3
        broker.close()

    # Any order.

    def test_threads_and_brokers_change_at_once(self) -> None:
        broker = self.open_items()
        other = self.open_items() if self.shared else broker
        numbers: list[int] = []

        def change(broker: Both, name: str) -> None:
            for n in range(30):
                item = set_(f"{name}{n % 5}", str(n))
                positions = broker.change([item, Event("a", "x"), unset("none")])
                numbers.extend(numbers_of(positions[:2]))
                numbers.extend(numbers_of(broker.publish([Event("a", "x")])))

        brokers = (broker, other) * 2
        threads = [
            threading.Thread(target=change, args=pair)
            for pair in zip(brokers, "wxyz", strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(numbers)) == 4 * 30 * 3
        for each in broker, other:
            rows = each.read_items(["a"]).rows
            assert sorted((row.item, row.data) for row in rows) == [
                (f"{name}{n}", b"%d" % (25 + n)) for name in "wxyz" for n in range(5)
            ]
            assert len(each.read(["a"], after=0).entries) == 240
        other.close()
        broker.close()

    def test_a_closed_broker_opens_again_when_it_changes(self) -> None:
        broker = self.open_items()
        broker.change([set_("i")])
        broker.close()
        broker.change([set_("j")])
        broker.close()
        assert [row.item for row in broker.read_items(["a"]).rows] == ["i", "j"]
        broker.close()

    def test_any_changes_leave_the_rows_that_the_model_has(self) -> None:
        retention = Retention(items=6, item_bytes=1500)
        broker = self.open_items(retention)
        model = ItemModel(retention, self.clock, self.tolerance, broker.read([]).end)
        seed = random.randrange(2**32)
        rng = random.Random(seed)
        try:
            for _ in range(150):
                if rng.random() < 0.1:
                    self.wait(SOON + 3 * self.tolerance)
                model.change(
                    broker.change,
                    [any_change(rng, model) for _ in range(rng.randrange(1, 5))],
                )
                after = rng.choice([0, model.floor, model.end - rng.randrange(9999)])
                judge(broker, model, after)
        except Undecided:
            # The machine is too slow to know. The rows up to here were right.
            pass
        except AssertionError as error:
            raise AssertionError(f"with the seed {seed}: {error}") from error
        broker.close()
