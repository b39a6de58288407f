"""What every broker has to keep, as tests that any broker can inherit.

::

    class TestMyBroker(BrokerContract):
        @pytest.fixture(autouse=True)
        def server(self, tmp_path): ...

        def open(self, retention):
            return MyBroker(self.url, retention)

Each test opens a broker of its own on a store that nobody has used.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import os
import random
import threading
import time
import typing as t

from .._event import Entry
from .._event import Event
from .._event import MAX_NUMBER
from .._event import Page
from .._event import Position
from ..brokers import Broker
from ..brokers import Feed
from ..brokers import Retention

T = t.TypeVar("T")


class Hub:
    """The hub's side of a feed: notes what it is told, and that it may be told so."""

    def __init__(self, broker: Broker, before: Hub | None = None) -> None:
        self.epoch = ""
        self.end = self.missing = 0
        self.entries: list[Entry] = []
        self.watching: dict[str, int] = {}
        after = None
        if before is not None:
            self.epoch, self.end = after = Position(before.epoch, before.end)
            self.watching = dict.fromkeys(before.watching, self.end)
        self.feed: Feed = broker.feed(
            self, asyncio.get_running_loop(), after=after, channels=list(self.watching)
        )

    def deliver(self, epoch: str, entries: cabc.Sequence[Entry], end: int | None) -> None:
        if epoch != self.epoch:
            assert end is not None, "an epoch begins with a position"
        self.epoch = epoch
        for entry in entries:
            assert entry.channel in self.watching, "not asked for"
            if entry.prev is not None:
                number = max(
                    (e.number for e in self.entries if e.prev is not None), default=0
                )
                assert entry.number > number, "out of order"
                assert entry.number > self.watching[entry.channel], "from before watched"
                assert end is None or entry.number <= end
            self.entries.append(entry)
        if end is not None:
            assert end >= self.end, "backwards"
            self.end = end

    def missed(self, end: int) -> None:
        assert end >= self.end, "backwards"
        self.end = self.missing = end

    def watched(self, channels: cabc.Sequence[str]) -> None:
        for channel in channels:
            self.watching[channel] = self.end

    async def watch(self, *channels: str) -> None:
        self.feed.watch(channels)
        await until(lambda: all(channel in self.watching for channel in channels))

    async def read(self, *channels: str, **where: int) -> Page:
        page: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        self.feed.read(channels, page.set_result, **where)
        return await asyncio.wait_for(page, 10)

    def heard(self, channel: str) -> list[bytes]:
        return [entry.data for entry in self.entries if entry.channel == channel]


async def until(condition: cabc.Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.002)


class BrokerContract:
    """Inherit it, and say how to open your broker."""

    #: Whether processes share the store, as they do not in ``memory:``.
    shared = True

    def open(self, retention: Retention | None = None) -> Broker:
        """A broker on the store of this test. Called again, another one on it."""
        raise NotImplementedError

    @contextlib.contextmanager
    def clock_wrong_by(self, seconds: float) -> cabc.Iterator[None]:
        """Set the wall clock that the store sees. It is this process's, if the store has
        no other one."""
        ns = round(seconds * 1_000_000_000)
        now, now_ns = time.time, time.time_ns
        time.time, time.time_ns = lambda: now() + seconds, lambda: now_ns() + ns
        try:
            yield
        finally:
            time.time, time.time_ns = now, now_ns

    def run(
        self,
        test: cabc.Callable[[Broker, Hub], cabc.Coroutine[t.Any, t.Any, T]],
        retention: Retention | None = None,
    ) -> T:
        async def main() -> T:
            broker = self.open(retention)
            hub = Hub(broker)
            try:
                return await asyncio.wait_for(test(broker, hub), 60)
            finally:
                hub.feed.close()
                broker.close()

        return asyncio.run(main())

    # The log.

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
        for n in range(3):
            child = os.fork()
            if child == 0:
                try:
                    broker.publish([Event("a", f"child {n}")])
                    count = len(broker.read(["a"], after=0).entries)
                    broker.close()
                    os._exit(0 if count == 2 * n + 2 else 3)
                finally:
                    os._exit(4)
            assert os.waitpid(child, 0)[1] == 0
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

    # What is kept.

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

    # The feed.

    def test_a_hub_hears_what_it_watches_from_then_on(self) -> None:
        async def test(broker: Broker, hub: Hub) -> None:
            broker.publish([Event("a", "before")])
            await hub.watch("a", "غرفة")
            start = hub.end
            broker.publish([Event("a", "1"), Event("b", "no"), Event("غرفة", "2")])
            (last,) = broker.publish([Event("a", "3", type="said")])
            await until(lambda: hub.end >= last.number)
            assert [entry.data for entry in hub.entries] == [b"1", b"2", b"3"]
            assert hub.entries[-1].type == "said"
            assert hub.entries[0].prev is not None and hub.entries[0].prev <= start
            assert hub.entries[2].prev == hub.entries[0].number
            assert last == Position(hub.epoch, hub.entries[-1].number)

        self.run(test)

    def test_a_feed_delivers_the_connection_that_an_event_excludes(self) -> None:
        name = "d0nt-te11_me0000"

        async def test(broker: Broker, hub: Hub) -> None:
            await hub.watch("a")
            broker.publish([Event("a", "1", "said", exclude=name), Event("a", "2")])
            broker.publish([Event("a", "3", "said", store=False, exclude=name)])
            await until(lambda: len(hub.entries) == 3)
            found = sorted((e.data, e.type, e.exclude) for e in hub.entries)
            assert found == [
                (b"1", "said", name),
                (b"2", "message", ""),
                (b"3", "said", name),
            ]

        self.run(test)

    def test_a_hub_stops_hearing_and_may_begin_again(self) -> None:
        async def test(broker: Broker, hub: Hub) -> None:
            await hub.watch("a")
            hub.feed.unwatch(["a"])
            del hub.watching["a"]
            broker.publish([Event("a", "no")])
            await hub.watch("b")
            await hub.watch("a")
            broker.publish([Event("a", "yes")])
            await until(lambda: hub.heard("a"))
            assert hub.heard("a") == [b"yes"]

        self.run(test)

    def test_what_is_not_stored_is_heard_once_and_not_kept(self) -> None:
        async def test(broker: Broker, hub: Hub) -> None:
            await hub.watch("a")
            broker.publish([Event("a", "1"), Event("a", "typing", store=False)])
            broker.publish([Event("a", "2")])
            await until(lambda: len(hub.entries) == 3)
            assert hub.heard("a") == [b"1", b"typing", b"2"]
            assert hub.entries[1].prev is None
            assert hub.entries[2].prev == hub.entries[0].number
            page = broker.read(["a"], after=0)
            assert [entry.data for entry in page.entries] == [b"1", b"2"]

        self.run(test)

    def test_a_hub_reads_history(self) -> None:
        async def test(broker: Broker, hub: Hub) -> None:
            positions = broker.publish([Event("a", str(n)) for n in range(9)])
            page = await hub.read("a", after=positions[5].number)
            assert [entry.data for entry in page.entries] == [b"6", b"7", b"8"]
            assert page.epoch == hub.epoch, "an epoch is delivered before it is read of"
            page = await hub.read("a", last=2)
            assert [entry.data for entry in page.entries] == [b"7", b"8"]
            assert (await hub.read("a", after=MAX_NUMBER)).end == positions[-1].number

        self.run(test)

    def test_hubs_that_join_while_others_publish_miss_nothing(self) -> None:
        """History up to where a hub began to watch, and what it heard, are all."""

        async def test(broker: Broker, hub: Hub) -> None:
            stop = threading.Event()
            sent: list[tuple[int, str, bytes]] = []

            def publish(seed: int) -> None:
                rng = random.Random(seed)
                while not stop.is_set():
                    name = rng.choice("abcdefgh")
                    data = str(rng.random())
                    (position,) = broker.publish([Event(name, data)])
                    sent.append((position.number, name, data.encode()))
                    time.sleep(0.000_2)

            threads = [threading.Thread(target=publish, args=(n,)) for n in range(2)]
            for thread in threads:
                thread.start()
            start = hub.end
            try:
                for name in "abcdefgh":
                    await hub.watch(name)
                    await asyncio.sleep(0.02)
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
            await until(lambda: hub.end >= max(sent)[0])
            for name in "abcdefgh":
                since = hub.watching[name]
                expected = [(n, d) for n, c, d in sorted(sent) if c == name and n > since]
                heard = [(e.number, e.data) for e in hub.entries if e.channel == name]
                assert heard == expected
                chain = [entry for entry in hub.entries if entry.channel == name]
                for before, entry in zip(chain, chain[1:], strict=False):
                    assert entry.prev == before.number
            assert hub.end > start

        self.run(test)

    def test_a_feed_goes_on_where_another_has_ended(self) -> None:
        async def test(broker: Broker, hub: Hub) -> None:
            await hub.watch("a", "b")
            (first,) = broker.publish([Event("a", "1")])
            # A hub is given up only where its feed has vouched for the end.
            await until(lambda: hub.heard("a") and hub.end >= first.number)
            hub.feed.close()
            broker.publish([Event("a", "2"), Event("c", "no"), Event("b", "3")])
            second = Hub(broker, hub)
            try:
                await until(lambda: second.heard("b"))
                broker.publish([Event("a", "4")])
                await until(lambda: len(second.entries) == 3)
                assert [entry.data for entry in second.entries] == [b"2", b"3", b"4"]
                assert second.entries[0].prev == hub.entries[0].number
                assert second.missing == 0
            finally:
                second.feed.close()

        self.run(test)

    def test_a_feed_says_that_the_store_has_forgotten_what_it_should_deliver(self) -> None:
        async def test(broker: Broker, hub: Hub) -> None:
            await hub.watch("a")
            hub.feed.close()
            broker.publish([Event("a", "forgotten")])
            for _ in range(80):
                (last,) = broker.publish([Event("b", "x" * 1000)])
            second = Hub(broker, hub)
            try:
                await until(lambda: second.end >= last.number)
                assert second.missing >= last.number
                (position,) = broker.publish([Event("a", "then")])
                await until(lambda: second.heard("a"))
                assert second.heard("a") == [b"then"]
                await until(lambda: second.end >= position.number)
            finally:
                second.feed.close()

        self.run(test, Retention(bytes=20_000))

    def test_several_hubs_hear_the_same(self) -> None:
        async def test(broker: Broker, hub: Hub) -> None:
            other = self.open() if self.shared else broker
            second = Hub(other)
            try:
                await hub.watch("a")
                await second.watch("a")
                for n in range(200):
                    (broker if n % 2 else other).publish([Event("a", str(n))])
                await until(lambda: len(hub.entries) == len(second.entries) == 200)
                assert hub.entries == second.entries
            finally:
                second.feed.close()
                other.close()

        self.run(test)
