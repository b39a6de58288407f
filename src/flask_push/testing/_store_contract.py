"""The tests of a broker that need only its store."""

from __future__ import annotations

import random
import threading
import time
from functools import partial

from .._event import Entry
from .._event import Event
from .._event import Position
from .._system.fork import run_in_child
from ..brokers import Retention
from ._open import Contract


class StoreContract(Contract):
    """Reading and publishing."""

    def test_numbers_grow_over_all_channels_in_the_order_of_the_caller(self) -> None:
        broker = self.open()
        names = [random.choice("abc") for _ in range(50)]
        positions = broker.publish([Event(name, "x") for name in names[:25]])
        for name in names[25:]:
            positions += broker.publish([Event(name, "x")])
        numbers = [position.number for position in positions]
        assert numbers == sorted(set(numbers))
        assert len({position.epoch for position in positions}) == 1
        page = broker.read("abc", after=0)
        assert [entry.channel for entry in page.entries] == names
        assert [entry.number for entry in page.entries] == numbers
        assert page.end == page.reach == numbers[-1]
        broker.close()

    def test_an_epoch_and_a_number_make_an_id(self) -> None:
        broker = self.open()
        (position,) = broker.publish([Event("a", "x")])
        assert Position.parse(str(position)) == position
        assert time.time() - 60 < position.number / 1e6 < time.time() + 60
        broker.close()

    def test_each_event_names_the_one_before_it_on_its_channel(self) -> None:
        broker = self.open()
        birth = broker.read([], after=0).end
        events = [Event(random.choice("abc"), "x") for _ in range(40)]
        broker.publish(events)
        page = broker.read("abc", after=0)
        last = dict.fromkeys("abc", 0)
        for entry in page.entries:
            assert entry.prev is not None
            if last[entry.channel]:
                assert entry.prev == last[entry.channel]
            else:
                assert 0 < entry.prev <= birth, "an unknown predecessor is never 0"
                assert page.proofs[entry.channel].since == entry.prev
            last[entry.channel] = entry.number
        broker.close()

    def test_a_page_begins_behind_its_number_and_proves_what_it_has(self) -> None:
        broker = self.open()
        numbers = [p.number for p in broker.publish([Event("a", str(n)) for n in range(9)])]
        page = broker.read(["a", "b"], after=numbers[3])
        assert [entry.data for entry in page.entries] == [b"4", b"5", b"6", b"7", b"8"]
        assert page.after == numbers[3]
        assert page.proofs["a"].since < numbers[0]
        assert page.proofs["b"].since < numbers[0], "b was always empty, provably"
        broker.close()

    def test_a_full_page_says_how_far_it_reaches(self) -> None:
        broker = self.open()
        broker.publish([Event(random.choice("ab"), "x" * 100) for _ in range(20)])
        seen: list[Entry] = []
        after, reads = 0, 0
        while True:
            page = broker.read("ab", after=after, limit=700)
            assert page.entries
            seen += page.entries
            after, reads = page.reach, reads + 1
            if page.reach == page.end:
                break
            assert page.reach == page.entries[-1].number
        assert seen == list(broker.read("ab", after=0).entries)
        assert 3 < reads < 10
        assert len(broker.read("ab", after=0, limit=1).entries) == 1
        broker.close()

    def test_the_last_events_of_several_channels(self) -> None:
        broker = self.open()
        numbers = [p.number for p in broker.publish([Event(n, n) for n in "aabbaab"])]
        page = broker.read("ab", last=3)
        assert [entry.number for entry in page.entries] == numbers[-3:]
        assert numbers[3] <= page.after < numbers[4]
        assert all(proof.since <= page.after for proof in page.proofs.values())
        assert len(broker.read("ab", last=99).entries) == 7
        nothing = broker.read(["c"], last=5)
        assert (list(nothing.entries), nothing.after) == ([], nothing.end)
        assert broker.read("ab", last=0).after == numbers[-1]
        broker.close()

    def test_type_and_data_come_back_byte_for_byte(self) -> None:
        broker = self.open()
        texts = ["", "a\0b", "a\r\nb\rc\nd", "\u2028\x0b", " x ", "\U0001f600", "x" * 2**20]
        broker.publish([Event("غرفة:~.\n", text, type=f"t {text[:9]!r}") for text in texts])
        page = broker.read(["غرفة:~.\n"], after=0, limit=2**30)
        assert [entry.data.decode() for entry in page.entries] == texts
        assert [entry.type for entry in page.entries] == [f"t {x[:9]!r}" for x in texts]
        broker.close()

    def test_the_connection_that_an_event_excludes_is_read_with_it(self) -> None:
        name = "d0nt-te11_me0000"
        broker = self.open()
        broker.publish([Event("a", "1", "said", exclude=name), Event("a", "2")])
        found = [(e.type, e.data, e.exclude) for e in broker.read(["a"], after=0).entries]
        assert found == [("said", b"1", name), ("message", b"2", "")]
        broker.close()

    def test_all_of_a_call_is_stored_or_nothing(self) -> None:
        broker = self.open()
        before = broker.read([], after=0).end
        try:
            broker.publish([Event("a", "x"), Event("a", "\ud800"), Event("a", "y")])
        except ValueError:
            pass
        page = broker.read(["a"], after=0)
        assert not page.entries and page.end == before
        broker.close()

    def test_ten_thousand_channels(self) -> None:
        broker = self.open(Retention(count=5))
        names = [f"user:{n}" for n in range(10_000)]
        for start in range(0, 10_000, 500):
            broker.publish([Event(name, name) for name in names[start : start + 500]])
        some = random.sample(names, 50)
        page = broker.read(some, after=0)
        assert sorted(entry.channel for entry in page.entries) == sorted(some)
        broker.close()

    # Publishing.

    def test_a_key_stores_once_and_belongs_to_its_channel(self) -> None:
        broker = self.open()
        (first,) = broker.publish([Event("a", "1", key="k")])
        again = broker.publish([Event("a", "2", key="k"), Event("a", "3", key="k")])
        assert again == [first, first]
        (other,) = broker.publish([Event("b", "4", key="k")])
        assert other != first
        assert broker.publish([Event("a", "5", key="j")] * 2)[0].number > first.number
        page = broker.read("ab", after=0)
        assert [entry.data for entry in page.entries] == [b"1", b"4", b"5"]
        broker.close()

    def test_threads_publish_at_once(self) -> None:
        broker = self.open()
        positions: list[Position] = []

        def publish(name: str) -> None:
            for n in range(50):
                positions.extend(broker.publish([Event(name, str(n)), Event("all", name)]))

        threads = [threading.Thread(target=publish, args=(name,)) for name in "abcdefgh"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({position.number for position in positions}) == 800
        for name in "abcdefgh":
            page = broker.read([name], after=0)
            assert [entry.data for entry in page.entries] == [b"%d" % n for n in range(50)]
        assert len(broker.read(["all"], after=0).entries) == 400
        broker.close()

    def test_a_child_of_a_fork_publishes_and_so_does_its_parent(self) -> None:
        if not self.shared:
            return
        broker = self.open()
        broker.publish([Event("a", "before")])
        broker.read(["a"], after=0)

        def publish(n: int) -> bool:
            broker.publish([Event("a", f"child {n}")])
            count = len(broker.read(["a"], after=0).entries)
            broker.close()
            return count == 2 * n + 2

        for n in range(3):
            succeeded = run_in_child(partial(publish, n))
            if succeeded is None:
                broker.close()
                return
            assert succeeded
            broker.publish([Event("a", f"parent {n}")])
        page = broker.read(["a"], after=0)
        assert len(page.entries) == 7
        broker.close()

    def test_a_closed_broker_opens_again_when_it_is_used(self) -> None:
        broker = self.open()
        broker.publish([Event("a", "1")])
        broker.close()
        broker.publish([Event("a", "2")])
        assert len(broker.read(["a"], after=0).entries) == 2
        broker.close()
