"""Tests of brokers that keep logs of Flask-Push's own.

::

    class TestMyBroker(OwnLogContract, BrokerContract): ...
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import random
import threading
import time
import typing as t
from itertools import pairwise

from .._event import Event
from ..brokers import Broker
from ..brokers import KeepsOwnLogs
from ..brokers import OWN_LOGS
from ..brokers import Retention
from ..brokers.own import MAX_OWN_BYTES
from ..brokers.own import MAX_OWN_ENTRIES
from ..brokers.own import MAX_OWN_ENTRY
from ._open import Contract
from ._own_sink import OwnRecordingSink
from ._sink import RecordingSink
from ._sink import until

LOG = OWN_LOGS[0]


def _refuses(words: str, what: cabc.Callable[..., object], *args: object) -> None:
    try:
        what(*args)
    except ValueError as error:
        assert words in str(error)
    else:
        raise AssertionError(f"{args!r:.80} was not refused")


class _Both(Broker, KeepsOwnLogs, t.Protocol): ...


class OwnLogContract(Contract):
    """Inherit it beside :class:`BrokerContract` if your broker is a
    :class:`.KeepsOwnLogs`."""

    def begin_again(self) -> bool:
        """Begin another epoch of the store of this test, as if it had been emptied while it
        is used. ``False`` if that can't be: then it is not tested."""
        return False

    # Storing.

    def test_entries_have_numbers_in_the_sequence_of_all_events(self) -> None:
        broker = self._open()
        texts = [b"", b"a\0b\r\n", bytes(range(256)), b"x" * MAX_OWN_ENTRY]
        positions = []
        for text in texts:
            positions += broker.publish([Event("a", "x")])
            positions.append(broker.append(LOG, text, 60))
        assert len({position.epoch for position in positions}) == 1
        numbers = [position.number for position in positions]
        assert numbers == sorted(set(numbers))
        page = broker.read_own(LOG)
        assert page.epoch == positions[0].epoch and page.end == numbers[-1]
        assert list(page.entries) == list(zip(numbers[1::2], texts, strict=True))
        assert page.since < numbers[1]
        assert broker.read(["a"], after=0).end == numbers[-1]
        broker.close()

    def test_a_log_is_read_after_a_number(self) -> None:
        broker = self._open()
        start = broker.read_own(LOG)
        assert list(start.entries) == [] and start.since <= start.end
        numbers = [broker.append(LOG, b"%d" % n, 60).number for n in range(5)]
        page = broker.read_own(LOG, numbers[2])
        assert [entry.data for entry in page.entries] == [b"3", b"4"]
        assert page.since == numbers[2]
        assert broker.read_own(LOG).since < numbers[0]
        (last,) = broker.publish([Event("a", "x")])
        page = broker.read_own(LOG, numbers[-1])
        assert (list(page.entries), page.end) == ([], last.number)
        broker.close()

    def test_no_channel_shows_an_own_log(self) -> None:
        broker = self._open()
        names = [LOG, "own", f"own:{LOG}", f"{LOG}:own", "a"]
        before = broker.publish([Event(name, "1") for name in names])
        broker.append(LOG, b"secret", 60)
        after = broker.publish([Event(name, "2") for name in names])
        page = broker.read(names, after=0)
        numbers = [position.number for position in [*before, *after]]
        assert [entry.number for entry in page.entries] == numbers
        prevs = [entry.prev for entry in page.entries[len(names) :]]
        assert prevs == [position.number for position in before]
        assert [entry.data for entry in broker.read_own(LOG).entries] == [b"secret"]
        assert not broker.read_own("other").entries
        broker.close()

    def test_two_own_logs_do_not_mix(self) -> None:
        broker = self._open()
        first = broker.append(LOG, b"1", 60)
        other = broker.append("other", b"2", 0.05)
        time.sleep(0.1)
        last = broker.append("other", b"3", 60)
        assert broker.read_own(LOG).entries == [(first.number, b"1")]
        assert broker.read_own(LOG).since < first.number
        assert broker.read_own("other").entries == [(last.number, b"3")]
        assert broker.read_own("other").since >= other.number
        broker.close()

    def test_a_bad_name_time_or_size_is_refused(self) -> None:
        broker = self._open()
        end = broker.read([], after=0).end
        for log in "", "A", "a:b", "a" * 33, "ä", "a\n":
            _refuses("letters a to z", broker.append, log, b"x", 60)
            _refuses("letters a to z", broker.read_own, log)
        for keep in 0, -1, float("inf"), float("nan"):
            _refuses("seconds above 0", broker.append, LOG, b"x", keep)
        large = b"x" * (MAX_OWN_ENTRY + 1)
        _refuses("at most 65,536 bytes", broker.append, LOG, large, 60)
        assert broker.read([], after=0).end == end and not broker.read_own(LOG).entries
        broker.close()

    def test_threads_and_brokers_append_at_once(self) -> None:
        broker = self._open()
        other = self._open() if self.shared else broker
        numbers: list[int] = []

        def append(broker: _Both) -> None:
            for _ in range(50):
                numbers.append(broker.append(LOG, b"x", 60).number)
                numbers.append(broker.publish([Event("a", "x")])[0].number)

        threads = [
            threading.Thread(target=append, args=(each,)) for each in (broker, other) * 2
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = [entry.number for entry in broker.read_own(LOG).entries]
        events = [entry.number for entry in broker.read(["a"], after=0).entries]
        assert len(found) == len(events) == 200
        assert sorted(found + events) == sorted(numbers)
        assert other.read_own(LOG).entries == broker.read_own(LOG).entries
        other.close()
        broker.close()

    def test_a_closed_broker_opens_again_when_it_appends(self) -> None:
        broker = self._open()
        broker.append(LOG, b"1", 60)
        broker.close()
        broker.append(LOG, b"2", 60)
        broker.close()
        assert [entry.data for entry in broker.read_own(LOG).entries] == [b"1", b"2"]
        broker.close()

    # Expiring.

    def test_an_entry_expires_after_its_time_and_the_page_says_so(self) -> None:
        broker = self._open()
        first, second = (broker.append(LOG, b"x", 0.05).number for _ in range(2))
        time.sleep(0.1)
        third = broker.append(LOG, b"y", 60).number
        for after in 0, first - 1, first:
            page = broker.read_own(LOG, after)
            assert page.entries == [(third, b"y")]
            assert second <= page.since < third
        assert broker.read_own(LOG, third).since == third
        broker.close()

    def test_an_entry_stays_while_one_before_it_does(self) -> None:
        broker = self._open()
        first = broker.append(LOG, b"1", 60).number
        broker.append(LOG, b"2", 0.05)
        time.sleep(0.1)
        broker.append(LOG, b"3", 60)
        page = broker.read_own(LOG)
        assert [entry.data for entry in page.entries] == [b"1", b"2", b"3"]
        assert page.since < first
        broker.close()

    def test_a_log_keeps_so_many_entries(self) -> None:
        broker = self._open()
        numbers = [broker.append(LOG, b"x", 60).number for _ in range(MAX_OWN_ENTRIES + 9)]
        self._keeps(broker, numbers, numbers[9:])

    def test_a_log_keeps_so_many_bytes(self) -> None:
        broker = self._open()
        data = b"x" * MAX_OWN_ENTRY
        numbers = [broker.append(LOG, data, 60).number for _ in range(20)]
        self._keeps(broker, numbers, numbers[-(MAX_OWN_BYTES // MAX_OWN_ENTRY) :])

    def _keeps(self, broker: _Both, numbers: list[int], kept: list[int]) -> None:
        page = broker.read_own(LOG)
        assert [entry.number for entry in page.entries] == kept
        before = numbers[numbers.index(kept[0]) - 1]
        assert before <= page.since < kept[0]
        broker.close()

    def test_the_retention_of_events_leaves_own_logs_alone(self) -> None:
        broker = self._open(Retention(age=0.1, count=3, bytes=20_000))
        numbers = [broker.append(LOG, b"x" * 10_000, 60).number for _ in range(9)]
        (event,) = broker.publish([Event("a", "x" * 10_000)])
        assert [e.number for e in broker.read(["a"], after=0).entries] == [event.number]
        time.sleep(0.2)
        for _ in range(50):
            broker.publish([Event("a", "x" * 1000)])
        page = broker.read_own(LOG)
        assert [entry.number for entry in page.entries] == numbers
        assert page.since < numbers[0]
        broker.close()

    def test_a_wall_clock_that_is_wrong_ages_nothing(self) -> None:
        broker = self._open()
        numbers = [broker.append(LOG, b"1", 60).number]
        for days in 400, -400:
            with self.clock_wrong_by(days * 86400):
                numbers.append(broker.append(LOG, b"2", 60).number)
            numbers.append(broker.append(LOG, b"3", 60).number)
        assert numbers == sorted(numbers)
        assert [entry.number for entry in broker.read_own(LOG).entries] == numbers
        broker.close()

    # Feeds.

    def test_a_feed_begins_with_all_of_the_log(self) -> None:
        async def test(broker: _Both, hub: OwnRecordingSink) -> None:
            await until(lambda: hub.end)
            (page,) = hub.pages[hub.epoch, LOG]
            assert list(page.entries) == []
            broker.append(LOG, b"1", 60)
            await until(lambda: hub.entries_of(LOG))
            second = OwnRecordingSink(broker)
            await until(lambda: second.end)
            first = second.pages[second.epoch, LOG][0]
            assert [entry.data for entry in first.entries] == [b"1"]
            assert first.since == page.since
            second.feed.close()

        self._run(test)

    def test_a_feed_that_goes_on_begins_the_log_from_its_beginning(self) -> None:
        async def test(broker: _Both, hub: OwnRecordingSink) -> None:
            await hub.watch("a")
            number = broker.append(LOG, b"1", 60).number
            (last,) = broker.publish([Event("a", "1")])
            await until(lambda: hub.received("a") and hub.end >= last.number)
            hub.feed.close()
            second = OwnRecordingSink(broker, hub)
            broker.publish([Event("a", "2")])
            await until(lambda: second.received("a"))
            assert second.received("a") == [b"2"]
            first = second.pages[second.epoch, LOG][0]
            assert (number, b"1") in first.entries and first.since < number
            second.feed.close()

        self._run(test)

    def test_an_entry_wakes_the_feed_and_moves_its_end(self) -> None:
        async def test(broker: _Both, hub: OwnRecordingSink) -> None:
            await until(lambda: hub.end)
            number = broker.append(LOG, b"1", 60).number
            await until(lambda: hub.entries_of(LOG) == [(number, b"1")])
            await until(lambda: hub.end >= number)
            hub.check(LOG, [number])

        self._run(test)

    def test_a_feed_gives_entries_before_the_events_that_follow_them(self) -> None:
        async def test(broker: _Both, hub: OwnRecordingSink) -> None:
            stop = threading.Event()
            numbers: list[int] = []

            def write(broker: _Both, seed: int) -> None:
                rng = random.Random(seed)
                while not stop.is_set():
                    if rng.random() < 0.3:
                        numbers.append(broker.append(LOG, b"%d" % seed, 60).number)
                    else:
                        names = rng.choices("abc", k=rng.randrange(1, 4))
                        broker.publish([Event(name, "x") for name in names])
                    time.sleep(0.000_2)

            other = self._open() if self.shared else broker
            await hub.watch("a", LOG)
            threads = [
                threading.Thread(target=write, args=(each, n))
                for n, each in enumerate([broker, other])
            ]
            for thread in threads:
                thread.start()
            try:
                for _ in range(10):
                    await asyncio.sleep(0.02)
                    await hub.read("abc", after=0)
                    await hub.watch("b")
                    hub.feed.unwatch(["b"])
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
            await until(lambda: hub.end >= max(numbers))
            assert [entry.number for entry in hub.entries_of(LOG)] == sorted(numbers)
            hub.check(LOG, numbers)
            assert not hub.received(LOG), "no channel shows it"
            for before, page in pairwise(hub.pages[hub.epoch, LOG]):
                assert page.since <= before.end
            other.close()

        self._run(test)

    def test_a_feed_gives_entries_before_a_page_that_reaches_them(self) -> None:
        async def test(broker: _Both, hub: OwnRecordingSink) -> None:
            await hub.watch("a")
            read = asyncio.ensure_future(hub.read("a", after=0))
            await asyncio.sleep(0)
            # The feed has been asked, and could not read yet.
            number = broker.append(LOG, b"1", 60).number
            broker.publish([Event("a", "1")])
            await read
            hub.check(LOG, [number])
            await until(lambda: hub.entries_of(LOG) == [(number, b"1")])

        self._run(test)

    def test_a_feed_says_that_entries_expired_which_it_has_not_given(self) -> None:
        async def test(broker: _Both, hub: OwnRecordingSink) -> None:
            await until(lambda: hub.end)
            # Meanwhile, the feed's loop is not running.
            numbers = [broker.append(LOG, b"%d" % n, 0.02).number for n in range(3)]
            time.sleep(0.05)
            last = broker.append(LOG, b"last", 60).number
            await until(lambda: hub.end >= last)
            assert hub.entries_of(LOG)[-1] == (last, b"last")
            hub.check(LOG, [*numbers, last])

        self._run(test)

    def test_a_feed_begins_the_log_again_with_each_epoch(self) -> None:
        async def test(broker: _Both, hub: OwnRecordingSink) -> None:
            number = broker.append(LOG, b"old", 60).number
            await until(lambda: hub.end >= number)
            before = hub.epoch
            if not self.begin_again():
                return
            # The sink fails if the epoch is delivered before a page of it.
            await until(lambda: hub.epoch != before)
            number = broker.append(LOG, b"new", 60).number
            await until(lambda: hub.end >= number)
            assert hub.entries_of(LOG)[-1] == (number, b"new")
            assert hub.pages[hub.epoch, LOG][0].since < number
            hub.check(LOG, [number])

        self._run(test)

    def test_a_sink_without_own_logs_receives_all_events(self) -> None:
        async def test(broker: Broker, hub: RecordingSink) -> None:
            assert isinstance(broker, KeepsOwnLogs)
            await hub.watch("a")
            broker.publish([Event("a", "1")])
            number = broker.append(LOG, b"x", 60).number
            (last,) = broker.publish([Event("a", "2")])
            await until(lambda: hub.end >= last.number > number)
            assert hub.received("a") == [b"1", b"2"] and not hub.missing

        self.run(test)

    # How the tests above open the broker.

    def _open(self, retention: Retention | None = None) -> _Both:
        broker = self.open(retention)
        assert isinstance(broker, KeepsOwnLogs)
        return t.cast(_Both, broker)

    def _run(
        self, test: cabc.Callable[[_Both, OwnRecordingSink], cabc.Awaitable[None]]
    ) -> None:
        async def main(broker: Broker, hub: RecordingSink) -> None:
            await test(t.cast(_Both, broker), t.cast(OwnRecordingSink, hub))

        self.run(main, sink=OwnRecordingSink)
