"""What may stand in the URL of a Redis, what is shown of it, and what a wrong one says."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path
from urllib.parse import quote

import pytest
from flask import Flask
from support.redis_log import lines
from support.redis_log import say
from support.redises import certificate
from support.redises import Cluster
from support.redises import Node
from support.redises import Redis
from support.redises import Sentinel
from support.servers import gunicorn
from support.servers import hubs
from support.servers import serve
from support.servers import TESTS
from support.servers import until

from flask_push import Event
from flask_push import NotPublished
from flask_push import NotRead
from flask_push import Publisher
from flask_push import Push
from flask_push.brokers import open_broker
from flask_push.brokers._urls import hide_password
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis.broker import AnyRedisBroker
from flask_push.brokers.redis.url import RedisUrl
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until as until_on_loop

# Each with pieces that begin as this one does, so that a part of one can be found.
PASSWORDS = [
    "s3cret",
    "s3@s3",
    "s3/s3",
    "s3?s3=s3",
    "s3#s3",
    "s3[s3]",
    "s3:s3",
    "1/s3",
    "s3\n",
]

# What the URL is of, before the user and behind the host.
KINDS = [
    *(("redis://", "host:6379/0"), ("rediss://", "host"), ("unix://", "/run/redis.sock")),
    *(("redis+sentinel://", "one:1,two:2/shop"), ("redis+cluster://", "one:1,two")),
]


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("user", ["", "app"])
@pytest.mark.parametrize(("before", "behind"), KINDS)
def test_a_password_that_is_not_encoded_is_refused_or_used_and_never_shown(
    before: str, behind: str, user: str, password: str
) -> None:
    url = f"{before}{user}:{password}@{behind}"
    assert "s3" not in hide_password(url)
    app = Flask(__name__)
    app.config["PUSH_BROKER_URL"] = url
    try:
        shown = repr(open_broker(url))
        Push(app)
    except ValueError as error:
        shown = str(error)
        with pytest.raises(ValueError, match="percent-encoded") as raised:
            Push(app)
        shown += "".join(traceback.format_exception(raised.value))
    assert "s3" not in shown


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(("before", "behind"), KINDS)
def test_a_password_that_is_encoded_is_used(
    before: str, behind: str, password: str
) -> None:
    url = f"{before}app:{quote(password, safe='')}@{behind}"
    broker = open_broker(url)
    assert isinstance(broker, AnyRedisBroker)
    assert broker._place._options["password"] == password
    assert broker._place._options["username"] == "app"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("redis+sentinel://a:1,[::2]:3/shop", "redis+sentinel://a:1,[::2]:3/shop"),
        ("redis://s3cret@host/0", "redis://***@host/0"),
        ("redis://host/0?password=s3@x&db=1", "redis://host/0?password=***&db=1"),
        ("rediss://host?ssl_password=s3", "rediss://host?ssl_password=***"),
        ("redis://:s3cret", "redis://***"),
        ("redis://host:s3cret/0", "redis://***"),
        ("redis:/:s3cret@host", "redis:/***@host"),
        ("redis:s3cret@host", "redis:***@host"),
        (":s3cret@host:6379", "***@host:6379"),
        ("sqlite:////srv/a@2/push.db", "sqlite:////srv/a@2/push.db"),
        ("unix:///run/a@2/redis.sock?db=1", "unix:///run/a@2/redis.sock?db=1"),
        ("memory:", "memory:"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert hide_password(url) == shown


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis:host", "begins as in redis://host:6379/0"),
        ("redis://host/0?max_conn=2", "not known, 'max_conn'. It may have client_name"),
        ("redis://host/0?ssl_ca_certs=/ca.pem", "is for TLS: rediss://"),
        ("rediss://host/0?ssl_nonsense=1", "can't use the URL.*ssl_nonsense"),
        ("rediss://host/0?ssl_cert_reqs=maybe", "can't use the URL.*maybe"),
        ("redis://host/shop", "A database of a Redis is a number, and not 'shop'"),
        ("redis://host?db=shop", "can't use the URL.*'db'"),
        ("redis://host:65536/0", "larger than 65535"),
        ("redis://one,two/0", "of a Cluster or of Sentinels"),
        ("unix://run/redis.sock", "named by its whole path"),
        ("unix://", "named by its whole path"),
        ("redis+sentinel://host", "names no service"),
        ("redis+sentinel://host/shop/x", "is a number, and not 'x'"),
        ("redis+cluster://host/3", "has but one"),
        ("redis+cluster://host?db=3", "has but one"),
        ("redi://:s3cret@host", r"No broker knows 'redi://\*\*\*@host'"),
    ],
)
def test_a_url_that_can_not_be_right_is_refused_when_the_app_is_made(
    url: str, words: str
) -> None:
    app = Flask(__name__)
    app.config["PUSH_BROKER_URL"] = url
    with pytest.raises(ValueError, match=words):
        Push(app)
    with pytest.raises(ValueError, match=words):
        Publisher(url)


def test_hosts_are_of_sentinels_or_of_nodes() -> None:
    url = RedisUrl.read("redis+sentinel://app:x@a:1,b/shop/2?prefix=p&client_name=n")
    assert (url.sentinels, url.service) == ([("a", 1), ("b", 26379)], "shop")
    assert url.plain == "redis://app:x@master/2?client_name=n"
    assert (url.prefix, url.name) == ("p", "redis+sentinel://a:1,b/shop/2 (p)")
    url = RedisUrl.read("rediss+cluster://app:x@a:1,b")
    assert (url.nodes, url.plain) == ([("a", 1), ("b", 6379)], "rediss://app:x@node/?")


def test_what_redis_py_calls_its_pool_and_its_timeouts_is_ignored(tmp_path: Path) -> None:
    ignored = (
        "max_connections=20&timeout=20&socket_timeout=0.001&socket_connect_timeout=0.001"
        "&retry_on_timeout=yes&health_check_interval=1&decode_responses=True&protocol=3"
        "&encoding=latin-1&encoding_errors=ignore&socket_read_size=1&retry_on_error=x"
        "&lib_name=x&lib_version=1&legacy_responses=no"
    )
    with Redis.started(tmp_path) as redis:
        used = "client_name=shop&socket_keepalive=no&prefix=own"
        broker = RedisBroker(f"{redis.url}?{ignored}&{used}")
        say(broker, "1")
        assert [entry.data for entry in broker.read(["a"], after=0).entries] == [b"1"]
        assert b"name=shop" in redis.do("CLIENT", "LIST")
        assert redis.do("EXISTS", "{own}:store")
        broker.close()


# What a wrong one says, to who publishes, who reads, and in the hub's log.


def wrong(url: str, words: str, caplog: pytest.LogCaptureFixture) -> None:
    broker = open_broker(url, timeout=10)
    with pytest.raises(NotPublished, match=words):
        broker.publish([Event("a", "x")])
    with pytest.raises(NotRead, match=words):
        broker.read(["a"], after=0)
    broker.close()
    wrong_for_a_hub(url, words, caplog)


def wrong_for_a_hub(url: str, words: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        broker = open_broker(url)
        hub = RecordingSink(broker)
        hub.feed.watch(["a"])
        await until_on_loop(lambda: lines(caplog))
        hub.feed.close()
        broker.close()

    asyncio.run(main())
    (line,) = lines(caplog)
    assert re.search(words, line), line
    assert "s3cret" not in line


@contextlib.contextmanager
def locked(redis: Redis) -> cabc.Iterator[None]:
    """Without its user's password, nothing is allowed."""
    redis.do("ACL", "SETUSER", "admin", "on", ">s3cret", "~*", "&*", "+@all")
    redis.do("CONFIG", "SET", "requirepass", "s3cret")
    yield


def test_a_missing_password_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Redis.started(tmp_path) as redis, locked(redis):
        wrong(redis.url, "wants authentication, and the URL has no password", caplog)


def test_a_wrong_password_is_named_and_not_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Redis.started(tmp_path) as redis, locked(redis):
        url = redis.url.replace("://", "://:s3cret-not@")
        wrong(url, "does not accept the user and the password", caplog)


def test_a_password_where_there_is_none_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Redis.started(tmp_path) as redis:
        url = redis.url.replace("://", "://:s3cret@")
        wrong(url, "has no password, so the URL must not", caplog)


def test_a_node_of_a_cluster_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Cluster.started(tmp_path) as cluster:
        wrong(cluster.others[0].url, r"is a node .* begins with redis\+cluster://", caplog)


def test_a_cluster_that_lacks_nodes_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Node.started(tmp_path) as node:
        wrong(node.url, "its Cluster is down", caplog)


def test_a_cluster_that_is_none_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Redis.started(tmp_path) as redis:
        url = f"redis+cluster://127.0.0.1:{redis.port}"
        wrong(url, "is no Redis Cluster, so the URL begins with redis://", caplog)


def test_a_sentinel_in_place_of_its_master_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in "redis", "sentinel":
        (tmp_path / name).mkdir()
    with (
        Redis.started(tmp_path / "redis") as redis,
        Sentinel.started(tmp_path / "sentinel", redis.port) as sentinel,
    ):
        wrong(f"redis://127.0.0.1:{sentinel.port}", "is it a Sentinel", caplog)
        caplog.clear()
        url = f"redis+sentinel://127.0.0.1:{sentinel.port}/nonsense"
        wrong(url, "No master found for 'nonsense'", caplog)


def test_tls_with_a_port_that_does_not_speak_it_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificate(tmp_path)
    with Redis.started(tmp_path) as redis:
        # It waits for the rest of what it takes for a command.
        url = redis.url.replace("redis://", "rediss://")
        broker = open_broker(url, timeout=0.5)
        with pytest.raises(NotPublished, match="Does it speak TLS"):
            broker.publish([Event("a", "x")])
        broker.close()
        wrong_for_a_hub(url, "does not answer in TLS", caplog)


# What shows none.


def command_line(directory: Path, url: str) -> str:
    """What all commands say, whether they can do it or not."""
    said = ""
    for words in (
        ["doctor"],
        ["doctor", "http://127.0.0.1:1"],
        ["status"],
        ["publish", "a", "b"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "flask", "--app", "apps.basic", "push", *words],
            cwd=TESTS,
            env={**os.environ, "INSTANCE": str(directory), "FLASK_PUSH_BROKER_URL": url},
            capture_output=True,
            text=True,
        )
        assert done.stdout or done.stderr
        said += done.stdout + done.stderr
    assert "redis://***@127.0.0.1" in said
    return said


def test_a_password_is_in_no_log_and_in_no_list_of_processes(tmp_path: Path) -> None:
    """While it is used, while there is no server, and while it is wrong."""
    (tmp_path / "redis").mkdir()
    (tmp_path / "app").mkdir()
    with Redis.started(tmp_path / "redis") as redis:
        redis.do("ACL", "SETUSER", "app", "on", ">s3cret", "~*", "&*", "+@all")
        url = redis.url.replace("://", "://app:s3cret@")
        with serve(gunicorn, tmp_path / "app", PUSH_BROKER_URL=url) as server:
            log = tmp_path / "app" / "push-basic" / "hub.log"
            reader = server.stream("a").opened()
            server.publish("a", "x")
            reader.read_data(1)
            (pid,) = hubs(tmp_path / "app")
            shown = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
            shown += command_line(tmp_path / "app", url)
            redis.do("ACL", "SETUSER", "app", "nopass", "resetpass", ">other")
            for kind in "pubsub", "normal":
                redis.do("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            until(lambda: "does not accept the user" in log.read_text())
            status, _, body = server.request(
                "POST", "/publish", b'[{"channel":"a","data":"x"}]'
            )
            assert status == 500
            redis.kill()
            server.request("POST", "/publish", b'[{"channel":"a","data":"x"}]')
            shown += command_line(tmp_path / "app", url)
            shown += log.read_text() + server.log + body.decode()
    assert "NotPublished" in shown
    assert "s3cret" not in shown
