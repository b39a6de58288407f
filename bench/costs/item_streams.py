"""What streams of items cost: fan-out beside that of events, and a reader that is slow."""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import socket
import struct
import termios
import time
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path

import servers
from compare import compare
from compare import per_cpu
from compare import Row
from compare import Scale
from compare import Wanted
from start.server import HOST
from start.server import Running
from start.server import SIZE
from start.server import start

from costs.item_newcomers import connect
from costs.item_newcomers import publisher_of
from costs.item_newcomers import start_hub
from flask_push import Event

#: Its publishers set one of a hundred items.
ITEMS = replace(
    servers.FLASK_PUSH,
    publish=f"POST /set?channel=%C {HOST}Content-Length: {SIZE}\r\n\r\n%D",
)


def item_fan_out(scale: Scale) -> list[Row]:
    """Processor time of the hub alone, because setting costs the view more."""
    measure = per_cpu(1, scale.seconds, only_hub=True)
    wanted: list[Wanted] = [("events", servers.FLASK_PUSH, {}), ("items", ITEMS, {})]
    name = f"fan-out to {scale.small:,} of events and items, one by one"
    unit = "events per CPU second of the hub"
    return compare(name, unit, wanted, scale, scale.small, measure)


# A slow reader.

CHANNEL, COUNT = "prices", 100
#: Of each second.
_SETS, _READS = 1000, 10_000
#: The kernel cuts off a reader with a much smaller buffer after half a minute.
_BUFFER = 65536
_SECONDS = 60
_EVENT = re.compile(rb"id: [\w-]+\.prices\.i(\d+)(?:\.\w+)?\ndata: (.*)\n\n")


@dataclass
class _Reader:
    """Reads little at a time, and checks what it reads."""

    running: Running
    sock: socket.socket
    received: int = 0
    #: Bytes that the hub had written at each tick of this process.
    written: list[int] = field(default_factory=list)
    #: Of each item, the newest tick in which it was set that was received.
    newest: dict[int, int] = field(default_factory=dict)
    values: int = 0
    #: The most bytes that the hub has written between a set and the end of the value.
    behind: int = 0
    faults: str = ""
    _rest: bytes = b""
    #: A value is measured when its item is received for the second time: the first time,
    #: it may have been set before the stream began.
    _seen: set[int] = field(default_factory=set)

    def look(self) -> None:
        """Note how much the hub has written: what was read, and what the kernel holds."""
        (waits,) = struct.unpack("i", fcntl.ioctl(self.sock, termios.FIONREAD, b"\0" * 4))
        self.written.append(self.received + waits + self._unsent())

    def _unsent(self) -> int:
        """Bytes in the kernel on the hub's side."""
        ends = f":{self.running.port:04X}", f":{self.sock.getsockname()[1]:04X}"
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            if words[1].endswith(ends[0]) and words[2].endswith(ends[1]):
                return int(words[4].partition(":")[0], 16)
        return 0

    def read(self, size: int) -> None:
        if size <= 0:
            return
        with contextlib.suppress(BlockingIOError):
            data = self.sock.recv(size)
            if not data:
                self.faults = self.faults or "the stream ended"
            self.received += len(data)
            self._rest += data
        start = self.received - len(self._rest)
        end = 0
        for match in _EVENT.finditer(self._rest):
            end = match.end()
            self._take(int(match[1]), json.loads(match[2])["tick"], start + end)
        self._rest = self._rest[end:]

    def _take(self, item: int, tick: int, end: int) -> None:
        self.values += 1
        if tick < self.newest.get(item, 0):
            self.faults = self.faults or "an item became older"
        self.newest[item] = tick
        if item in self._seen and tick < len(self.written):
            self.behind = max(self.behind, end - self.written[tick])
        self._seen.add(item)


def item_slow_reader(scale: Scale) -> list[Row]:
    """How much a reader gets that reads 10 kB a second, and how old it is.

    The kernel holds up to 256 kB for it, in which the hub can change nothing. So the second
    figure is what the hub writes after a set, up to the end of this value. A round is each
    item once. The hub has begun one when an item is set, and writes the value in the next.
    """
    sets, last = 0, dict[int, int]()
    with contextlib.ExitStack() as stack:
        running = start(servers.FLASK_PUSH, 0)
        stack.callback(running.end)
        publisher = stack.enter_context(contextlib.closing(publisher_of(running)))

        def set_items(tick: int, count: int) -> None:
            nonlocal sets
            numbers = [n % COUNT for n in range(sets, sets + count)]
            data = {"tick": tick, "filler": "x" * 80}
            publisher.publish_many(
                Event(CHANNEL, data, item=f"i{number}") for number in numbers
            )
            last.update(dict.fromkeys(numbers, tick))
            sets += count

        start_hub(running)
        set_items(0, COUNT)
        sock = stack.enter_context(connect(running, CHANNEL, _BUFFER))
        sock.setblocking(False)
        reader = _Reader(running, sock)
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < 80 * scale.seconds:
            reader.look()
            set_items(len(reader.written) - 1, round(passed * _SETS) - sets + COUNT)
            reader.read(round(passed * _READS) - reader.received)
            time.sleep(0.01)
        size, values = reader.written[-1], reader.values
        deadline = time.monotonic() + _SECONDS
        while reader.newest != last and not reader.faults:
            reader.read(2**16)
            if time.monotonic() > deadline:
                reader.faults = "the newest value of an item was not received"
            time.sleep(0.001)
    return _rows(reader, sets, size, values)


def _rows(reader: _Reader, sets: int, size: int, values: int) -> list[Row]:
    one = reader.received / reader.values
    name = f"a reader of 10 kB/s, {COUNT} items set 1,000 times a second"
    rows = [
        Row(f"{name}: how much it gets", "of all sets", "%"),
        Row(f"{name}: until a value is written", "at most", "rounds"),
    ]
    figures = 100 * size / (sets * one), reader.behind / (COUNT * one)
    for row, figure in zip(rows, figures, strict=True):
        row.values.append(figure)
        row.more = {"sets": sets, "values": values}
        row.faults = reader.faults
    return rows
