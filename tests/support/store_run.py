"""A store of SQLite under load, while its files are removed, moved and replaced.

Processes publish and are killed, feeds listen, and :mod:`checker` judges the result.
No server takes part, so that many faults happen in little time.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from flask_push import Event
from flask_push import NotPublished
from flask_push import NotRead
from flask_push import Position
from flask_push import PublishUncertain
from flask_push.brokers import Entry
from flask_push.brokers import Retention
from flask_push.brokers.sqlite import SqliteBroker
from support.checker import Cause
from support.checker import judge
from support.checker import Trace
from support.checker import Truth
from support.servers import TESTS

CHANNELS = "abc"


def microseconds() -> int:
    return time.time_ns() // 1000


class Listener:
    """The events that a hub would send to one browser with all channels."""

    def __init__(self, path: Path) -> None:
        self.broker = SqliteBroker(path)
        self.epoch, self.end = "", 0
        self.events: list[Event] = []
        self.times: list[int] = []
        self.open = False
        self.connect()

    def connect(self) -> None:
        """Continue where it has ended, as the successor of a hub does."""
        after = Position(self.epoch, self.end) if self.epoch else None
        loop = asyncio.get_running_loop()
        channels = CHANNELS if after else ""
        self.feed = self.broker.feed(self, loop, after=after, channels=channels)
        if after is None:
            self.feed.watch(CHANNELS)

    def close(self) -> None:
        self.feed.close()
        self.broker.close()

    def tell(self, type: str, number: int, data: str, channel: str = "") -> None:
        id = f"{Position(self.epoch, number)}{channel and f'.{channel}'}"
        self.events.append(Event(channel, data, type, id=id))
        self.times.append(microseconds())

    def deliver(self, epoch: str, entries: cabc.Sequence[Entry], end: int | None) -> None:
        if epoch != self.epoch:
            assert end is not None
            self.epoch, self.end = epoch, end
            if self.open:
                gap = {"channels": [*CHANNELS], "reason": "restarted"}
                self.tell("push:gap", end, json.dumps(gap))
            return
        for entry in entries:
            self.tell("message", entry.number, entry.data.decode(), entry.channel)
        self.end = self.end if end is None else end

    def missed(self, end: int) -> None:
        raise AssertionError("the store is large enough for all")

    def watched(self, channels: cabc.Sequence[str]) -> None:
        self.open = True
        self.tell("push:open", self.end, "{}")


class StoreRun:
    def __init__(self, directory: Path, publishers: int = 3) -> None:
        self.seed = random.randrange(10**6)
        print("seed", self.seed)
        self.rng = random.Random(self.seed)
        self.notes = directory
        self.path = directory / "run" / "push.db"
        self.path.parent.mkdir()
        self.away = directory / "away"
        self.away.mkdir()
        #: Each new file must have the store's settings.
        self.retention = Retention(count=1_000_000)
        self.causes: list[Cause] = []
        self.listeners = [Listener(self.path) for _ in range(2)]
        self.publishers = [self.start_publisher(n) for n in range(publishers)]
        self.faults = 0

    def start_publisher(self, n: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "apps.publisher", f"sqlite://{self.path}"]
        return subprocess.Popen(
            [*command, str(self.notes / f"notes{n}"), CHANNELS], cwd=TESTS
        )

    def close(self) -> None:
        for publisher in self.publishers:
            publisher.kill()
            publisher.wait()
        for listener in self.listeners:
            listener.close()

    @contextlib.contextmanager
    def causing_loss(self) -> cabc.Iterator[None]:
        start = microseconds()
        try:
            yield
        finally:
            # The next process that looks notices it, which may be much later.
            self.causes.append(Cause("loss", start, 2**63))

    # Faults of the processes.

    def kill_publisher(self) -> None:
        n = self.rng.randrange(len(self.publishers))
        self.publishers[n].kill()
        self.publishers[n].wait()
        self.publishers[n] = self.start_publisher(n)

    def stop_publisher(self) -> None:
        publisher = self.rng.choice(self.publishers)
        publisher.send_signal(signal.SIGSTOP)
        time.sleep(self.rng.choice([0.001, 0.02, 0.1]))
        publisher.send_signal(signal.SIGCONT)

    def reconnect(self) -> None:
        listener = self.rng.choice(self.listeners)
        listener.feed.close()
        listener.connect()

    def come_and_go(self) -> None:
        """Publish as a view does, or a cron job."""
        broker = SqliteBroker(self.path, timeout=0.5)
        with contextlib.suppress(NotRead):
            broker.read(CHANNELS, last=10)
        broker.close()

    # Faults of the files.

    def files(self) -> list[Path]:
        """Some of them, at random."""
        all = [Path(f"{self.path}{suffix}") for suffix in ("", "-wal", "-shm", ".lock")]
        return self.rng.sample(all, self.rng.choice([1, 1, 2, 3, 4]))

    def remove(self) -> None:
        with self.causing_loss():
            for file in self.files():
                file.unlink(missing_ok=True)

    def move_and_return(self) -> None:
        files = self.files()
        with self.causing_loss():
            for file in files:
                with contextlib.suppress(FileNotFoundError):
                    file.rename(self.away / file.name)
            time.sleep(self.rng.choice([0, 0.001, 0.05]))
            for file in files:
                with contextlib.suppress(FileNotFoundError):
                    (self.away / file.name).rename(file)

    def replace(self) -> None:
        """Replace the files by copies."""
        with self.causing_loss():
            for file in self.files():
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(file, self.away / "copy")
                    (self.away / "copy").rename(file)

    def overwrite(self) -> None:
        """Overwrite the file with an old copy, as ``cp`` does."""
        file = self.rng.choice([self.path, Path(f"{self.path}-wal")])
        old = self.away / f"old{file.name}"
        with self.causing_loss(), contextlib.suppress(FileNotFoundError):
            if old.exists() and file.exists():
                file.write_bytes(old.read_bytes())
            shutil.copyfile(file, old)

    def move_directory(self) -> None:
        with self.causing_loss():
            self.path.parent.rename(self.away / f"run{self.faults}")
            self.path.parent.mkdir(mode=0o700)

    def remove_directory(self) -> None:
        with self.causing_loss():
            with contextlib.suppress(OSError):
                shutil.rmtree(self.path.parent)
            self.path.parent.mkdir(mode=0o700, exist_ok=True)

    def restore_directory(self) -> None:
        """Replace the file by an old copy."""
        old = self.away / "old"
        with self.causing_loss():
            if old.exists():
                self.path.parent.rename(self.away / f"run{self.faults}")
                old.rename(self.path.parent)
        with contextlib.suppress(shutil.Error, FileNotFoundError):
            shutil.copytree(
                self.path.parent, old, ignore=lambda _, names: {"push.db.bells"}
            )

    @property
    def kinds(self) -> list[cabc.Callable[[], None]]:
        return [
            *(self.kill_publisher, self.stop_publisher, self.reconnect),
            *(self.come_and_go, self.remove, self.move_and_return, self.replace),
            *(self.move_directory, self.remove_directory, self.restore_directory),
        ]

    async def go(self, faults: int, kinds: list[cabc.Callable[[], None]]) -> None:
        """Run until this many faults have happened, each to a store that works."""
        for _ in range(faults):
            heard = [len(listener.events) for listener in self.listeners]
            await self.until(
                lambda heard=heard: all(  # type: ignore[misc]
                    len(listener.events) > before + 5
                    for listener, before in zip(self.listeners, heard, strict=True)
                )
            )
            self.faults += 1
            self.rng.choice(kinds)()

    async def until(self, condition: cabc.Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, (self.seed, self.listeners[0].events[-3:])
            await asyncio.sleep(0.002)

    async def finish(self) -> list[str]:
        """End the publishing, wait until the listeners have all events, and judge."""
        for publisher in self.publishers:
            publisher.kill()
            publisher.wait()
        last: dict[str, Position] = {}
        broker = SqliteBroker(self.path)
        while len(last) < len(CHANNELS):
            for name in CHANNELS:
                with contextlib.suppress(NotPublished, PublishUncertain):
                    (last[name],) = broker.publish([Event(name, f"end {name}")])
            await asyncio.sleep(0.01)
        broker.close()
        end = max(last.values())
        assert {position.epoch for position in last.values()} == {end.epoch}
        await self.until(
            lambda: all(
                listener.epoch == end.epoch and listener.end >= end.number
                for listener in self.listeners
            )
        )
        return self.judge()

    def judge(self) -> list[str]:
        truth = Truth()
        for path in self.notes.glob("notes*"):
            for line in path.read_text().splitlines():
                note = json.loads(line)
                if "id" in note:
                    truth.add(**note)
        for listener in self.listeners:
            for event in listener.events:
                if not event.type.startswith("push:"):
                    truth.add(event.id, event.channel, event.data)
        truth.sort()
        wrong = [] if self.causes else truth.doubled()
        for listener in self.listeners:
            trace = Trace([*CHANNELS], listener.events, listener.times)
            wrong += judge(trace, truth, self.causes)
        print(sum(map(len, truth.numbers.values())), "events", self.faults, "faults")
        return wrong
