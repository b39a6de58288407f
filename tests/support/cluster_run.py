"""As ``redis_run.py``, with a Cluster whose nodes take turns to have our slot."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import typing as t
from pathlib import Path

from support.fault_runs import retention
from support.redis_run import RedisRun
from support.redis_run import serving
from support.redises import Cluster
from support.redises import Node


class ClusterRun(RedisRun):
    cluster: Cluster

    def fail_over(self) -> None:
        """The master dies. What was acknowledged since its replica was cut off is lost."""
        with self.noting("loss"):
            master, replica = self.go_on_alone()
            master.kill()
            self.promote(replica)
            master.start()
            self.take_back(master)

    def fail_over_and_back(self) -> None:
        """The master seems dead, and then continues until it learns of its successor."""
        with self.noting("loss"):
            master, replica = self.go_on_alone()
            master.stop()
            self.promote(replica)
            master.go_on()
            self.take_back(master)

    def go_on_alone(self) -> tuple[Node, Node]:
        master = self.cluster.master
        nodes = self.cluster.nodes
        replica = next(n for n in nodes if self.cluster.is_replica_of(n, master))
        replica.stop()
        master.do("CLIENT", "KILL", "TYPE", "replica")
        before = self.acknowledged_now()
        self.wait(lambda: self.acknowledged_now() > before + 2000, "more is acknowledged")
        return master, replica

    def promote(self, replica: Node) -> None:
        replica.go_on()
        master_by = self.cluster.master_by
        self.wait(lambda: master_by(replica) is replica, "the replica is the master")

    def take_back(self, master: Node) -> None:
        self.wait(self.cluster.agrees, "all nodes agree")
        self.wait(master.follows, "what was the master is a replica")
        self.wait(lambda: not master.do("PUBSUB", "SHARDCHANNELS"), "all have left it")
        self.redis = self.cluster.master

    def migrate(self) -> None:
        """Move the slot to another node and back, because only one has a replica. Nothing
        is
        lost, but the store can't know that."""
        home = self.cluster.master
        self.migrate_to(None)
        self.serve_clients(0.3)
        self.migrate_to(home)

    def migrate_to(self, node: Node | None) -> None:
        with self.noting("loss"):
            self.cluster.migrate(node, 300, lambda: self.serve_clients(0.01))
            self.wait(self.cluster.agrees, "all nodes agree")
            self.redis = self.cluster.master

    def everything(self) -> list[cabc.Callable[[], t.Any]]:
        moves = [self.fail_over, self.fail_over_and_back, self.migrate]
        return [*moves, *self.links(), self.pause, self.freeze, *self.killing()]


@contextlib.contextmanager
def running_in_cluster(directory: Path, **config: t.Any) -> cabc.Iterator[ClusterRun]:
    (directory / "cluster").mkdir()
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(Cluster.started(directory / "cluster", replicas=1))
        servers = stack.enter_context(serving(directory, [cluster.url] * 2, None, config))
        run = ClusterRun(servers, cluster.master, None, cluster.url, directory, "")
        run.cluster = cluster
        run.causes += retention(config["PUSH_KEEP"])
        yield stack.enter_context(contextlib.closing(run))
