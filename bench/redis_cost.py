"""What publishing costs a Redis, how soon a hub hears of it, and how much it can hear.

    $ python bench/redis_cost.py [--json] [--rounds 9]

(Not redis.py, for then nothing beside it could import redis-py.)

Starts a redis-server of its own. Everything is measured in turns in one run, beside a
yardstick: the machine may be busy, and only the ratios say something. For the cost it is
the least that a script can do which numbers events, names the one before each, keeps
them for a while and tells of them; it knows no repeated call, no bytes, no eviction and
no other life of the store.
"""

from __future__ import annotations

import argparse
import asyncio
import collections.abc as cabc
import contextlib
import itertools
import json
import multiprocessing
import socket
import statistics
import subprocess
import tempfile
import time
import typing as t
from functools import partial
from multiprocessing.connection import Connection

import hiredis
import redis
import redis_yardstick
from machine import find_program

from flask_push import Event
from flask_push._event import Entry
from flask_push.brokers import Retention
from flask_push.brokers.redis import calls
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis import scripts
from flask_push.brokers.redis.feed import RedisFeed
from flask_push.brokers.redis.link import encode
from flask_push.brokers.redis.pool import Place
from flask_push.brokers.redis.scripts import Arg

SIZE, CHANNELS, KEEP, BATCH = 200, 100, 100, 20
DATA = "x" * SIZE


class Server:
    """A redis-server on a free port, and one connection to it."""

    def __init__(self, directory: str) -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        server = find_program("redis-server")
        assert server, "Redis is missing: tests/install redis-tools"
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command = ["redis-server", *options, "--dir", directory]
        self.process = subprocess.Popen(
            command, executable=server, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                self.sock = socket.create_connection(("127.0.0.1", self.port))
                break
            except OSError:
                assert time.monotonic() < deadline, "Redis does not start"
                time.sleep(0.05)
        self.reader = hiredis.Reader()

    def close(self) -> None:
        self.sock.close()
        self.process.kill()
        self.process.wait()

    def replies(self, data: bytes, count: int) -> t.Any:
        """Send commands at once, and read the reply to each."""
        self.sock.sendall(data)
        reply: t.Any = None
        while count:
            reply = self.reader.gets()
            if reply is False:
                self.reader.feed(self.sock.recv(2**18))
                continue
            assert not isinstance(reply, Exception), reply
            count -= 1
        return reply

    def do(self, *args: Arg) -> t.Any:
        return self.replies(encode(args), 1)

    def cpu(self) -> float:
        """Microseconds of its CPU so far."""
        lines = self.do("INFO", "cpu").decode().split("\r\n")
        found = dict(line.split(":") for line in lines if ":" in line)
        return 1e6 * (float(found["used_cpu_user"]) + float(found["used_cpu_sys"]))


class Ours:
    """Makes the commands that our publishers send."""

    def __init__(self, server: Server, channels: int = CHANNELS) -> None:
        self.store = calls.Store(Place(server.url).names, Retention(count=KEEP))
        self.caller = calls.Caller(0)
        while self.store.is_another(server.do(*scripts.READ.by_text(self.store.join([])))):
            pass
        server.do("SCRIPT", "LOAD", scripts.PUBLISH.text)
        self.names = itertools.cycle([f"channel:{n}" for n in range(channels)])

    def publish(self, count: int = 1) -> bytes:
        self.caller.count += 1
        runs = calls.Runs([Event(next(self.names), DATA)] * count)
        return encode(scripts.PUBLISH.by_sha(self.store.publish(runs, self.caller)))


def yardstick(server: Server, text: str, count: int) -> cabc.Callable[[], bytes]:
    sha = server.do("SCRIPT", "LOAD", text)
    turns = itertools.cycle(range(CHANNELS))

    def publish() -> bytes:
        n = next(turns)
        keys = ["y:{0}:clk", f"y:{{0}}:l:channel:{n}", f"y:{{0}}:m:channel:{n}"]
        args: list[Arg] = [f"y:{{0}}:c:channel:{n}", KEEP, 86_400_000, "abcde"]
        args += [f"message\n{DATA}"] * count
        return encode(["EVALSHA", sha, 3, *keys, *args])

    return publish


def cost(server: Server, rounds: int) -> dict[str, float]:
    """Microseconds of the server's CPU by event, pipelined by a hundred calls."""
    ours = Ours(server)
    cases: dict[str, tuple[int, cabc.Callable[[], bytes]]] = {
        "PUBLISH": (1, lambda: encode(["PUBLISH", "plain", DATA])),
        "yardstick": (1, yardstick(server, redis_yardstick.SINGLE, 1)),
        "ours": (1, ours.publish),
        "yardstick, 20 at once": (BATCH, yardstick(server, redis_yardstick.BATCH, BATCH)),
        "ours, 20 at once": (BATCH, lambda: ours.publish(BATCH)),
    }
    found: dict[str, list[float]] = {name: [] for name in cases}
    # The first rounds fill the logs, so that each event makes another one go.
    for turn in range(rounds + 3):
        for name, (events, make) in cases.items():
            count = 4000 // events
            pieces = [b"".join(make() for _ in range(100)) for _ in range(count // 100)]
            before = server.cpu()
            for piece in pieces:
                server.replies(piece, 100)
            if turn >= 3:
                taken = (server.cpu() - before) / (count * events)
                found[name].append(taken)
    return {name: statistics.median(values) for name, values in found.items()}


# What hears. Each in a process of its own, which says when it is ready, and in the end
# what it has found.


class Ear:
    """A hub, as far as its feed is concerned."""

    def __init__(self, heard: cabc.Callable[[cabc.Sequence[Entry]], None]) -> None:
        self.heard = heard
        self.ready = asyncio.Event()

    def deliver(self, epoch: str, entries: cabc.Sequence[Entry], end: int | None) -> None:
        self.heard(entries)

    def missed(self, end: int) -> None:
        raise AssertionError("The feed could not keep up.")

    def watched(self, channels: cabc.Sequence[str]) -> None:
        self.ready.set()


def by_feed(pipe: Connection, url: str, channels: list[str], count: int) -> None:
    async def main() -> None:
        delays: list[int] = []
        done = asyncio.Event()

        def heard(entries: cabc.Sequence[Entry]) -> None:
            now = time.monotonic_ns()
            delays.extend(now - int(entry.data[:19]) for entry in entries)
            if len(delays) >= count:
                done.set()

        ear = Ear(heard)
        feed = RedisFeed(Place(url), None, ear, asyncio.get_running_loop())
        feed.watch(channels)
        await ear.ready.wait()
        pipe.send("ready")
        before = time.process_time()
        await done.wait()
        pipe.send((time.process_time() - before, delays))
        feed.close()

    asyncio.run(main())


def by_pubsub(pipe: Connection, url: str, channels: list[str], count: int) -> None:
    delays: list[int] = []
    with redis.Redis.from_url(url) as client, client.pubsub() as pubsub:
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


Hearing = tuple[float, list[int]]


@contextlib.contextmanager
def hearing(
    target: cabc.Callable[[Connection, str, list[str], int], None],
    url: str,
    channels: list[str],
    count: int,
) -> cabc.Iterator[cabc.Callable[[], Hearing]]:
    near, far = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    process = context.Process(target=target, args=(far, url, channels, count), daemon=True)
    process.start()
    try:
        assert near.poll(60) and near.recv() == "ready"

        def found() -> Hearing:
            assert near.poll(120), "it did not hear all"
            hearing: Hearing = near.recv()
            return hearing

        yield found
    finally:
        process.terminate()
        process.join()


def stamped() -> str:
    return f"{time.monotonic_ns():019d}{DATA}"


def delay(server: Server, rounds: int) -> dict[str, float]:
    """Milliseconds from before publishing to being handed over, 500 events a second."""
    broker = RedisBroker(server.url)
    found: dict[str, list[int]] = {"hub": [], "redis-py": []}
    with redis.Redis.from_url(server.url) as plain:
        ways: dict[str, tuple[t.Any, cabc.Callable[[], t.Any]]] = {
            "redis-py": (by_pubsub, lambda: plain.publish("delay", stamped())),
            "hub": (by_feed, lambda: broker.publish([Event("delay", stamped())])),
        }
        for _ in range(rounds):
            for name, (target, publish) in ways.items():
                with hearing(target, server.url, ["delay"], 300) as result:
                    for _ in range(300):
                        publish()
                        time.sleep(0.002)
                    found[name] += result()[1]
    broker.close()
    return {
        f"{name} p{percent}": sorted(delays)[len(delays) * percent // 100] / 1e6
        for name, delays in found.items()
        for percent in (50, 99)
    }


def hubs(server: Server, rounds: int) -> dict[str, float]:
    """Microseconds of the server's CPU by event, with so many hubs that hear it. One call
    is under way at once, so that no two are written to a hub together."""
    ours = Ours(server)
    channels = [f"channel:{n}" for n in range(CHANNELS)]
    found: dict[str, float] = {}
    for count in 0, 1, 4, 16:
        taken: list[float] = []
        for _ in range(rounds):
            with contextlib.ExitStack() as stack:
                heard = [
                    stack.enter_context(hearing(by_feed, server.url, channels, 4000))
                    for _ in range(count)
                ]
                before = server.cpu()
                for _ in range(4000):
                    server.replies(stamp(ours, 1), 1)
                taken.append((server.cpu() - before) / 4000)
                for result in heard:
                    result()
        found[f"{count} hubs"] = statistics.median(taken)
    return found


def plain(channels: list[str], count: int) -> cabc.Callable[[], bytes]:
    names = itertools.cycle(channels)
    return lambda: b"".join(
        encode(["PUBLISH", name, stamped()]) for name in [next(names)] * count
    )


def capacity(server: Server, rounds: int) -> dict[str, float]:
    """Events that are published by second of the hearer's CPU. It hears all of them, but
    where few have readers: those on one channel in a hundred."""
    ours = Ours(server, 1000)
    channels = [f"channel:{n}" for n in range(1000)]
    singles, batches, few = 20_000, 40_000, 100_000
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        cases: list[tuple[str, t.Any, list[str], int, int]] = [
            ("redis-py", by_pubsub, channels, singles, 1),
            ("hub", by_feed, channels, singles, 1),
            ("hub, 20 at once", by_feed, channels, batches, BATCH),
            ("hub, few have readers", by_feed, channels[:10], few, BATCH),
        ]
        for name, target, heard, events, batch in cases:
            expected = events * len(heard) // len(channels)
            make = plain(heard, 1) if target is by_pubsub else partial(stamp, ours, batch)
            with hearing(target, server.url, heard, expected) as result:
                for _ in range(events // batch // 50):
                    data = b"".join(make() for _ in range(50))
                    server.replies(data, 50)
                cpu, _ = result()
            found.setdefault(name, []).append(events / cpu)
    return {name: statistics.median(values) for name, values in found.items()}


def stamp(ours: Ours, count: int) -> bytes:
    ours.caller.count += 1
    runs = calls.Runs([Event(next(ours.names), stamped())] * count)
    return encode(scripts.PUBLISH.by_sha(ours.store.publish(runs, ours.caller)))


def show(title: str, unit: str, values: dict[str, float], beside: str) -> None:
    print(f"\n{title}")
    for name, value in values.items():
        ratio = value / values[beside]
        print(f"  {name:40}{value:12,.2f} {unit:14}{ratio:8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print nothing else")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        server = Server(directory)
        try:
            results = {
                "cost": cost(server, args.rounds),
                "hubs": hubs(server, max(2, args.rounds // 3)),
                "delay": delay(server, max(2, args.rounds // 3)),
                "capacity": capacity(server, max(2, args.rounds // 3)),
            }
        finally:
            server.close()
    if args.json:
        print(json.dumps(results, indent=2))
        return
    show("CPU of the server by event", "µs", results["cost"], "yardstick")
    show("The same, by hubs that hear it", "µs", results["hubs"], "0 hubs")
    show("From publishing to the hub", "ms", results["delay"], "redis-py p50")
    show("What one can hear", "events/CPU s", results["capacity"], "redis-py")


if __name__ == "__main__":
    main()
