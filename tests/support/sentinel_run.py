"""As ``redis_run.py``, with a Redis and its replica, and a Sentinel that watches them."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import typing as t
from pathlib import Path

from support.fault_runs import retention
from support.redis_run import RedisRun
from support.redis_run import serving
from support.redises import Redis
from support.redises import Sentinel
from support.servers import until


class SentinelRun(RedisRun):
    """A master with a replica, which change places at each fault."""

    replica: Redis
    sentinel: Sentinel

    def fail_over(self) -> None:
        """The master dies. What was acknowledged since its replica was cut off is lost."""
        with self.noting("loss"):
            self.go_on_alone()
            self.redis.kill()
            self.promote()
            self.redis.start()
            self.demote()

    def fail_over_and_back(self) -> None:
        """The master seems dead, but continues: for a while, there are two masters."""
        with self.noting("loss"):
            self.go_on_alone()
            self.redis.stop()
            self.promote()
            self.redis.go_on()
            self.serve_clients(0.5)
            before = self.redis
            self.demote()
            # A reader that reconnects to a hub of the old master gets two gaps.
            self.wait(lambda: not before.do("PUBSUB", "CHANNELS", "{push}:*"), "all left")

    def everything(self) -> list[cabc.Callable[[], t.Any]]:
        failovers = [self.fail_over, self.fail_over_and_back]
        return [*failovers, *self.links(), self.say, *self.killing()]

    def go_on_alone(self) -> None:
        self.replica.stop()
        self.redis.do("CLIENT", "KILL", "TYPE", "replica")
        before = self.acknowledged_now()
        self.wait(lambda: self.acknowledged_now() > before + 2000, "more is acknowledged")

    def promote(self) -> None:
        self.replica.go_on()
        self.wait(self.is_promoted, "the replica is the master")

    def is_promoted(self) -> bool:
        _, port = self.sentinel.do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "shop")
        return int(port) == self.replica.port

    def demote(self) -> None:
        self.wait(self.is_demoted, "what was the master is a replica")
        self.redis, self.replica = self.replica, self.redis

    def is_demoted(self) -> bool:
        """Make it a replica. The Sentinel does so as well, but later."""
        info = self.redis.do("INFO", "replication")
        if info["role"] == "master":
            self.redis.do("REPLICAOF", "127.0.0.1", self.replica.port)
        return bool(info.get("master_link_status") == "up")


@contextlib.contextmanager
def running_with_sentinel(directory: Path, **config: t.Any) -> cabc.Iterator[SentinelRun]:
    paths = [directory / name for name in ("master", "replica", "sentinel")]
    for path in paths:
        path.mkdir()
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(Redis.started(paths[0]))
        copy = f"127.0.0.1 {master.port}"
        replica = stack.enter_context(Redis.started(paths[1], "--replicaof", copy))
        until(lambda: replica.info("replication", "master_link_status") == "up")
        # It must not mistake a busy machine for a master that is down.
        sentinel = stack.enter_context(Sentinel.started(paths[2], master.port, 2000))
        until(lambda: sentinel.do("SENTINEL", "REPLICAS", "shop"))
        servers = stack.enter_context(serving(directory, [sentinel.url] * 2, None, config))
        run = SentinelRun(servers, master, None, sentinel.url, directory, "")
        run.replica, run.sentinel = replica, sentinel
        run.causes += retention(config["PUSH_KEEP"])
        yield stack.enter_context(contextlib.closing(run))
