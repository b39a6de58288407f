"""Every broker keeps the contract."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import sqlite3
from pathlib import Path

import pytest
from support.redises import certificate
from support.redises import Clock
from support.redises import Cluster
from support.redises import Redis
from support.redises import Sentinel
from support.redises import TlsCluster
from support.redises import Valkey
from support.redises import ValkeyCluster
from support.servers import free_port

from flask_push._event import Event
from flask_push.brokers import Broker
from flask_push.brokers import open_broker
from flask_push.brokers import Retention
from flask_push.brokers.redis import feed
from flask_push.brokers.redis.broker import AnyRedisBroker
from flask_push.brokers.redis.calls import Runs
from flask_push.brokers.redis.scripts import Arg
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.testing import BrokerContract
from flask_push.testing import ItemsContract
from flask_push.testing import OwnLogContract
from flask_push.testing import RunsContract


class OnRedis(RunsContract, ItemsContract, OwnLogContract, BrokerContract):
    """A store of its own for each test, under a prefix of its own on one server."""

    server = Redis
    options: tuple[str, ...] = ()
    count = 0

    @pytest.fixture(scope="class")
    @classmethod
    def redis(cls, tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[Redis]:
        directory = tmp_path_factory.mktemp("redis")
        with cls.server.started(directory, *cls.options_in(directory)) as redis:
            yield redis

    @classmethod
    def options_in(cls, directory: Path) -> tuple[str, ...]:
        return cls.options

    @pytest.fixture(autouse=True)
    def ticks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Notice sooner what happens to a store while it is idle."""
        monkeypatch.setattr(feed, "_TICK_SECONDS", 0.3)

    @pytest.fixture(autouse=True)
    def store(self, redis: Redis) -> None:
        OnRedis.count += 1
        url = self.url(redis)
        self.place = f"{url}{'&' if '?' in url else '?'}prefix=test-{self.count}"

    def url(self, redis: Redis) -> str:
        return redis.url

    def open(self, retention: Retention | None = None) -> Broker:
        # A busy machine is not what the contract is about.
        return open_broker(self.place, retention=retention, timeout=20)

    def begin_again(self) -> bool:
        self.do("DEL", f"{{test-{self.count}}}:store")
        return True

    def begin_again_with_rows(self) -> bool:
        # As if the store were on another server now.
        self.do("HSET", f"{{test-{self.count}}}:store", "server", "other", "checked", 0)
        return True

    def do(self, *args: Arg) -> None:
        """Run a command where the store is."""
        broker = self.open()
        assert isinstance(broker, AnyRedisBroker)
        connection = broker._pool.connect(20)
        broker._pool.ask(connection, [*args], 20)
        connection.disconnect()
        broker.close()


class TestRedis(OnRedis):
    pass


class TestValkey(OnRedis):
    server = Valkey

    @pytest.fixture(autouse=True)
    def ticks(self) -> None:
        """Have those that a hub has."""


class TestValkeyWhoseClockIsSet(OnRedis):
    server = Clock

    @pytest.fixture(autouse=True)
    def its_server(self, redis: Redis) -> None:
        assert isinstance(redis, Clock)
        self.its_clock = redis

    @contextlib.contextmanager
    def clock_wrong_by(self, seconds: float) -> cabc.Iterator[None]:
        self.its_clock.advance(seconds)
        try:
            yield
        finally:
            self.its_clock.advance(-seconds)


class TestRedisOnAUnixSocket(OnRedis):
    def url(self, redis: Redis) -> str:
        return f"unix://{redis.socket}?db=3"


class TestRedisWithAUser(OnRedis):
    """Who may do just what is needed."""

    rights = (
        "+evalsha +eval +subscribe +unsubscribe +publish +ping +hello +select +info +time"
        " +get +set +hget +hmget +hset +rpush +lrange +ltrim +lindex +llen"
        " +zadd +zrem +zrange +zremrangebyrank +zscore +zcard +pttl"
        " +hdel +hlen +del +zrangebyscore +zrangebylex"
    )

    @classmethod
    def options_in(cls, directory: Path) -> tuple[str, ...]:
        users = directory / "users.acl"
        users.write_text(
            "user default on nopass ~* &* +@all\n"
            f"user app on >s3cret ~{{test-*}}:* &{{test-*}}:* -@all {cls.rights}\n"
        )
        return "--aclfile", str(users)

    def url(self, redis: Redis) -> str:
        return f"redis://app:s3cret@127.0.0.1:{redis.port}/0"


class TestRedisWithTls(OnRedis):
    port: int
    certificate: Path

    @classmethod
    def options_in(cls, directory: Path) -> tuple[str, ...]:
        cls.port = free_port()
        cls.certificate, key = certificate(directory)
        return (
            *("--tls-port", str(cls.port), "--tls-auth-clients", "no"),
            *("--tls-cert-file", str(cls.certificate), "--tls-key-file", str(key)),
        )

    def url(self, redis: Redis) -> str:
        return f"rediss://127.0.0.1:{self.port}/0?ssl_ca_certs={self.certificate}"


class TestRedisWithSentinels(OnRedis):
    sentinel: Sentinel

    @pytest.fixture(scope="class")
    @classmethod
    def redis(cls, tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[Redis]:
        directory = tmp_path_factory.mktemp("sentinel")
        with (
            Redis.started(tmp_path_factory.mktemp("redis")) as redis,
            Sentinel.started(directory, redis.port) as cls.sentinel,
        ):
            yield redis

    def url(self, redis: Redis) -> str:
        return self.sentinel.url


class OnACluster(OnRedis):
    """Whose tests have their keys now on one node and now on another."""

    kind = Cluster

    @pytest.fixture(scope="class")
    @classmethod
    def cluster(cls, tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[Cluster]:
        directory = tmp_path_factory.mktemp("cluster")
        with cls.kind.started(directory, *cls.options_in(directory)) as cluster:
            yield cluster

    @pytest.fixture(scope="class")
    @classmethod
    def redis(cls, cluster: Cluster) -> Redis:
        return cluster.nodes[0]

    @pytest.fixture(autouse=True)
    def store(self, cluster: Cluster) -> None:
        OnRedis.count += 1
        self.place = f"{self.cluster_url(cluster)}prefix=test-{self.count}"

    def cluster_url(self, cluster: Cluster) -> str:
        # Any node will do.
        return f"redis+cluster://127.0.0.1:{cluster.nodes[self.count % 3].port}/?"


class TestRedisCluster(OnACluster):
    pass


class TestValkeyCluster(OnACluster):
    kind = ValkeyCluster


class TestRedisClusterWithAUser(OnACluster):
    """Who may do just what is needed."""

    @classmethod
    def options_in(cls, directory: Path) -> tuple[str, ...]:
        rights = TestRedisWithAUser.rights
        for name in "publish", "subscribe", "unsubscribe":
            rights = rights.replace(f"+{name} ", f"+s{name} ")
        users = directory / "users.acl"
        users.write_text(
            "user default on nopass ~* &* +@all\n"
            "user app on >s3cret ~{test-*}:* &{test-*}:* -@all"
            f" {rights} +cluster|slots\n"
        )
        return "--aclfile", str(users)

    def cluster_url(self, cluster: Cluster) -> str:
        return f"redis+cluster://app:s3cret@127.0.0.1:{cluster.nodes[0].port}/0?"


class TestRedisClusterWithTls(OnACluster):
    kind = TlsCluster
    certificate: Path

    @classmethod
    def options_in(cls, directory: Path) -> tuple[str, ...]:
        cls.certificate, _ = certificate(directory)
        return ()

    def cluster_url(self, cluster: Cluster) -> str:
        hosts = ",".join(f"127.0.0.1:{node.met}" for node in cluster.nodes)
        return f"rediss+cluster://{hosts}?ssl_ca_certs={self.certificate}&"


def test_an_older_version_finds_whom_an_event_excludes_behind_its_type(
    tmp_path: Path,
) -> None:
    events = [Event("a", "1", "said", exclude="name"), Event("a", "2")]
    broker = SqliteBroker(tmp_path / "push.db")
    broker.publish(events)
    with contextlib.closing(sqlite3.connect(broker.path)) as connection:
        types = connection.execute("SELECT type FROM event ORDER BY number").fetchall()
    broker.close()
    assert types == [("said\0name",), ("message",)]
    assert Runs(events).args == ["2", b"9:1:said\0name1", b"7:1:message2"]
