"""Two servers with a hub each, their readers and publishers, and a Redis with all kinds of
faults, all the time."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import os
import random
import signal
import time
import typing as t
from collections import Counter
from pathlib import Path

from flask_push import Event
from flask_push import NotPublished
from flask_push import PublishUncertain
from flask_push.brokers import open_broker
from support.fault_runs import CHANNELS
from support.fault_runs import retention
from support.fault_runs import Run
from support.proxies import Proxy
from support.redises import Clock
from support.redises import Redis
from support.servers import gunicorn
from support.servers import hubs
from support.servers import serve
from support.servers import Server

#: What a server may do that is full. Of keys that can expire, ours are those that make
#: an event known by its key.
POLICIES = [
    *("noeviction", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"),
    *("allkeys-lru", "allkeys-lfu", "allkeys-random"),
]


class RedisRun(Run):
    redis_kind: type[Redis] = Redis

    def __init__(
        self,
        servers: list[Server],
        redis: Redis,
        proxy: Proxy | None,
        url: str,
        directory: Path,
        mutant: str,
    ) -> None:
        super().__init__(servers[0], directory, mutant, url)
        for client in self.clients:
            # Enough for readers to get past the events that overrun a hub.
            client.impatience = 50_000
        self.redis = redis
        #: The proxy between the first server's hub and the Redis.
        self.proxy = proxy
        self.servers = servers
        self.broker = open_broker(url, timeout=0.5)
        self.said = 0
        self.policies = list(POLICIES)

    def close(self) -> None:
        super().close()
        self.broker.close()

    def serve_clients(self, seconds: float) -> None:
        for n, client in enumerate(self.clients):
            if client.reader is None:
                # Both servers accept any id. Each server always has a reader.
                fixed = n < len(self.servers)
                client.server = self.servers[n] if fixed else self.rng.choice(self.servers)
        super().serve_clients(seconds)

    def wait(self, condition: cabc.Callable[[], t.Any], what: str) -> None:
        """Keep the readers running until the condition is true."""
        deadline = time.monotonic() + 90
        while not condition():
            assert time.monotonic() < deadline, f"it never came true: {what}"
            self.serve_clients(0.02)

    def say(self, count: int = 30, size: int = 10) -> bool:
        """Publish this many events at once, on all channels in turn."""
        events = []
        for _ in range(count):
            self.said += 1
            channel = CHANNELS[self.said % len(CHANNELS)]
            events.append(Event(channel, f"{self.said} " + "x" * size))
        try:
            positions = self.broker.publish(events)
        except (NotPublished, PublishUncertain):
            return False
        with (self.directory / "notes of the run").open("a") as notes:
            for event, position in zip(events, positions, strict=True):
                id = f"{position}.{event.channel}"
                note = {"channel": event.channel, "data": event.data, "id": id}
                notes.write(json.dumps(note) + "\n")
        return True

    def acknowledged_now(self) -> int:
        return sum(path.stat().st_size for path in self.directory.glob("notes?"))

    # Faults of the connections.

    def cut_links(self) -> None:
        self.redis.do("CLIENT", "KILL", "TYPE", "pubsub")

    def cut_all(self) -> None:
        self.redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        self.redis.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def forget_links(self) -> None:
        """Half of them stay open, but pass nothing on any more."""
        assert self.proxy is not None
        self.proxy.forget()

    def hub_pids(self, path: Path) -> list[int]:
        if self.mutant:
            return self.workers(self.servers[1])
        return hubs(path)

    def overrun(self) -> None:
        """A hub does not read, and more is published than Redis buffers for it, and than it
        gets at once when it reconnects."""

        def count() -> int:
            return len(self.redis.do("CLIENT", "LIST", "TYPE", "pubsub").splitlines())

        self.wait(lambda: count() >= 2, "the hubs are here")
        self.limit_output("65536 0 0")
        try:
            with self.stopped_hubs():
                before = count()
                for _ in range(6):
                    self.say(25, 4000)
                while count() >= before:
                    self.say(25, 4000)
                    self.serve_clients(0.02)
        finally:
            self.limit_output("33554432 8388608 60")

    @contextlib.contextmanager
    def stopped_hubs(self) -> cabc.Iterator[None]:
        """Stop the hubs of the second server for a while."""
        pids = self.hub_pids(self.directory / "two")
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                # On a very busy machine, gunicorn may have killed it.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def cut_links_of_stopped_hubs(self) -> None:
        """Publish while hubs have no connections and can't connect, so they miss it."""
        with self.stopped_hubs():
            self.cut_links()
            self.wait(lambda: self.say(300), "it is published")

    def cut_readers(self) -> None:
        """Publish more than a small log holds before readers reconnect."""
        for client in self.clients:
            if client.reader is not None:
                client.cut()
        self.wait(lambda: self.say(60, 400), "it is published")

    def limit_output(self, limit: str) -> None:
        self.redis.do("CONFIG", "SET", "client-output-buffer-limit", f"pubsub {limit}")

    # Faults of the server.

    def pause(self) -> None:
        self.redis.do("CLIENT", "PAUSE", 300, self.rng.choice(["WRITE", "ALL"]))

    def freeze(self) -> None:
        self.redis.stop()
        self.serve_clients(0.3)
        self.redis.go_on()

    def freeze_for_long(self) -> None:
        """Freeze it until a call of each publisher has timed out after it was sent.
        Redis runs these calls afterwards, and the publishers repeat them."""
        numbers = range(len(self.publishers))
        notes = [self.directory / f"notes{n}" for n in numbers]
        self.wait(lambda: all(path.exists() for path in notes), "all have begun")
        sizes = [path.stat().st_size + 500 for path in notes]

        def grown() -> bool:
            pairs = zip(notes, sizes, strict=True)
            return all(path.stat().st_size > size for path, size in pairs)

        self.wait(grown, "all are connected")
        signs = [self.directory / f"uncertain{n}" for n in numbers]
        for sign in signs:
            sign.unlink(missing_ok=True)
        self.redis.stop()
        try:
            self.wait(lambda: all(sign.exists() for sign in signs), "all have given up")
        finally:
            self.redis.go_on()

    def flush_scripts(self) -> None:
        self.redis.do("SCRIPT", "FLUSH")

    def save(self) -> None:
        self.redis.do("SAVE")

    def crash(self) -> None:
        """Restart it as it was when it was saved: events acknowledged since are lost, and
        readers must get a gap."""
        with self.noting("loss"):
            self.redis.kill()
            self.serve_clients(0.2)
            self.redis.start()

    def crash_beside_stopped_hubs(self) -> None:
        """Lose acknowledged events, which hubs of the second server never received."""
        self.save()
        with self.stopped_hubs():
            self.cut_links()
            self.wait(self.say, "it is published")
            self.crash()

    def crash_with_all_kept(self) -> None:
        """Restart it with all events on disk. The hubs can't know that all are there."""
        self.redis.do("CONFIG", "SET", "appendfsync", "always", "appendonly", "yes")
        self.wait(self.is_written_down, "the log of the store is there")
        with self.noting("loss"):
            self.redis.kill()
            self.serve_clients(0.2)
            self.redis.start("--appendonly", "yes")
        self.redis.do("CONFIG", "SET", "appendonly", "no")

    def is_written_down(self) -> bool:
        info = self.redis.do("INFO", "persistence")
        return not (info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"])

    # Faults of its memory.

    def flush_everything(self) -> None:
        with self.noting("loss"):
            self.redis.do("FLUSHALL")

    def lose_a_log(self) -> None:
        """Delete a key as if it were evicted, which is rare for one that is in use."""
        logs = sorted(self.redis.do("KEYS", "*:log:*"))
        if logs:
            with self.noting("eviction"):
                self.redis.do("DEL", self.rng.choice(logs))
                self.serve_clients(0.05)
                self.notice()

    def notice(self) -> None:
        """Publish on each channel: the loss of a log is noticed only at its next event."""
        self.wait(self.say, "something is said")

    def lose_the_book(self) -> None:
        """The keys of the store, or those of its channels."""
        books = sorted(self.redis.do("KEYS", "*:store") + self.redis.do("KEYS", "*:heads"))
        if books:
            with self.noting("loss"):
                self.redis.do("DEL", self.rng.choice(books))

    def fill_up(self) -> None:
        """Fill it, with each policy in turn."""
        self.policies.append(policy := self.policies.pop(0))
        kinds = {"noeviction": (), "allkeys": ("loss", "eviction", "keys")}
        with self.noting(*kinds.get(policy.partition("-")[0], ("keys",))):
            self.redis.do("CONFIG", "SET", "maxmemory-policy", policy)
            memory = self.redis.do("INFO", "memory")
            share = self.rng.choice([0, 0.3, 0.8]) * policy.startswith("allkeys")
            spare = share * (memory["used_memory"] - memory["used_memory_startup"])
            before = self.full()
            self.redis.do("CONFIG", "SET", "maxmemory", memory["used_memory"] - int(spare))
            self.wait(lambda: self.full() > before, f"it is full, with {policy}")
            self.serve_clients(0.1)
            self.redis.do("CONFIG", "SET", "maxmemory", 0)
            self.notice()

    def limit_memory(self) -> None:
        """For a while, nothing can be stored, but everything can be read."""
        before = self.full()
        self.redis.do("CONFIG", "SET", "maxmemory-policy", "noeviction")
        self.redis.do(
            "CONFIG", "SET", "maxmemory", self.redis.info("memory", "used_memory")
        )
        self.wait(lambda: self.full() > before, "something is refused")
        self.redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        self.serve_clients(0.2)
        self.redis.do("CONFIG", "SET", "maxmemory", 0)

    def full(self) -> int:
        """How often it has refused a command or evicted a key."""
        errors = self.redis.do("INFO", "errorstats").get("errorstat_OOM", {"count": 0})
        evicted: int = self.redis.info("stats", "evicted_keys")
        return evicted + int(errors["count"])

    def killing(self) -> list[cabc.Callable[[], t.Any]]:
        return [self.kill_hub, self.kill_publisher, self.kill_worker]

    def links(self) -> list[cabc.Callable[[], t.Any]]:
        return [self.cut_links, self.cut_all]

    def troubles(self) -> list[cabc.Callable[[], t.Any]]:
        """Check that these faults lose nothing, and that no reader gets a gap."""
        return [
            *(*self.links(), self.forget_links, self.overrun, self.say),
            *(self.pause, self.freeze, self.flush_scripts, *self.killing()),
            self.limit_memory,
        ]

    def losses(self) -> list[cabc.Callable[[], t.Any]]:
        return [
            *(self.save, self.crash, self.crash_with_all_kept, self.flush_everything),
            *(self.lose_a_log, self.lose_the_book),
        ]

    def everything(self) -> list[cabc.Callable[[], t.Any]]:
        return [*self.troubles(), *self.losses(), self.fill_up]

    def crowd(self, count: int) -> None:
        """Add this many readers, which stay connected for longer."""
        rngs = [random.Random(self.rng.random()) for _ in range(count)]
        self.clients += [self.client_kind(self.server, rng) for rng in rngs]
        for client in self.clients:
            client.impatience = 50_000

    def figures(self) -> str:
        gaps = Counter(json.loads(event.data)["reason"] for event in self.gaps())
        cuts = sum(client.cuts for client in self.clients)
        causes = Counter(cause.kind for cause in self.causes)
        return f"{self.heard()} heard, {cuts} cuts, gaps {gaps}, causes {causes}"

    def heard(self) -> int:
        """How many published events were received, without the streams' own."""
        events = [event for client in self.clients for event in client.events]
        return sum(not event.type.startswith("push:") for event in events)


class ClockRun(RedisRun):
    """Check that a clock that jumps loses nothing, and that no reader gets a gap."""

    redis_kind = Clock

    def jump(self) -> None:
        """Set it to a wrong time and back, while everything continues."""
        assert isinstance(self.redis, Clock)
        for _ in range(self.rng.randint(1, 3)):
            days = self.rng.choice([-4000, -365, -1, -0.01, 0.01, 1, 365, 4000])
            self.redis.set(days * 86400)
            self.serve_clients(self.rng.choice([0, 0.1, 0.5]))
            self.wait(self.say, "something is said")
        self.redis.set(0)

    def troubles(self) -> list[cabc.Callable[[], t.Any]]:
        return [*super().troubles(), self.jump]

    def everything(self) -> list[cabc.Callable[[], t.Any]]:
        return self.troubles()


@contextlib.contextmanager
def running(
    directory: Path,
    mutant: t.Any = None,
    kind: type[RedisRun] = RedisRun,
    **config: t.Any,
) -> cabc.Iterator[RedisRun]:
    (directory / "redis").mkdir()
    with (
        kind.redis_kind.started(directory / "redis") as server,
        Proxy.started(server.port) as proxy,
    ):
        urls = [f"{proxy.url}/0", f"unix://{server.socket}?db=0"]
        with serving(directory, urls, mutant, config) as servers:
            text = json.dumps(mutant) if mutant else ""
            run = kind(servers, server, proxy, server.url, directory, text)
            run.causes += retention(config["PUSH_KEEP"])
            with contextlib.closing(run):
                yield run


@contextlib.contextmanager
def serving(
    directory: Path, urls: list[str], mutant: t.Any, config: dict[str, t.Any]
) -> cabc.Iterator[list[Server]]:
    """Start a server for each of these URLs of one store."""
    if mutant:
        os.environ["MUTANT"] = json.dumps(mutant)
        # A separate process would have all safeguards.
        config["PUSH_HUB"] = "thread"
    try:
        with contextlib.ExitStack() as stack:
            servers = []
            for name, url in zip(("one", "two"), urls, strict=True):
                (path := directory / name).mkdir()
                options = {**config, "PUSH_BROKER_URL": url}
                # Gunicorn must not replace workers that are stopped for a while.
                args = "-w", "2", "--timeout", "300"
                server = serve(gunicorn, path, *args, app="apps.mutable", **options)
                servers.append(stack.enter_context(server))
                servers[-1].get("/position")
            yield servers
    finally:
        os.environ.pop("MUTANT", None)
