"""The tests of what a broker keeps, and for how long."""

from __future__ import annotations

import time

from .._event import Event
from ..brokers import Retention
from ._store_contract import StoreContract


class RetentionContract(StoreContract):
    """What is kept, and what expires."""

    def test_a_channel_keeps_so_many_events_and_proves_it(self) -> None:
        broker = self.open(Retention(count=5))
        (first,) = broker.publish([Event("b", "kept")])
        numbers = [broker.publish([Event("a", str(n))])[0].number for n in range(30)]
        page = broker.read("ab", after=first.number - 1)
        held = [entry for entry in page.entries if entry.channel == "a"]
        assert 5 <= len(held) <= 6
        assert page.proofs["a"].since == held[0].prev == numbers[-len(held) - 1]
        assert page.proofs["a"].reason == "trimmed"
        assert page.proofs["b"].since < first.number
        assert broker.read(["a"], last=99).after >= numbers[-len(held) - 1]
        broker.close()

    def test_what_is_too_old_goes_and_positions_from_before_can_tell(self) -> None:
        broker = self.open(Retention(age=0.2))
        birth = broker.read([], after=0).end
        (old,) = broker.publish([Event("a", "old")])
        time.sleep(0.3)
        for _ in range(3):
            broker.publish([Event("b", "new")])
        page = broker.read("abc", after=birth)
        assert [entry.channel for entry in page.entries] == ["b", "b", "b"]
        assert old.number <= page.proofs["a"].since < page.entries[0].number
        # It can't be known any more whether c had events then.
        assert page.proofs["c"].since >= old.number
        assert page.proofs["c"].reason == "unknown"
        (position,) = broker.publish([Event("a", "again")])
        (entry,) = broker.read(["a"], after=old.number).entries
        assert entry.prev is not None and old.number <= entry.prev < position.number
        broker.close()

    def test_all_channels_together_keep_so_many_bytes(self) -> None:
        broker = self.open(Retention(bytes=20_000))
        for n in range(100):
            broker.publish([Event(f"c{n % 10}", "x" * 1000)])
        names = [f"c{n}" for n in range(10)]
        page = broker.read(names, after=0)
        assert 10 <= len(page.entries) <= 20
        assert all(proof.since > 0 for proof in page.proofs.values())
        broker.close()

    def test_an_event_may_be_larger_than_all_that_is_kept(self) -> None:
        broker = self.open(Retention(bytes=20_000))
        (large,) = broker.publish([Event("a", "x" * 30_000)])
        (small,) = broker.publish([Event("a", "small")])
        page = broker.read(["a"], after=large.number)
        assert [entry.number for entry in page.entries] == [small.number]
        assert page.proofs["a"].since <= large.number
        broker.close()

    def test_keys_count_among_the_bytes_and_the_oldest_go(self) -> None:
        broker = self.open(Retention(bytes=20_000, count=10))
        (first,) = broker.publish([Event("a", "x", key=f"0 {'k' * 200}")])
        for n in range(1, 200):
            broker.publish([Event("a", "x", key=f"{n} {'k' * 200}")])
        (last,) = broker.publish([Event("a", "x", key="last")])
        assert broker.publish([Event("a", "x", key="last")]) == [last]
        assert broker.publish([Event("a", "x", key=f"0 {'k' * 200}")]) != [first]
        broker.close()

    def test_what_is_not_stored_drives_out_nothing_that_is(self) -> None:
        broker = self.open(Retention(bytes=100_000))
        (kept,) = broker.publish([Event("a", "kept")])
        for _ in range(100):
            broker.publish([Event("b", "x" * 10_000, store=False)])
        page = broker.read(["a", "c"], after=0)
        assert [entry.number for entry in page.entries] == [kept.number]
        assert all(proof.since < kept.number for proof in page.proofs.values())
        broker.close()

    def test_a_clock_that_is_ahead_for_one_event_ages_nothing(self) -> None:
        self.be_wrong_for_one_event(days=400)

    def test_a_clock_that_is_behind_for_one_event_ages_nothing(self) -> None:
        self.be_wrong_for_one_event(days=-400)

    def be_wrong_for_one_event(self, days: int) -> None:
        broker = self.open(Retention(age=1.5))
        before = broker.publish([Event("a", "before", key="k"), Event("b", "before")])
        with self.clock_wrong_by(days * 86400):
            (meanwhile,) = broker.publish([Event("a", "meanwhile")])
        (after,) = broker.publish([Event("a", "after")])
        page = broker.read("ab", after=0)
        numbers = [entry.number for entry in page.entries]
        assert numbers == [*(p.number for p in before), meanwhile.number, after.number]
        assert numbers == sorted(numbers)
        assert broker.publish([Event("a", "again", key="k")]) == before[:1]
        # And when it is old, it goes.
        time.sleep(1.6)
        for _ in range(5):
            broker.publish([Event("c", "new")])
        assert not broker.read("ab", after=0).entries
        assert broker.publish([Event("a", "again", key="k")]) != before[:1]
        broker.close()

    def test_what_is_too_old_goes_while_the_clock_is_ahead(self) -> None:
        self.be_wrong_for_long(days=400)

    def test_what_is_too_old_goes_while_the_clock_is_behind(self) -> None:
        self.be_wrong_for_long(days=-400)

    def be_wrong_for_long(self, days: int) -> None:
        broker = self.open(Retention(age=1))
        broker.publish([Event("a", "before", key="k")])
        with self.clock_wrong_by(days * 86400):
            broker.publish([Event("a", "meanwhile", key="j")])
            assert len(broker.read("a", after=0).entries) == 2
            time.sleep(1.1)
            for _ in range(5):
                (last,) = broker.publish([Event("b", "new")])
            page = broker.read("ab", after=0)
            assert [entry.channel for entry in page.entries] == ["b"] * 5
        (next,) = broker.publish([Event("b", "newer")])
        assert next.number > last.number and next.epoch == last.epoch
        assert len(broker.read("b", after=0).entries) == 6
        broker.close()
