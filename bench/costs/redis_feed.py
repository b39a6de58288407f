"""How soon a hub receives an event from a Redis, how many it can receive, and what further
hubs cost the Redis. The reference is redis-py, or no hub."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import itertools
import multiprocessing
import time
import typing as t
from functools import partial
from multiprocessing.connection import Connection

import redis as redis_py
from compare import by_figure
from compare import Result
from compare import Row
from compare import Scale
from compare import take_turns

from costs.redis_scripts import BATCH
from costs.redis_scripts import CHANNELS
from costs.redis_scripts import DATA
from costs.redis_scripts import OurCommands
from costs.redis_scripts import Redis
from costs.redis_scripts import redis_server
from flask_push import Event
from flask_push._event import Entry
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis.connection import encode
from flask_push.brokers.redis.feed import RedisFeed
from flask_push.brokers.redis.pool import Place

# Receivers. Each runs in a process of its own. It sends "ready", and when it has received
# all events, its processor time and the delay of each.


class _Sink:
    """What the feed sees of a hub."""

    def __init__(self, received: cabc.Callable[[cabc.Sequence[Entry]], None]) -> None:
        self.received = received
        self.ready = asyncio.Event()

    def deliver(self, epoch: str, entries: cabc.Sequence[Entry], end: int | None) -> None:
        self.received(entries)

    def missed(self, end: int) -> None:
        raise AssertionError("The feed missed events.")

    def watched(self, channels: cabc.Sequence[str]) -> None:
        self.ready.set()


def _by_feed(pipe: Connection, url: str, channels: list[str], count: int) -> None:
    async def main() -> None:
        delays: list[int] = []
        done = asyncio.Event()

        def received(entries: cabc.Sequence[Entry]) -> None:
            now = time.monotonic_ns()
            delays.extend(now - int(entry.data[:19]) for entry in entries)
            if len(delays) >= count:
                done.set()

        sink = _Sink(received)
        feed = RedisFeed(Place(url), None, sink, asyncio.get_running_loop())
        feed.watch(channels)
        await sink.ready.wait()
        pipe.send("ready")
        before = time.process_time()
        await done.wait()
        pipe.send((time.process_time() - before, delays))
        feed.close()

    asyncio.run(main())


def _by_pubsub(pipe: Connection, url: str, channels: list[str], count: int) -> None:
    delays: list[int] = []
    with redis_py.Redis.from_url(url) as client, client.pubsub() as pubsub:
        pubsub.subscribe(*channels)
        for _ in channels:
            pubsub.get_message(timeout=20)
        pipe.send("ready")
        before = time.process_time()
        while len(delays) < count:
            message = pubsub.get_message(timeout=20)
            assert message is not None
            delays.append(time.monotonic_ns() - int(message["data"][:19]))
        pipe.send((time.process_time() - before, delays))


_Receiver = cabc.Callable[[Connection, str, list[str], int], None]
_Received = tuple[float, list[int]]


@contextlib.contextmanager
def _receiver(
    target: _Receiver, url: str, channels: list[str], count: int
) -> cabc.Iterator[cabc.Callable[[], _Received]]:
    near, far = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    process = context.Process(target=target, args=(far, url, channels, count), daemon=True)
    process.start()
    try:
        assert near.poll(60) and near.recv() == "ready"

        def wait() -> _Received:
            assert near.poll(120), "not all events were received"
            received: _Received = near.recv()
            return received

        yield wait
    finally:
        process.terminate()
        process.join()


def _stamped() -> str:
    return f"{time.monotonic_ns():019d}{DATA}"


# What is measured.


def redis_delay(scale: Scale) -> list[Row]:
    """Time from the call of `publish` until the hub has the event, 500 times a second."""
    count = max(100, round(600 * scale.seconds))
    with (
        redis_server() as redis,
        contextlib.closing(RedisBroker(redis.url)) as broker,
        redis_py.Redis.from_url(redis.url) as plain,
    ):

        def measure(target: _Receiver, publish: cabc.Callable[[str], t.Any]) -> Result:
            with _receiver(target, redis.url, ["delay"], count) as wait:
                for _ in range(count):
                    publish(_stamped())
                    time.sleep(0.002)
                delays = sorted(wait()[1])
            return Result(
                delays[count // 2] / 1e6, {"p99": delays[count * 99 // 100] / 1e6}
            )

        def by_redis_py(data: str) -> None:
            plain.publish("delay", data)

        def by_broker(data: str) -> None:
            broker.publish([Event("delay", data)])

        name, unit = "from publishing to the hub", "ms, 50 of 100"
        pairs = [
            (Row(name, "redis-py", unit), partial(measure, _by_pubsub, by_redis_py)),
            (Row(name, "hub", unit), partial(measure, _by_feed, by_broker)),
        ]
        take_turns(pairs, scale.rounds)
    rows = [row for row, _ in pairs]
    return [*rows, *by_figure(rows, "the slowest", "ms, 99 of 100", "p99")]


def redis_hubs(scale: Scale) -> list[Row]:
    """Processor time of the Redis for each event, by the number of hubs that receive it.

    One call is in flight at a time, so that no two events are sent to a hub together.
    """
    many = max(400, round(8000 * scale.seconds))
    channels = [f"channel:{n}" for n in range(CHANNELS)]
    with redis_server() as redis:
        ours = OurCommands(redis)

        def measure(count: int) -> Result:
            with contextlib.ExitStack() as stack:
                waits = [
                    stack.enter_context(_receiver(_by_feed, redis.url, channels, many))
                    for _ in range(count)
                ]
                before = redis.cpu()
                for _ in range(many):
                    redis.replies(ours.publish(data=_stamped()), 1)
                taken = redis.cpu() - before
                for wait in waits:
                    wait()
            return Result(taken / many)

        name, unit = "publishing to a Redis with hubs", "µs of its CPU an event"
        pairs = [(Row(name, f"{n} hubs", unit), partial(measure, n)) for n in (0, 1, 4, 16)]
        take_turns(pairs, scale.rounds)
    return [row for row, _ in pairs]


def redis_feed(scale: Scale) -> list[Row]:
    """Events published per second of the receiver's processor time. It receives all of
    them or, where few have readers, those of one channel in a hundred."""
    channels = [f"channel:{n}" for n in range(1000)]
    many = 1000 * max(2, round(40 * scale.seconds))
    cases: dict[str, tuple[_Receiver, list[str], int, int]] = {
        "redis-py": (_by_pubsub, channels, many, 1),
        "hub": (_by_feed, channels, many, 1),
        "hub, 20 at once": (_by_feed, channels, 2 * many, BATCH),
        "hub, few have readers": (_by_feed, channels[:10], 10 * many, BATCH),
    }
    with redis_server() as redis:
        ours = OurCommands(redis, len(channels))
        pairs = [
            (
                Row("events from a Redis", label, "events per CPU second"),
                partial(_receive, redis, ours, channels, *case),
            )
            for label, case in cases.items()
        ]
        take_turns(pairs, scale.rounds)
    return [row for row, _ in pairs]


def _receive(
    redis: Redis,
    ours: OurCommands,
    channels: list[str],
    target: _Receiver,
    watched: list[str],
    events: int,
    batch: int,
) -> Result:
    names = itertools.cycle(channels)

    def make() -> bytes:
        if target is _by_pubsub:
            return encode(["PUBLISH", next(names), _stamped()])
        return ours.publish(batch, _stamped())

    expected = events * len(watched) // len(channels)
    with _receiver(target, redis.url, watched, expected) as wait:
        for _ in range(events // batch // 50):
            redis.replies(b"".join(make() for _ in range(50)), 50)
        cpu, _ = wait()
    return Result(events / cpu)
