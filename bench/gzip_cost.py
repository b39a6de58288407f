"""What compression saves on the wire, and what it costs the hub.

    $ python bench/gzip_cost.py [--json] [--rounds 9] [--readers 1000]

A hub in this process has readers of plain text and as many of gzip, on TCP, whose bytes
another process reads and throws away. Turns of so many events go to the ones and to the
others, in turns in one run: the machine may be busy, and only the ratios say something.
Beside it, what each event takes if every stream had a compressor of its own, which
remembers what it has sent.
"""

from __future__ import annotations

import argparse
import asyncio
import collections.abc as cabc
import contextlib
import fcntl
import json
import multiprocessing
import random
import select
import socket
import statistics
import sys
import termios
import time
import typing as t
import zlib

from flask_push import Event
from flask_push import Position
from flask_push._delivery import gzip as _gzip
from flask_push._delivery import wire
from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._event import Entry
from flask_push._hub.hub import Hub
from flask_push.brokers.memory import MemoryBroker

TURNS = (1, 10, 100)
#: Readers that come at once.
COMING = 500
WORDS = "the quick brown fox jumps over a lazy dog while nobody here looks at it".split()


def some_json() -> str:
    """190 bytes, of which about half says something."""
    said = {
        "id": random.randrange(10**8),
        "user": random.choice(["ann", "ben", "cleo", "dora"]),
        "time": 1_764_126_000 + random.randrange(10**6),
        "price": round(random.uniform(1, 1000), 2),
        "change": round(random.uniform(-1, 1), 4),
        "text": " ".join(random.choices(WORDS, k=30)),
    }
    return json.dumps(said)[:188] + '"}'


def some_html() -> str:
    """3 kB of a page's markup."""
    rows = ""
    while len(rows) < 3000:
        number, text = random.randrange(10**6), " ".join(random.choices(WORDS, k=12))
        rows += (
            f'<li class="message message--other" id="message-{number}">'
            f'<span class="name">{random.choice(WORDS)}</span>'
            f'<time datetime="2026-01-02T03:{number % 60:02}">03:{number % 60:02}</time>'
            f'<p class="text">{text}</p></li>\n'
        )
    return rows


KINDS: dict[str, cabc.Callable[[], str]] = {
    "50 bytes of text": lambda: " ".join(random.choices(WORDS, k=30))[:50],
    "190 bytes of JSON": some_json,
    "3 kB of HTML": some_html,
}


def frames(make: cabc.Callable[[], str], count: int) -> list[bytes]:
    entries = (
        Entry(10**15 + n, 0, "chat", "message", make().encode()) for n in range(count)
    )
    return [wire.event(entry, "kQ3fZ", entry.number) for entry in entries]


def sizes() -> dict[str, dict[str, float]]:
    """Bytes of an event on the wire, in turns of so many."""
    found = {}
    for kind, make in KINDS.items():
        turns = [frames(make, 100) for _ in range(5)]
        plain = sum(len(frame) for turn in turns for frame in turn) / 500
        row = {"plain": plain}
        for size in TURNS:
            blocks = (
                _gzip.block(b"".join(turn[n : n + size]))
                for turn in turns
                for n in range(0, 100, size)
            )
            row[f"turns of {size}"] = sum(map(len, blocks)) / 500
        alone = zlib.compressobj()
        row["each its own"] = (
            sum(
                len(alone.compress(frame) + alone.flush(zlib.Z_SYNC_FLUSH))
                for turn in turns
                for frame in turn
            )
            / 500
        )
        found[kind] = row
    return found


# The hub, and who reads.


def drain(socks: list[socket.socket]) -> None:
    poll = select.epoll()
    by_number = {sock.fileno(): sock for sock in socks}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    while True:
        for number, _ in poll.poll():
            by_number[number].recv(2**18)


def unread(sock: socket.socket) -> int:
    return int.from_bytes(fcntl.ioctl(sock, termios.FIONREAD, bytes(4)), sys.byteorder)


class Bench:
    """A hub with so many readers of either kind on a channel each."""

    def __init__(self, readers: int) -> None:
        self.broker = MemoryBroker()
        options = Options(max_streams=10**6, heartbeat=3600, log_bytes=2**30)
        self.hub = Hub(self.broker, options, asyncio.get_running_loop())
        self.ours: list[socket.socket] = []
        streams = []
        with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
            for n in range(readers):
                for gzip in False, True:
                    self.ours.append(socket.create_connection(listener.getsockname()))
                    theirs, _ = listener.accept()
                    names = self.names(n, gzip)
                    streams.append((Stream(names, f"c{n}", gzip=gzip), theirs.detach()))
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=drain, args=(self.ours,), daemon=True)
        self.process.start()
        for stream, fd in streams:
            self.hub.adopt(stream, fd)

    def names(self, n: int, gzip: bool) -> tuple[str, ...]:
        """All of a kind have one in common, and the first has another for itself."""
        kind = "gzip" if gzip else "plain"
        return (f"{kind} alone", kind) if not n else (kind,)

    async def idle(self) -> None:
        """Until all have all."""
        while True:
            if self.hub.status()["behind"] == 0 and not any(map(unread, self.ours)):
                return
            await asyncio.sleep(0.005)

    async def turn(self, channel: str, texts: list[str]) -> float:
        """Processor time until it is written, in microseconds."""
        before = time.process_time()
        position = self.broker.publish([Event(channel, text) for text in texts])[-1]
        while Position.parse(self.hub.status()["position"]).number < position.number:
            await asyncio.sleep(0)
        taken = time.process_time() - before
        await self.idle()
        return taken * 1e6

    async def come(self, position: str, gzip: bool) -> float:
        """Processor time for each of many that come, in microseconds."""
        pairs = [socket.socketpair() for _ in range(COMING)]
        here = self.hub.status()["streams"]
        streams = [
            (Stream(("missed",), f"c{n}", position=position, gzip=gzip), theirs.detach())
            for n, (_, theirs) in enumerate(pairs)
        ]
        before = time.process_time()
        for stream, fd in streams:
            self.hub.adopt(stream, fd)
        while self.hub.status()["behind"]:
            await asyncio.sleep(0)
        taken = time.process_time() - before
        for ours, _ in pairs:
            ours.close()
        while self.hub.status()["streams"] > here:
            await asyncio.sleep(0)
        return taken * 1e6 / COMING

    def close(self) -> None:
        self.process.terminate()
        self.process.join()
        for sock in self.ours:
            sock.close()
        self.hub.stop()
        self.broker.close()


async def costs(readers: int, rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds of the hub for each event and reader, and for each that comes."""
    bench = Bench(readers)
    found: dict[str, dict[str, float]] = {}
    try:
        await bench.idle()
        for kind, make in KINDS.items():
            for size in TURNS:
                found[f"{kind}, turns of {size}"] = await one(
                    bench, ("plain", "gzip"), make, size, readers, rounds
                )
            alone = "plain alone", "gzip alone"
            found[f"{kind}, one reader"] = await one(bench, alone, make, 1, 1, rounds)
        found["a reader that comes"] = await come(bench, "", rounds)
        make = KINDS["190 bytes of JSON"]
        start, *_ = bench.broker.publish([Event("missed", make()) for _ in range(101)])
        found["one that has missed 100"] = await come(bench, str(start), rounds)
    finally:
        bench.close()
    return found


async def come(bench: Bench, position: str, rounds: int) -> dict[str, float]:
    plain, gzip = [], []
    for _ in range(rounds):
        plain.append(await bench.come(position, gzip=False))
        gzip.append(await bench.come(position, gzip=True))
    return beside(gzip, plain)


async def one(
    bench: Bench,
    channels: tuple[str, str],
    make: cabc.Callable[[], str],
    size: int,
    readers: int,
    rounds: int,
) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in channels}
    turns = max(1, 200 // size if readers == 1 else 20 // size)
    for _ in range(rounds):
        for name in channels:
            texts = [[make() for _ in range(size)] for _ in range(turns)]
            taken = sum([await bench.turn(name, text) for text in texts])
            times[name].append(taken / (size * turns * readers))
    plain, gzip = (times[name] for name in channels)
    return beside(gzip, plain)


def beside(gzip: list[float], plain: list[float]) -> dict[str, float]:
    """Round by round."""
    ratios = [g / p for g, p in zip(gzip, plain, strict=True)]
    return {
        "plain": statistics.median(plain),
        "gzip": statistics.median(gzip),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
    }


def show(title: str, rows: dict[str, dict[str, float]]) -> None:
    print(f"\n{title}")
    width = max(map(len, rows))
    columns = list(next(iter(rows.values())))
    print(" " * width + "".join(f"{name:>14}" for name in columns))
    for name, row in rows.items():
        print(f"{name:{width}}" + "".join(f"{row[column]:14,.2f}" for column in columns))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print nothing else")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--readers", type=int, default=1000)
    args = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        random.seed(1)
        results: dict[str, t.Any] = {
            "bytes": sizes(),
            "cpu": asyncio.run(costs(args.readers, args.rounds)),
        }
        if args.json:
            print(json.dumps(results, indent=2))
            return
        show("Bytes of an event on the wire", results["bytes"])
        show("µs of the hub for each event and reader, or each that comes", results["cpu"])


if __name__ == "__main__":
    main()
