"""Many streams on six hubs of one machine, a fifth of them of users who are present.

Each stream has three channels, and each event reaches 300 streams, however many there are.
One hub is killed while events are published. Each of its readers resumes as a browser does,
after its ``retry`` and at its own last event, and the loaders check that each reader gets
each event once.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import signal
import time
from pathlib import Path

import servers
from compare import Row
from compare import Scale
from loader import Answer
from loader import Loader
from processes import kernel_memory
from start.server import HOST
from start.server import SIZE
from start.server import start

from costs.item_newcomers import publisher_of

HUBS = 6
# Processes of the loader: one may have 20,000 descriptors, as a hub.
_LOADERS = 6
# Events per second, channels of a stream, and readers of an event.
_RATE, _CHANNELS, _READERS = 100, 3, 300
# Users of one presence channel: see the loader.
_TOGETHER = 500
_STREAM = f"GET /stream?channel=%C%P {HOST}Accept: text/event-stream\r\n%I\r\n"
#: Seconds that a size may take to connect, and to resume.
_MOST_SECONDS = 150

_FIGURES = {
    "seconds until all were connected": "s",
    "hubs' memory": "bytes a stream",
    "largest hub": "MB",
    "kernel's memory, of both ends": "bytes a stream",
    "hubs, idle": "µs of CPU a stream and heartbeat",
    "hubs, 100 events a second": "µs of CPU a stream and event",
    "99 of 100 events arrived within": "ms",
    "streams of the hub that was killed": "",
    "seconds until they were open again": "s",
    "events that were lost, doubled or not known": "",
    "users who are present": "",
    "users who seemed to leave": "",
    "seconds until all had ended": "s",
}


def scale(scale: Scale) -> list[Row]:
    """A thousand streams, ten thousand, and as many as are asked for."""
    rows: list[Row] = []
    for count in sorted(
        {min(1000, scale.streams), min(10_000, scale.streams), scale.streams}
    ):
        found = {
            name: Row(f"scale: {name}", f"{count:,} streams", unit)
            for name, unit in _FIGURES.items()
        }
        _Size(count, 20 * scale.seconds, found).measure()
        rows += found.values()
    return sorted(
        rows, key=lambda row: [*_FIGURES].index(row.workload.removeprefix("scale: "))
    )


class _Size:
    """One size.

    :param period: Seconds of each part. While streams are idle, each gets one heartbeat.
    """

    def __init__(self, count: int, period: float, rows: dict[str, Row]) -> None:
        self.count, self.period, self._rows = count, period, rows
        self._channels = max(_CHANNELS, count * _CHANNELS // _READERS)
        # As many events on each channel, in each part.
        self._each = max(1, round(_RATE * period / self._channels))
        self._published = 0
        self._faults: list[Answer] = []

    def measure(self) -> None:
        config = {"PUSH_HUB_PROCESSES": HUBS, "PUSH_HEARTBEAT": self.period}
        workers = ("--worker-class", "gthread", "--threads", "4", "-w", "2")
        self._running = start(
            servers.FLASK_PUSH, 0, config=config, workers=workers, separate_publisher=True
        )
        loaders: list[Loader] = []
        try:
            per_loader = self.count // _LOADERS
            loaders += (self._loader(per_loader) for _ in range(_LOADERS))
            publisher = self._loader(0)
            loaders.append(publisher)
            self._measure(loaders[:-1], publisher, per_loader)
        finally:
            since = time.monotonic()
            for loader in loaders:
                loader.end()
            self._running.end()
            self._note("seconds until all had ended", time.monotonic() - since)

    def _loader(self, readers: int) -> Loader:
        running, server = self._running, self._running.server
        return Loader(
            *(running.port, _STREAM, "&channel=", running.publish_port, server.publish),
            *(server.reply[0], readers, self._channels, _CHANNELS, SIZE),
            *(server.publishers, 1, readers // 5),
        )

    def _note(self, name: str, value: float) -> None:
        self._rows[name].values.append(value)

    def _measure(self, loaders: list[Loader], publisher: Loader, each: int) -> None:
        processes, count = self._running.processes, each * len(loaders)
        kernel = kernel_memory() + _buffers()
        since = time.monotonic()
        # A hub starts with its first stream, and then has all that it allocates once.
        for loader in loaders:
            loader.run("connect", min(each, 10), 10, 30)
        before = processes.memory(processes.hub())
        for loader in loaders:
            loader.send("connect", each, 300, _MOST_SECONDS)
        connected = [loader.answer() for loader in loaders]
        self._note("seconds until all were connected", time.monotonic() - since)
        if (found := sum(answer.open for answer in connected)) < count:
            self._rows["seconds until all were connected"].faults = f"{found:,} are open"
        self._memory(before, kernel)
        with self._spending("hubs, idle", count):
            time.sleep(self.period)
        deliveries = self._each * _CHANNELS * count
        with self._spending("hubs, 100 events a second", deliveries):
            answers = self._publish(loaders, publisher)
        self._note("99 of 100 events arrived within", max(a.p99 for a in answers))
        self._kill(loaders, publisher)

    def _memory(self, before: int, kernel: int) -> None:
        processes = self._running.processes
        hubs = processes.hub()
        for name, taken in {
            "hubs' memory": processes.memory(hubs) - before,
            "kernel's memory, of both ends": kernel_memory() + _buffers() - kernel,
        }.items():
            self._note(name, taken / self.count)
        self._note("largest hub", max(processes.memory([pid]) for pid in hubs) / 1e6)

    @contextlib.contextmanager
    def _spending(self, name: str, of: float) -> cabc.Iterator[None]:
        processes = self._running.processes
        hubs = processes.hub()
        before = processes.cpu(hubs)
        yield
        self._note(name, 1e6 * (processes.cpu(hubs) - before) / of)

    def _publish(
        self, loaders: list[Loader], publisher: Loader, hub: int = 0
    ) -> list[Answer]:
        """Publish as many events on each channel, and wait until each stream has them.

        :param hub: The hub to kill meanwhile.
        """
        self._published += self._each
        for loader in loaders:
            loader.send("keep", self._published, _MOST_SECONDS)
        publisher.send(
            *("publish", 1000, _RATE, 10 * self.period, self._each * self._channels)
        )
        if hub:
            time.sleep(self.period / 4)
            os.kill(hub, signal.SIGKILL)
        answers = [loader.answer() for loader in loaders]
        publisher.answer()
        self._faults += answers
        return answers

    def _kill(self, loaders: list[Loader], publisher: Loader) -> None:
        rooms = [
            f"r{loader.pid}-{number}"
            for loader in loaders
            for number in range(-(-(self.count // _LOADERS // 5) // _TOGETHER))
        ]
        store = publisher_of(self._running)
        try:

            def present() -> int:
                return sum(store.presence(room).count or 0 for room in rooms)

            wanted, deadline = self.count // _LOADERS // 5 * _LOADERS, time.monotonic() + 30
            while present() < wanted and time.monotonic() < deadline:
                time.sleep(0.5)
            self._note("users who are present", before := present())
            # The first one does more: only it listens for nginx.
            answers = self._publish(loaders, publisher, self._running.processes.hub()[1])
            # Longer than the grace, so that users who are away have left.
            left, until = 0, time.monotonic() + self.period
            while time.monotonic() < until:
                left = max(left, before - present())
                time.sleep(1)
            self._note("users who seemed to leave", left)
        finally:
            store.close()
        self._note("streams of the hub that was killed", sum(a.messages for a in answers))
        # They have waited for their `retry`, too.
        taken = max(a.seconds for a in answers) - self.period / 4
        self._note("seconds until they were open again", taken)
        row = self._rows["events that were lost, doubled or not known"]
        row.values.append(
            sum(a.lost + a.missing + a.disordered + a.gaps for a in self._faults)
        )
        row.faults = ", ".join(sorted({a.faults() for a in self._faults} - {""}))


def _buffers() -> int:
    """Bytes that the kernel has for data of TCP, of all processes."""
    lines = Path("/proc/net/sockstat").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("TCP:")]
    return int(line.split()[-1]) * os.sysconf("SC_PAGE_SIZE")
