"""What compression saves on the wire, and what it costs the hub.

A hub in this process has readers of plain text and as many of gzip, over TCP. Another
process reads their bytes and discards them. The two kinds take turns.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import json
import random
import socket
import time
import zlib
from functools import partial

from compare import Result
from compare import Row
from compare import Scale
from compare import take_turns

from costs.reading_process import ReadHub
from flask_push import Event
from flask_push import Position
from flask_push._delivery import gzip
from flask_push._delivery.event_frame import event_frame
from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._event import Entry
from flask_push._ipc.client import Client

#: Events that the hub sends together.
_TOGETHER = (1, 10, 100)
_WORDS = "the quick brown fox jumps over a lazy dog while nobody here looks at it".split()


def _text() -> str:
    return " ".join(random.choices(_WORDS, k=30))[:50]


def _json() -> str:
    """190 bytes, about half of them data."""
    values = {
        "id": random.randrange(10**8),
        "user": random.choice(["ann", "ben", "cleo", "dora"]),
        "time": 1_764_126_000 + random.randrange(10**6),
        "price": round(random.uniform(1, 1000), 2),
        "change": round(random.uniform(-1, 1), 4),
        "text": " ".join(random.choices(_WORDS, k=30)),
    }
    return json.dumps(values)[:188] + '"}'


def _html() -> str:
    """3 kB of markup."""
    rows = ""
    while len(rows) < 3000:
        number, text = random.randrange(10**6), " ".join(random.choices(_WORDS, k=12))
        rows += (
            f'<li class="message message--other" id="message-{number}">'
            f'<span class="name">{random.choice(_WORDS)}</span>'
            f'<time datetime="2026-01-02T03:{number % 60:02}">03:{number % 60:02}</time>'
            f'<p class="text">{text}</p></li>\n'
        )
    return rows


_EVENTS: dict[str, cabc.Callable[[], str]] = {
    "50 bytes of text": _text,
    "190 bytes of JSON": _json,
    "3 kB of HTML": _html,
}

# Bytes.

_Frames = list[bytes]


def gzip_bytes(scale: Scale) -> list[Row]:
    """Bytes of an event on the wire: in blocks, as the hub compresses them, and with a
    compressor for each stream, which remembers what it has sent."""
    random.seed(1)
    rows = []
    for name, make in _EVENTS.items():
        samples = [_frames(make, 100) for _ in range(scale.rounds)]
        ways: dict[str, cabc.Callable[[_Frames], _Frames]] = {"plain": list}
        ways |= {f"gzip, {n} together": partial(_in_blocks, n) for n in _TOGETHER}
        ways["a compressor per stream"] = _by_one_compressor
        pairs = []
        for label, way in ways.items():
            row = Row(f"gzip: {name}", label, "bytes an event")
            pairs.append((row, _sizes(way, samples).__next__))
        take_turns(pairs, scale.rounds)
        rows += [row for row, _ in pairs]
    return rows


def _frames(make: cabc.Callable[[], str], count: int) -> _Frames:
    entries = (
        Entry(10**15 + n, 0, "chat", "message", make().encode()) for n in range(count)
    )
    return [event_frame(entry, "kQ3fZ", entry.number) for entry in entries]


def _sizes(
    way: cabc.Callable[[_Frames], _Frames], samples: list[_Frames]
) -> cabc.Iterator[Result]:
    for frames in samples:
        yield Result(sum(map(len, way(frames))) / len(frames))


def _in_blocks(together: int, frames: _Frames) -> _Frames:
    starts = range(0, len(frames), together)
    return [gzip.block(b"".join(frames[n : n + together])) for n in starts]


def _by_one_compressor(frames: _Frames) -> _Frames:
    it = zlib.compressobj()
    return [it.compress(frame) + it.flush(zlib.Z_SYNC_FLUSH) for frame in frames]


# The hub.


class _Hub(ReadHub):
    """A hub with a channel for each kind of readers.

    The first reader of each kind has a second one, "plain alone" or "gzip alone".
    """

    def __init__(self, readers: int) -> None:
        super().__init__(Options(max_streams=10**6, heartbeat=3600, log_bytes=2**30))
        with socket.create_server(("127.0.0.1", 0), backlog=1000) as listener:
            for n in range(readers):
                for kind in "plain", "gzip":
                    ours = socket.create_connection(listener.getsockname())
                    theirs, _ = listener.accept()
                    channels = (kind,) if n else (f"{kind} alone", kind)
                    self.add(Stream(channels, f"c{n}", gzip=kind == "gzip"), ours, theirs)
        self.begin()

    def publish(self, channel: str, turns: list[list[str]]) -> float:
        """Processor time to write the events of all turns, in microseconds."""
        return self.loop.run_until_complete(self._publish(channel, turns))

    async def _publish(self, channel: str, turns: list[list[str]]) -> float:
        taken = 0.0
        for texts in turns:
            before = time.process_time()
            position = self.broker.publish([Event(channel, text) for text in texts])[-1]
            while Position.parse(self.hub.status()["position"]).number < position.number:
                await asyncio.sleep(0)
            taken += time.process_time() - before
            await self.until_all_is_read()
        return taken * 1e6

    def connect(self, count: int, position: str, gzip: bool) -> float:
        """Processor time for each of many readers that connect, in microseconds."""
        return self.loop.run_until_complete(self._connect(count, position, gzip))

    async def _connect(self, count: int, position: str, gzip: bool) -> float:
        pairs = [socket.socketpair() for _ in range(count)]
        connected = self.hub.status()["streams"]
        streams = [
            (Stream(("missed",), f"c{n}", position=position, gzip=gzip), theirs.detach())
            for n, (_, theirs) in enumerate(pairs)
        ]
        before = time.process_time()
        for stream, fd in streams:
            self.hub.adopt(stream, Client(fd))
        while self.hub.status()["behind"]:
            await asyncio.sleep(0)
        taken = time.process_time() - before
        for ours, _ in pairs:
            ours.close()
        while self.hub.status()["streams"] > connected:
            await asyncio.sleep(0)
        return taken * 1e6 / count


# Time.


def gzip_time(scale: Scale) -> list[Row]:
    """Processor time of the hub for each event and reader."""
    random.seed(1)
    rows = []
    with contextlib.closing(_Hub(scale.small)) as hub:
        for name, make in _EVENTS.items():
            for size in _TOGETHER:
                label = f"gzip: {name}, {size} together"
                turns = max(1, 20 // size)
                rows += _published(hub, label, "", make, size, turns, scale.small, scale)
            label = f"gzip: {name}, one reader"
            rows += _published(hub, label, " alone", make, 1, 200, 1, scale)
    return rows


def _published(
    hub: _Hub,
    name: str,
    suffix: str,
    make: cabc.Callable[[], str],
    size: int,
    turns: int,
    readers: int,
    scale: Scale,
) -> list[Row]:
    def measure(kind: str) -> Result:
        texts = [[make() for _ in range(size)] for _ in range(turns)]
        return Result(hub.publish(kind + suffix, texts) / (size * turns * readers))

    return _compared(name, "µs an event and reader", measure, scale)


def gzip_connect(scale: Scale) -> list[Row]:
    """Processor time of the hub for each reader that connects, or resumes."""
    random.seed(1)
    with contextlib.closing(_Hub(scale.small)) as hub:
        start, *_ = hub.broker.publish([Event("missed", _json()) for _ in range(101)])
        count = max(1, scale.small // 2)

        def measure(position: str, kind: str) -> Result:
            return Result(hub.connect(count, position, kind == "gzip"))

        unit = "µs a reader"
        rows = _compared("gzip: connecting", unit, partial(measure, ""), scale)
        name = "gzip: connecting, 100 events missed"
        return rows + _compared(name, unit, partial(measure, str(start)), scale)


def _compared(
    name: str, unit: str, measure: cabc.Callable[[str], Result], scale: Scale
) -> list[Row]:
    pairs = [(Row(name, k, unit), partial(measure, k)) for k in ("plain", "gzip")]
    take_turns(pairs, scale.rounds)
    return [row for row, _ in pairs]
