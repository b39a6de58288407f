"""What stands for a hub in the tests of brokers accepts only what a hub may be given."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t

import pytest

from flask_push import Event
from flask_push._event import Entry
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until

Test = cabc.Callable[[RecordingSink, MemoryBroker], cabc.Coroutine[t.Any, t.Any, None]]


def run(test: Test) -> None:
    """With a sink that watches the channel `a`."""

    async def main() -> None:
        broker = MemoryBroker()
        sink = RecordingSink(broker)
        await sink.watch("a")
        try:
            await test(sink, broker)
        finally:
            sink.feed.close()

    asyncio.run(main())


def entry(number: int, prev: int | None = 1, channel: str = "a") -> Entry:
    return Entry(number, prev, channel, "message", b"x")


def test_what_is_delivered_is_recorded() -> None:
    async def test(sink: RecordingSink, broker: MemoryBroker) -> None:
        start = sink.end
        assert sink.epoch == broker.read([]).epoch
        (last,) = broker.publish([Event("a", "1")])
        broker.publish([Event("b", "not watched")])
        await until(lambda: sink.end > last.number)
        assert [(e.number, e.data) for e in sink.entries] == [(last.number, b"1")]
        assert sink.watching == {"a": start} and sink.missing == 0
        assert (await sink.read("b", last=1)).entries[0].data == b"not watched"

    run(test)


@pytest.mark.parametrize(
    ("entries", "end", "words"),
    [
        ([entry(5, channel="b")], 9, "not asked for"),
        ([entry(0)], 9, "from before watched"),
        ([entry(6), entry(6)], 9, "out of order"),
        ([entry(6), entry(5)], None, "out of order"),
        ([entry(10)], 9, "from after the end"),
        ([], -1, "backwards"),
    ],
)
def test_a_feed_that_delivers_what_it_must_not_fails(
    entries: list[Entry], end: int | None, words: str
) -> None:
    """Numbers count from the number at which the sink began to watch."""

    async def test(sink: RecordingSink, broker: MemoryBroker) -> None:
        at = sink.end
        moved = [e._replace(number=at + e.number) for e in entries]
        with pytest.raises(AssertionError, match=words):
            sink.deliver(sink.epoch, moved, None if end is None else at + end)

    run(test)


def test_events_that_are_not_stored_may_have_any_number() -> None:
    async def test(sink: RecordingSink, broker: MemoryBroker) -> None:
        at = sink.end
        passing = [entry(at + 5), entry(at + 5, None), entry(at, None), entry(at + 6)]
        sink.deliver(sink.epoch, passing, at + 6)
        assert sink.entries == passing

    run(test)


def test_an_epoch_begins_with_a_position() -> None:
    async def test(sink: RecordingSink, broker: MemoryBroker) -> None:
        with pytest.raises(AssertionError, match="begins with a position"):
            sink.deliver("other", [], None)
        sink.deliver("other", [], sink.end)
        assert sink.epoch == "other"

    run(test)


def test_what_a_feed_has_missed_does_not_go_back() -> None:
    async def test(sink: RecordingSink, broker: MemoryBroker) -> None:
        with pytest.raises(AssertionError, match="backwards"):
            sink.missed(sink.end - 1)
        sink.missed(end := sink.end + 5)
        assert sink.missing == sink.end == end

    run(test)


def test_a_sink_goes_on_where_another_has_ended() -> None:
    async def test(sink: RecordingSink, broker: MemoryBroker) -> None:
        sink.feed.close()
        broker.publish([Event("a", "1")])
        second = RecordingSink(broker, sink)
        await until(lambda: second.entries)
        assert [e.data for e in second.entries] == [b"1"] and second.epoch == sink.epoch
        second.feed.close()

    run(test)


def test_waiting_ends_when_the_condition_is_true_or_the_time_is_over() -> None:
    async def main() -> None:
        count = 0

        def condition() -> bool:
            nonlocal count
            count += 1
            return count == 3

        await until(condition)
        assert count == 3
        with pytest.raises(AssertionError, match="never came true"):
            await until(lambda: False, 0.02)

    asyncio.run(main())
