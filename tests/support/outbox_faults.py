"""An outbox whose writers, relays, database and store are killed again and again. In the
end, the judge compares the store with what was committed."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import itertools
import os
import random
import select
import signal
import subprocess
import sys
import time
import typing as t
from collections import Counter
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from flask_push import Publisher
from support.databases import Database
from support.redis_failovers import of_a_sentinel
from support.redis_failovers import Replicated
from support.redises import Redis
from support.servers import TESTS
from support.servers import until

CHANNELS = "abc"

#: With these, a Redis that is killed has all that it has acknowledged. With "everysec" it
#: sometimes has not, if its disk is busy.
DURABLE = "--appendonly", "yes", "--appendfsync", "always"


class Scale(t.NamedTuple):
    #: How many kills and pauses.
    faults: int
    #: Seconds between two of them.
    rest: float
    #: Seconds between two transactions of a writer.
    pause: float
    lost_after: float


QUICK = Scale(30, 0.15, 0.01, 0.6)
LARGE = Scale(300, 0.4, 0.03, 1.0)


class Member:
    """A process that is killed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ended = os.pidfd_open(pid)
        self.closed = False

    @property
    def alive(self) -> bool:
        return not select.select([self.ended], [], [], 0)[0]

    def send(self, number: signal.Signals) -> None:
        if self.closed:
            return
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.ended, number)

    def wait(self) -> None:
        assert select.select([self.ended], [], [], 30)[0], f"{self.pid} does not end"

    def close(self) -> None:
        self.send(signal.SIGKILL)
        self.wait()
        self.closed = True
        os.close(self.ended)


class Freezes(t.Protocol):
    """A server."""

    def kill(self) -> None: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def go_on(self) -> None: ...


class OutboxRun:
    def __init__(
        self,
        directory: Path,
        database: Database,
        store: Redis | Replicated | None,
        scale: Scale,
    ) -> None:
        seed = random.randrange(10**6)
        print("seed", seed)
        self.rng = random.Random(seed)
        self.database, self.store, self.scale = database, store, scale
        self.url = f"sqlite://{directory}/push.db" if store is None else store.url
        self.log = directory / "processes.log"
        self.met: Counter[str] = Counter()
        self._names = itertools.count()
        self._later: list[tuple[float, cabc.Callable[[], object]]] = []
        env = {
            "DATABASE": database.url,
            "INSTANCE": str(directory),
            "LOST_AFTER": str(scale.lost_after),
            "FLASK_PUSH_BROKER_URL": self.url,
            # With a store that may lose what it has acknowledged, the relay must live.
            "FLASK_PUSH_OUTBOX_THREAD": str(not self.fails_over).lower(),
        }
        with self.log.open("ab") as log:
            self.forks = subprocess.Popen(
                [sys.executable, "-m", "apps.outbox_processes"],
                cwd=TESTS,
                env={**os.environ, **env},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.writers: list[Member] = []
        self.relays: list[Member] = []

    @property
    def fails_over(self) -> bool:
        return isinstance(self.store, Replicated)

    def close(self) -> None:
        for member in [*self.writers, *self.relays]:
            member.close()
        assert self.forks.stdin and self.forks.stdout
        self.forks.stdin.close()
        self.forks.wait(30)
        self.forks.stdout.close()

    def begin(self, kind: str) -> Member:
        assert self.forks.stdin and self.forks.stdout
        line = f"{kind} {kind[0]}{next(self._names)} {self.scale.pause}\n"
        self.forks.stdin.write(line)
        self.forks.stdin.flush()
        answer = self.forks.stdout.readline()
        assert answer, self.log.read_text()
        return Member(int(answer))

    def fill(self) -> None:
        """Begin new processes for those that have ended."""
        for kind, members, count in (
            ("write", self.writers, 3),
            ("relay", self.relays, 1 if self.fails_over else 2),
        ):
            for member in [*members]:
                if not member.alive:
                    members.remove(member)
                    member.close()
            while len(members) < count:
                members.append(self.begin(kind))

    def go(self) -> None:
        self.fill()
        faults = self.faults()
        names, weights = [*faults], [weight for weight, _ in faults.values()]
        # Each once, before chance decides.
        order = names + self.rng.choices(names, weights, k=self.scale.faults)
        for name in order[: max(self.scale.faults, len(names))]:
            self.wait(self.rng.uniform(0.2, 1.8) * self.scale.rest)
            self.note(name)
            faults[name][1]()
            self.met[name] += 1
            self.fill()
        self.wait(self.scale.rest)
        self.finish()

    def note(self, text: str) -> None:
        with self.log.open("a") as log:
            log.write(f"{datetime.now()} {text}\n")

    def wait(self, seconds: float) -> None:
        """Wait, and continue each process that was frozen for long enough."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            for each in [*self._later]:
                if each[0] <= now:
                    self._later.remove(each)
                    each[1]()
            time.sleep(min(0.01, end - now))

    def after(self, seconds: float, function: cabc.Callable[[], object]) -> None:
        self._later.append((time.monotonic() + seconds, function))

    def finish(self) -> None:
        """Without more faults, the outbox becomes empty."""
        for _, function in self._later:
            function()
        for writer in self.writers:
            writer.close()
        self.writers.clear()
        self.fill_relays()
        # Also when the last master that gave up has copied the other one. A relay can't put
        # back what is lost after its end.
        for _ in range(2 if self.fails_over else 1):
            self.wait(self.scale.rest)
            until(lambda: self.settled() and self.is_empty(), 60, f"the end\n{self.tail()}")
        for relay in self.relays:
            relay.send(signal.SIGTERM)
        for relay in self.relays:
            relay.wait()

    def settled(self) -> bool:
        if not isinstance(self.store, Replicated):
            return True
        _, one, other, _, sentinel = self.store
        assert sentinel is not None
        return follows(one, other, sentinel) or follows(other, one, sentinel)

    def fill_relays(self) -> None:
        if not any(relay.alive for relay in self.relays):
            self.relays.append(self.begin("relay"))

    def is_empty(self) -> bool:
        self.fill_relays()
        return not self.rows("SELECT id FROM push_outbox WHERE refused IS NULL")

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    def rows(self, text: str) -> list[t.Any]:
        with self.database.engine.connect() as connection:
            return [*connection.execute(sa.text(text))]

    # The faults.

    def faults(self) -> dict[str, tuple[int, cabc.Callable[[], None]]]:
        """Each with its weight."""
        found: dict[str, tuple[int, cabc.Callable[[], None]]] = {
            "kill a writer": (8, lambda: self.kill(self.writers)),
            "freeze a writer": (2, lambda: self.freeze(self.writers)),
        }
        if not self.fails_over:
            found["kill a relay"] = 8, lambda: self.kill(self.relays)
            found["freeze a relay"] = 2, lambda: self.freeze(self.relays)
            found["end a relay"] = 2, lambda: self.end(self.relays)
        if self.database.server is not None:
            server = self.database.server
            found["kill the database"] = 1, lambda: self.restart(server)
            found["freeze the database"] = 1, lambda: self.freeze_server(server)
        if isinstance(self.store, Redis):
            redis = self.store
            found["kill the store"] = 3, lambda: self.restart(redis)
            found["freeze the store"] = 2, lambda: self.freeze_server(redis)
        if isinstance(self.store, Replicated):
            found["fail over"] = 1, self.fail_over
        return found

    def kill(self, members: list[Member]) -> None:
        member = self.rng.choice(members)
        member.send(signal.SIGKILL)
        member.wait()

    def end(self, members: list[Member]) -> None:
        self.rng.choice(members).send(signal.SIGTERM)

    def freeze(self, members: list[Member]) -> None:
        """For so long that another one takes the lease, or not."""
        member = self.rng.choice(members)
        member.send(signal.SIGSTOP)
        seconds = self.rng.uniform(0.2, 2.5) * self.scale.lost_after
        self.after(seconds, lambda: member.send(signal.SIGCONT))

    def restart(self, server: Freezes) -> None:
        server.kill()
        self.wait(self.rng.uniform(0, 1) * self.scale.rest)
        server.start()

    def freeze_server(self, server: Freezes) -> None:
        server.stop()
        self.wait(self.rng.uniform(0.2, 2) * self.scale.lost_after)
        server.go_on()

    def fail_over(self) -> None:
        """The replica becomes the master, without what the master stored last."""
        assert isinstance(self.store, Replicated)
        _, master, replica, _, sentinel = self.store
        assert sentinel is not None
        if replica.do("ROLE")[0] == b"master":
            master, replica = replica, master
        replica.stop()
        master.do("CLIENT", "KILL", "TYPE", "replica")
        before = master.info("replication", "master_repl_offset")
        self.wait(0.2)
        self.met["lost bytes"] += master.info("replication", "master_repl_offset") - before
        master.kill()
        replica.go_on()
        where = "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "shop"
        until(lambda: int(sentinel.do(*where)[1]) == replica.port, 60, "it is promoted")
        master.start("--replicaof", f"127.0.0.1 {replica.port}")
        until(self.settled, 60, "one of them is the master")

    # The judge.

    def judge(self) -> list[str]:
        wrong: list[str] = []
        refused = self.rows("SELECT id, refused FROM push_outbox")
        wrong += [f"{row} is still there" for row in refused]
        publisher = Publisher(self.url, timeout=10)
        try:
            for channel in CHANNELS:
                stored = history(publisher, channel)
                text = f"SELECT data FROM written WHERE channel = '{channel}' ORDER BY id"
                committed = [row.data for row in self.rows(text)]
                wrong += compare(channel, stored, committed)
                self.met["events"] += len(stored)
            items = publisher.items("things").events
            for thing, version in self.rows("SELECT id, version FROM thing"):
                found = items[str(thing)].data if version else str(version)
                if found != str(version):
                    wrong.append(f"the item of {thing} has {found}, and not {version}")
        finally:
            publisher.close()
        self.met["leases"] = self.log.read_text(errors="replace").count("Took the lease")
        for line in wrong:
            self.note(line)
        return wrong


def compare(
    channel: str, stored: cabc.Sequence[str], committed: cabc.Sequence[str]
) -> list[str]:
    """
    :param stored: The data of the events, in order.
    :param committed: The same of the rows.
    """
    wrong = []
    there, given = Counter(stored), Counter(committed)
    wrong += [f"{channel}: lost: {data}" for data in (given - there)]
    wrong += [
        f"{channel}: stored {there[data]} times, committed {given[data]} times: {data}"
        for data in (there - given)
    ]
    last: dict[object, tuple[int, str]] = {}
    for data in stored:
        writer, number, thing, version = data.split()
        for of, count in (("writer", writer), number), (("thing", thing), version):
            before = last.get(of, (0, ""))
            if int(count) <= before[0]:
                wrong.append(f"{channel}: out of order: {data} after {before[1]}")
            last[of] = int(count), data
    return wrong


def history(publisher: Publisher, channel: str) -> list[str]:
    """The data of all events that the store has."""
    page = publisher._broker.read([channel], after=0, limit=2**40)
    return [entry.data.decode() for entry in page.entries]


def follows(server: Redis, master: Redis, sentinel: Redis) -> bool:
    """Whether it has all that the master has, and could take its place."""
    role = server.do("ROLE")
    if role[0] != b"slave" or role[2] != master.port or role[3] != b"connected":
        return False
    (row,) = sentinel.do("SENTINEL", "REPLICAS", "shop")
    about = dict(zip(row[::2], row[1::2], strict=True))
    return (about[b"flags"], about[b"master-link-status"]) == (b"slave", b"ok")


@contextlib.contextmanager
def running(
    directory: Path, database: Database, store: str, scale: Scale
) -> cabc.Iterator[OutboxRun]:
    with contextlib.ExitStack() as stack:
        found: Redis | Replicated | None = None
        if store == "redis":
            found = stack.enter_context(Redis.started(directory, *DURABLE))
        elif store == "sentinel":
            found = stack.enter_context(of_a_sentinel(directory, patience=3000))
        elif store == "two masters":
            # The Sentinel takes a slow master for dead: it promotes one, the other, and the
            # first again, and each stores something meanwhile.
            found = stack.enter_context(of_a_sentinel(directory, patience=300))
        run = OutboxRun(directory, database, found, scale)
        try:
            yield run
        finally:
            run.close()
