"""Two servers with a hub each, their readers and publishers, and a Redis to which
everything happens, all the time. Judged afterwards, as in ``test_faults.py``."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import os
import random
import typing as t
from pathlib import Path

import pytest
from redises import Redis
from servers import gunicorn
from servers import serve
from servers import Server
from test_faults import Run


class RedisRun(Run):
    def __init__(
        self, servers: list[Server], redis: Redis, directory: Path, mutant: str
    ) -> None:
        super().__init__(servers[0], directory, mutant, redis.url)
        self.redis = redis
        self.servers = servers

    def serve_clients(self, seconds: float) -> None:
        for client in self.clients:
            if client.reader is None:
                # Whichever server it comes to, its id is good for all.
                client.server = self.rng.choice(self.servers)
        super().serve_clients(seconds)

    # What befalls the Redis.

    def cut_links(self) -> None:
        self.redis.do("CLIENT", "KILL", "TYPE", "pubsub")

    def cut_all(self) -> None:
        self.redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        self.redis.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def pause(self) -> None:
        self.redis.do("CLIENT", "PAUSE", 300, self.rng.choice(["WRITE", "ALL"]))

    def freeze(self) -> None:
        self.redis.stop()
        self.serve_clients(0.3)
        self.redis.go_on()

    def flush_scripts(self) -> None:
        self.redis.do("SCRIPT", "FLUSH")

    def flush_everything(self) -> None:
        self.redis.do("FLUSHALL")

    def save(self) -> None:
        self.redis.do("SAVE")

    def crash(self) -> None:
        """It comes back as it was when it was saved: what was acknowledged since is
        lost, and has to be told."""
        self.redis.kill()
        self.serve_clients(0.2)
        self.redis.start()


@contextlib.contextmanager
def running(
    directory: Path, mutant: t.Any = None, **config: t.Any
) -> cabc.Iterator[RedisRun]:
    if mutant:
        os.environ["MUTANT"] = json.dumps(mutant)
        # A process would have all its safeguards.
        config["PUSH_HUB"] = "thread"
    paths = [directory / name for name in ("one", "two", "redis")]
    for path in paths:
        path.mkdir()
    run = None
    try:
        with Redis.started(paths[2]) as redis, contextlib.ExitStack() as stack:
            config["PUSH_BROKER_URL"] = redis.url
            servers = [
                stack.enter_context(
                    serve(gunicorn, path, "-w", "2", app="apps.mutable", **config)
                )
                for path in paths[:2]
            ]
            for server in servers:
                server.get("/position")
            run = RedisRun(servers, redis, directory, json.dumps(mutant) if mutant else "")
            try:
                yield run
            finally:
                run.close()
    finally:
        os.environ.pop("MUTANT", None)


def troubles(run: RedisRun) -> list[cabc.Callable[[], None]]:
    return [
        *(run.cut_links, run.cut_all, run.pause, run.freeze, run.flush_scripts),
        *(run.kill_hub, run.kill_publisher, run.kill_worker),
    ]


def losses(run: RedisRun) -> list[cabc.Callable[[], None]]:
    return [run.save, run.crash, run.flush_everything]


def test_nothing_is_lost_while_everything_is_cut_and_frozen(tmp_path: Path) -> None:
    with running(tmp_path, PUSH_KEEP=1_000_000) as run:
        run.go(troubles(run), deliveries=3_000, cuts=200, each=3)
        assert run.finish() == []
        events = [event for client in run.clients for event in client.events]
        assert not [event for event in events if event.type == "push:gap"]


def test_what_a_crash_has_lost_is_told(tmp_path: Path) -> None:
    with running(tmp_path, PUSH_KEEP=1_000_000) as run:
        run.go([*troubles(run), *losses(run)], deliveries=3_000, cuts=200, each=3)
        assert run.finish() == []
        events = [event for client in run.clients for event in client.events]
        assert [event for event in events if event.type == "push:gap"]


def test_what_the_store_has_forgotten_is_told(tmp_path: Path) -> None:
    with running(tmp_path, PUSH_KEEP=20, PUSH_LOG_BYTES=4096) as run:
        run.go(troubles(run), deliveries=2_000, cuts=200, each=3)
        assert run.finish() == []


@pytest.mark.slow
def test_nothing_is_lost_for_long(tmp_path: Path) -> None:
    for keep in 1_000_000, 20:
        (directory := tmp_path / str(keep)).mkdir()
        with running(directory, PUSH_KEEP=keep) as run:
            faults = [*troubles(run), *losses(run)]
            for _ in range(10):
                run.go(faults, deliveries=0, cuts=0, each=random.choice([10, 20]))
            assert run.finish() == []


MUTANTS = {
    "prev": (
        "flask_push.brokers._lua",
        "prev = match(newest, '^%d+')",
        "prev = '1'",
    ),
    "epoch": (
        "flask_push.brokers._lua",
        "if new or server ~= s.server or went_back then",
        "if new then",
    ),
    "joining": (
        "flask_push.brokers._redis_feed",
        "self._answered(question, reply, entries)",
        "self._answered(question, reply, [])",
    ),
    "idempotency": (
        "flask_push._publisher",
        "return replace(event, data=data, type=type, exclude=None)",
        "return replace(event, data=data, type=type, exclude=None, key=None)",
    ),
}


@pytest.mark.parametrize("safeguard", MUTANTS)
def test_without_a_safeguard_something_is_lost(safeguard: str, tmp_path: Path) -> None:
    keep = 20 if safeguard == "prev" else 1_000_000
    with running(tmp_path, MUTANTS[safeguard], PUSH_KEEP=keep) as run:
        faults = {
            "prev": [run.cut_links],
            "epoch": [run.save, run.crash],
            "joining": [run.cut_links],
            "idempotency": [run.kill_publisher],
        }
        run.go(faults[safeguard], deliveries=1_000, cuts=100, each=8)
        # Then it is calm for a while, so that all can come to the end.
        so_far = sum(len(client.events) for client in run.clients)
        run.go([], deliveries=so_far + 1_000, cuts=0, each=0)
        assert run.finish()
