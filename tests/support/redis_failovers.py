"""A broker on a Redis that has a replica, which becomes the master when that dies."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import typing as t
from pathlib import Path

from flask_push.brokers.redis import ClusterBroker
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis.broker import AnyRedisBroker
from support.redises import Cluster
from support.redises import Redis
from support.redises import Sentinel
from support.servers import until


class Replicated(t.NamedTuple):
    broker: AnyRedisBroker
    master: Redis
    replica: Redis
    url: str
    sentinel: Redis | None = None


@contextlib.contextmanager
def of_a_sentinel(directory: Path, patience: int = 300) -> cabc.Iterator[Replicated]:
    """
    :param patience: Milliseconds after which a master is taken for dead.
    """
    paths = [directory / name for name in ("master", "replica", "sentinel")]
    for path in paths:
        path.mkdir()
    with (
        Redis.started(paths[0]) as master,
        Redis.started(paths[1], "--replicaof", f"127.0.0.1 {master.port}") as replica,
    ):
        until(lambda: replica.info("replication", "master_link_status") == "up")
        with Sentinel.started(paths[2], master.port, patience) as sentinel:
            until(lambda: sentinel.do("SENTINEL", "REPLICAS", "shop"))
            broker = RedisBroker(sentinel.url, timeout=20)
            yield Replicated(broker, master, replica, sentinel.url, sentinel)
            broker.close()


@contextlib.contextmanager
def of_a_cluster(directory: Path) -> cabc.Iterator[Replicated]:
    with Cluster.started(directory, replicas=1) as cluster:
        broker = ClusterBroker(cluster.url, timeout=30)
        replica = cluster.nodes[3]
        assert cluster.is_replica_of(replica, cluster.master)
        yield Replicated(broker, cluster.master, replica, cluster.url)
        broker.close()
