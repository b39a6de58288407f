"""A run of publishers and readers in which processes are killed."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import fcntl
import json
import os
import random
import selectors
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from flask_push import Event
from flask_push import NotPublished
from flask_push import Position
from flask_push import Publisher
from flask_push import PublishUncertain
from flask_push._handoff.spawn import start_process
from flask_push._ipc.files import HubFiles
from support.checker import Cause
from support.checker import judge
from support.checker import Trace
from support.checker import Truth
from support.reader import HttpReader
from support.servers import gunicorn
from support.servers import kill_hubs
from support.servers import serve
from support.servers import Server
from support.servers import TESTS
from support.servers import until

CHANNELS = "abc"


class Client:
    """A browser whose connection is cut all the time, at any byte, and that reconnects."""

    def __init__(self, server: Server, rng: random.Random) -> None:
        self.server = server
        self.rng = rng
        self.channels = sorted(rng.sample(CHANNELS, rng.randint(2, 3)))
        self.last_id = ""
        self.events: list[Event] = []
        #: When each of them arrived.
        self.times: list[int] = []
        self.reader: HttpReader | None = None
        self.patient = False
        self.impatience = 5000
        self.away_until = 0.0
        self.cuts = 0

    def connect(self) -> HttpReader | None:
        if self.reader is None and time.monotonic() >= self.away_until:
            with contextlib.suppress(OSError):
                self.reader = self.make_reader()
                self.left = self.rng.choice([0, 50, 500, self.impatience])
                self.left += self.rng.randint(0, 300)
        return self.reader

    def make_reader(self) -> HttpReader:
        return HttpReader(self.server.port, *self.channels, last_id=self.last_id)

    def read(self) -> None:
        assert self.reader is not None
        most = None if self.patient else self.left
        before = len(self.reader.body)
        with contextlib.suppress(OSError):
            events = self.reader.read(most)
            self.events += events
            self.times += [time.time_ns() // 1000] * len(events)
        self.left -= len(self.reader.body) - before
        if self.reader.ended or (self.left <= 0 and not self.patient):
            self.cut()

    def cut(self) -> None:
        assert self.reader is not None
        self.last_id = self.reader.last_id
        self.reader.close()
        self.reader = None
        self.cuts += 1
        self.away_until = time.monotonic() + self.rng.choice([0, 0, 0, 0.1])


class Run:
    """One run: a server, publishers, readers, and the faults that happen to them."""

    client_kind: type[Client] = Client
    publisher_app = "apps.publisher"

    def __init__(self, server: Server, directory: Path, mutant: str, url: str = "") -> None:
        seed = random.randrange(10**6)
        print("seed", seed)
        self.server = server
        self.directory = directory
        self.store = directory / "push-basic" / "push.db"
        self.url = url or f"sqlite://{self.store}"
        self.mutant = mutant
        self.rng = random.Random(seed)
        kind = self.client_kind
        self.clients = [kind(server, random.Random(seed + n)) for n in range(12)]
        self.publishers: list[subprocess.Popen[bytes]] = []
        self.publish_again()
        self.causes: list[Cause] = []
        self.ends = 0
        #: Events acknowledged before this number were lost with the file they were in.
        self.restored = 0
        self.backup = directory / "backup.db"

    def publish_again(self) -> None:
        for client in self.clients:
            client.patient = False
        self.publishers = [self.start_publisher(n) for n in range(3)]

    def start_publisher(self, n: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", self.publisher_app, self.url]
        return subprocess.Popen(
            [*command, str(self.directory / f"notes{n}"), *self.publisher_words()],
            cwd=TESTS,
            env={**os.environ, "MUTANT": self.mutant} if self.mutant else None,
        )

    def publisher_words(self) -> list[str]:
        return [CHANNELS]

    def close(self) -> None:
        self.end_publishers()
        for client in self.clients:
            if client.reader is not None:
                client.reader.close()

    @contextlib.contextmanager
    def noting(self, *kinds: str) -> cabc.Iterator[None]:
        """Record that what happens meanwhile is a cause of gaps."""
        start = time.time_ns() // 1000
        try:
            yield
        finally:
            end = time.time_ns() // 1000
            self.causes += [Cause(kind, start, end) for kind in kinds]

    def end_publishers(self) -> None:
        while self.publishers:
            self.end(self.publishers.pop())

    def end(self, publisher: subprocess.Popen[bytes]) -> None:
        publisher.kill()
        publisher.wait()

    def go(
        self,
        faults: list[cabc.Callable[[], t.Any]],
        deliveries: int,
        cuts: int,
        each: int,
        seconds: float = 100,
    ) -> None:
        """Run until this much was delivered and cut, and each fault happened this often."""
        met = dict.fromkeys(faults, 0)
        deadline = time.monotonic() + seconds
        next_fault, before = 0.0, -1
        while (
            (delivered := self.delivered) < deliveries
            or sum(client.cuts for client in self.clients) < cuts
            or min(met.values(), default=each) < each
        ):
            assert time.monotonic() < deadline, (met, self.server.log[-3000:])
            self.serve_clients(0.02)
            # Even on a busy machine, each fault must hit a system that works.
            if faults and time.monotonic() > next_fault and delivered > before:
                before = delivered
                next_fault = time.monotonic() + self.rng.uniform(0.1, 0.4)
                fault = self.rng.choice([f for f in faults if met[f] == min(met.values())])
                fault()
                met[fault] += 1

    @property
    def delivered(self) -> int:
        return sum(len(client.events) for client in self.clients)

    def gaps(self) -> list[Event]:
        events = [event for client in self.clients for event in client.events]
        return [event for event in events if event.type == "push:gap"]

    def serve_clients(self, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            for client in self.clients:
                reader = client.connect()
                if reader is not None:
                    selector.register(reader, selectors.EVENT_READ, client)
            for key, _ in selector.select(seconds):
                key.data.read()

    def come_to_the_end(self, patience: float = 30) -> list[str]:
        """End the publishing, and wait until every reader has the last event."""
        self.end_publishers()
        for client in self.clients:
            client.patient = True
        last: dict[str, str] = {}
        publisher = Publisher(self.url)
        for name in CHANNELS:
            until(lambda name=name: self.publish_last(publisher, name, last))  # type: ignore[misc]
        publisher.close()
        deadline = time.monotonic() + patience
        while late := [client for client in self.clients if not self.is_done(client, last)]:
            if time.monotonic() > deadline:
                return [f"{len(late)} readers never came to the end"]
            self.serve_clients(0.05)
        return []

    def finish(self, patience: float = 30) -> list[str]:
        """End the run, and judge it."""
        wrong = self.come_to_the_end(patience)
        for client in self.clients:
            if client.reader is not None:
                client.cut()
        return wrong + self.judge()

    def publish_last(self, publisher: Publisher, name: str, last: dict[str, str]) -> bool:
        with contextlib.suppress(NotPublished, PublishUncertain):
            self.ends += 1
            last[name] = publisher.publish(name, f"end {self.ends}")
        return name in last

    def is_done(self, client: Client, last: dict[str, str]) -> bool:
        where = Position.parse(client.events[-1].id) if client.events else None
        ends = [Position.parse(last[name]) for name in client.channels]
        return where is not None and all(
            where.epoch == end.epoch and where.number >= end.number for end in ends
        )

    def judge(self) -> list[str]:
        truth = Truth()
        acknowledged = []
        for path in self.directory.glob("notes*"):
            for line in path.read_text().splitlines():
                note = json.loads(line)
                if "id" in note:
                    truth.add(**note)
                    acknowledged.append(note)
        for client in self.clients:
            for event in client.events:
                if not event.type.startswith("push:"):
                    truth.add(event.id, event.channel, event.data)
        truth.sort()
        wrong = truth.doubled(self.causes)
        for client in self.clients:
            trace = Trace(client.channels, client.events, client.times)
            wrong += judge(trace, truth, self.causes)
        self.acknowledged = acknowledged
        return wrong

    def missing(self) -> list[str]:
        """Acknowledged events that the store does not hold."""
        with contextlib.closing(sqlite3.connect(self.store)) as store:
            held = {data.decode() for (data,) in store.execute("SELECT data FROM event")}
        return [
            note["data"]
            for note in self.acknowledged
            if note["data"] not in held
            and Position.parse(note["id"]).number > self.restored
        ]

    # The faults.

    def workers(self, server: Server) -> list[int]:
        pid = server.process.pid
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    def kill_worker(self) -> None:
        if workers := self.workers(self.server):
            os.kill(self.rng.choice(workers), signal.SIGKILL)

    def kill_hub(self) -> None:
        kill_hubs(self.directory)

    def replace_hub(self) -> None:
        start_process(HubFiles.of(self.store.parent), "--replace", "--force")

    def kill_publisher(self) -> None:
        n = self.rng.randrange(len(self.publishers))
        notes = self.directory / f"notes{n}"
        size = notes.stat().st_size if notes.exists() else 0
        # In the middle of its work, not before it has begun.
        deadline = time.monotonic() + 20
        while not notes.exists() or notes.stat().st_size < size + 500:
            assert time.monotonic() < deadline
            self.serve_clients(0.005)
        self.end(self.publishers[n])
        self.publishers[n] = self.start_publisher(n)

    def stop_publisher(self) -> None:
        """Stop it for a moment, perhaps while it holds the lock."""
        publisher = self.rng.choice(self.publishers)
        publisher.send_signal(signal.SIGSTOP)
        self.serve_clients(0.02)
        publisher.send_signal(signal.SIGCONT)

    def restart_server(self) -> None:
        self.server.process.send_signal(signal.SIGHUP)

    @contextlib.contextmanager
    def locked(self) -> cabc.Iterator[None]:
        """As an operator does, with flock(1)."""
        with open(f"{self.store}.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def move_store(self) -> None:
        """Replace the file by another one with the same content."""
        copy = self.directory / "copy.db"
        with self.noting("loss"), self.locked():
            self.copy_store(copy)
            time.sleep(0.005)
            self.put_in_place(copy)

    def back_up(self) -> None:
        with self.locked():
            self.copy_store(self.backup)

    def restore(self) -> None:
        """Restore an old copy: later events are lost, and readers must get a gap."""
        if self.backup.exists():
            with self.noting("loss"), self.locked():
                self.put_in_place(self.backup)
                self.restored = time.time_ns() // 1000

    def copy_store(self, to: Path) -> None:
        to.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(self.store)) as store:
            store.execute("VACUUM INTO ?", (str(to),))

    def put_in_place(self, copy: Path) -> None:
        for suffix in "-wal", "-shm":
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{self.store}{suffix}")
        shutil.move(copy, self.store)


def retention(keep: int) -> list[Cause]:
    """A store that is this small is a cause of gaps all the time."""
    return [Cause("retention", 0, 2**63)] if keep < 1_000_000 else []


@contextlib.contextmanager
def running(
    directory: Path, mutant: t.Any = None, kind: type[Run] = Run, **config: t.Any
) -> cabc.Iterator[Run]:
    text = json.dumps(mutant) if mutant else ""
    if mutant:
        os.environ["MUTANT"] = text
        # A separate process would have all safeguards.
        config["PUSH_HUB"] = "thread"
    run = None
    try:
        with serve(gunicorn, directory, "-w", "2", app="apps.mutable", **config) as server:
            # While a safeguard is removed, the first answers may be errors.
            until(lambda: server.request("GET", "/position")[0] == 200 or not mutant)
            server.get("/position")
            run = kind(server, directory, text)
            run.causes += retention(config["PUSH_KEEP"])
            yield run
    finally:
        os.environ.pop("MUTANT", None)
        if run is not None:
            run.close()


def everything(run: Run) -> list[cabc.Callable[[], t.Any]]:
    return [*killing(run), run.move_store, run.back_up, run.restore]


def killing(run: Run) -> list[cabc.Callable[[], t.Any]]:
    return [
        *(run.kill_worker, run.kill_hub, run.replace_hub, run.restart_server),
        *(run.kill_publisher, run.stop_publisher),
    ]
