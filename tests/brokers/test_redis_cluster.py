"""What can befall a Redis Cluster, and the way to the node that has the slot."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import socketserver
import threading
import time
import typing as t
from functools import partial
from pathlib import Path

import hiredis
import pytest
from redis.crc import key_slot
from redis.exceptions import ClusterDownError
from redis.exceptions import MovedError
from redis.exceptions import ResponseError
from support.hub_processes import returned
from support.redis_log import heard
from support.redis_log import lines
from support.redis_log import listen
from support.redis_log import proved
from support.redis_log import say
from support.redises import Cluster
from support.redises import Node
from support.servers import gunicorn
from support.servers import serve
from support.servers import until

from flask_push import Event
from flask_push import NotPublished
from flask_push import NotRead
from flask_push import Position
from flask_push import Publisher
from flask_push import PublishUncertain
from flask_push.brokers import Bridging
from flask_push.brokers import open_broker
from flask_push.brokers import Retention
from flask_push.brokers.redis import ClusterBroker
from flask_push.brokers.redis.cluster import addresses
from flask_push.brokers.redis.cluster import Nodes
from flask_push.brokers.redis.connection import ReplyError
from flask_push.brokers.redis.pool import Place
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until as until_on_loop


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[Cluster]:
    options = "--cluster-require-full-coverage", "no"
    with Cluster.started(tmp_path_factory.mktemp("cluster"), *options) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    for node in shared.nodes:
        node.do("CLUSTER", "SETSLOT", shared.slot, "STABLE")
        node.do("FLUSHALL")
    until(shared.agrees)
    return shared


@pytest.fixture
def replicated(tmp_path: Path) -> cabc.Iterator[Cluster]:
    with Cluster.started(tmp_path, replicas=1) as cluster:
        yield cluster


@pytest.fixture
def broker(cluster: Cluster) -> cabc.Iterator[ClusterBroker]:
    broker = ClusterBroker(cluster.url, timeout=10)
    yield broker
    broker.close()


def say_in_the_end(broker: ClusterBroker, data: str) -> Position:
    """With a key, so that it is once, however often it is said."""
    said: list[Position] = []

    def again() -> bool:
        with contextlib.suppress(NotPublished, PublishUncertain):
            said.extend(broker.publish([Event("a", data, key=data)]))
        return bool(said)

    until(again, 60)
    return said[0]


def channels(node: Node) -> list[bytes]:
    found: list[bytes] = node.do("PUBSUB", "SHARDCHANNELS")
    return found


# The way to it.


@pytest.mark.parametrize("which", range(3))
def test_any_node_knows_who_has_the_slot(cluster: Cluster, which: int) -> None:
    port = cluster.nodes[which].port
    one = ClusterBroker(f"redis+cluster://127.0.0.1:{port}", timeout=10)

    async def test(hub: RecordingSink) -> None:
        say(one, "1")
        await until_on_loop(lambda: hub.received("a") == [b"1"])
        assert channels(cluster.master) == [b"{push}:0:a"]
        for other in cluster.others:
            assert channels(other) == [] and other.do("DBSIZE") == 0

    listen(one, test)
    one.close()


def test_nodes_that_are_not_in_the_url_are_known_when_those_are_gone(
    tmp_path: Path,
) -> None:
    options = "--cluster-require-full-coverage", "no"
    with Cluster.started(tmp_path, *options) as cluster:
        given = cluster.others[0]
        broker = ClusterBroker(f"redis+cluster://127.0.0.1:{given.port}", timeout=10)
        say(broker, "1")
        given.kill()
        broker.close()
        say(broker, "2")
        broker.close()


def test_a_node_that_is_not_there_is_passed_over(cluster: Cluster) -> None:
    broker = ClusterBroker(
        f"redis+cluster://127.0.0.1:1,localhost:{cluster.nodes[1].port}", timeout=10
    )
    say(broker, "1")
    broker.close()
    broker = ClusterBroker("redis+cluster://127.0.0.1:1")
    with pytest.raises(NotPublished, match="refused"):
        say(broker, "1")


def test_the_slot_is_that_of_the_keys() -> None:
    for tag in "push", "shop", "a-b.c", "ü":
        assert Nodes([], tag).slot == key_slot(f"{{{tag}}}:store".encode())


def test_hosts_are_read_with_ports_and_without() -> None:
    assert addresses("a:1,b,[::1],[::2]:3", 9) == [
        ("a", 1),
        ("b", 9),
        ("::1", 9),
        ("::2", 3),
    ]


def test_who_does_not_know_its_own_name_has_the_one_it_was_asked_by() -> None:
    for nameless in None, b"", b"?":
        nodes = Nodes([("a", 1)], "push")
        reply = [[0, 99, [b"b", 2, b"id"]], [100, 16383, [nameless, 3, b"id"]]]
        assert nodes.learn(reply, ("a", 1)) == ("a", 3)
        assert nodes.known == [("a", 1), ("b", 2), ("a", 3)]
        assert nodes.learn(reply[:1], ("b", 2)) is None
    nodes.doubt()
    assert nodes.known == [("b", 2), ("a", 3), ("a", 1)]


def test_who_is_named_is_asked_next_and_only_once() -> None:
    place = Place("redis+cluster://127.0.0.1:1")
    nodes = place.nodes
    assert nodes is not None
    new: t.Any = MovedError
    for error in new("297 10.0.0.1:7"), ReplyError("MOVED 297 10.0.0.1:7"):
        place.elsewhere(error)
        assert nodes.named() == ("10.0.0.1", 7)
        assert nodes.named() is None
    for error in new("297 :7"), ReplyError("MOVED 297 ?:7"), ReplyError("ASK 297 a:7"):
        place.elsewhere(error)
        assert nodes.named() is None


def test_who_says_that_the_cluster_is_down_is_asked_last() -> None:
    place = Place("redis+cluster://a,b")
    nodes = place.nodes
    assert nodes is not None
    new: t.Any = ClusterDownError
    for error in new("The cluster is down"), ReplyError("CLUSTERDOWN The cluster is down"):
        place.elsewhere(error)
    assert nodes.known == [("a", 6379), ("b", 6379)]
    place.elsewhere(new("Hash slot not served"))
    assert nodes.known == [("b", 6379), ("a", 6379)]


def test_an_error_for_which_redis_py_has_no_class_is_known_by_its_code() -> None:
    """Before 6.0, it has one only in its own client for Clusters."""
    place, new = Place("redis+cluster://127.0.0.1:1"), t.cast(t.Any, ResponseError)
    for text in "ASK 1 a:7", "CLUSTERDOWN x", "MASTERDOWN x", "MOVED 1 a:7", "TRYAGAIN x":
        assert place.elsewhere(new(text))
    assert not place.elsewhere(new("OOM x"))


class Stale(socketserver.ThreadingTCPServer):
    """A node that has heard nothing for long: it says that all slots are at this port."""

    daemon_threads = True

    def __init__(self, master: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        place = b"$9\r\n127.0.0.1\r\n:%d\r\n" % master
        self.slots = b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n" + place
        self.url = f"redis+cluster://127.0.0.1:{self.server_address[1]}"
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


class Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        reader = hiredis.Reader()
        stale = t.cast(Stale, self.server)
        while data := self.request.recv(65536):
            reader.feed(data)
            while command := reader.gets():
                slots = command[0] == b"CLUSTER"
                self.request.sendall(stale.slots if slots else b"+OK\r\n")


def test_who_has_not_got_the_slot_any_more_says_who_has(cluster: Cluster) -> None:
    async def test(hub: RecordingSink) -> None:
        say(one, "1")
        await until_on_loop(lambda: hub.received("a") == [b"1"])

    with contextlib.closing(Stale(cluster.others[0].port)) as stale:
        one = ClusterBroker(stale.url, timeout=10)
        listen(one, test)
        one.close()


def test_a_node_that_names_one_that_is_gone_is_asked_last(cluster: Cluster) -> None:
    with contextlib.closing(Stale(1)) as stale:
        url = f"{stale.url},127.0.0.1:{cluster.nodes[0].port}"
        one = ClusterBroker(url, timeout=10)
        say(one, "1")
        one.close()


def test_connections_to_where_the_slot_was_are_not_tried_in_turn(
    cluster: Cluster, broker: ClusterBroker
) -> None:
    say(broker, "1")
    pool = broker._pool
    taken = [[pool.connect(10)] for _ in range(8)]
    for place in taken:
        pool.places.give_back(place)
    cluster.migrate()
    say(broker, "2")
    assert len([one for one in pool.places.free if one is not None]) == 1


def test_a_cluster_has_one_database_and_no_bridges() -> None:
    with pytest.raises(ValueError, match="has but one"):
        open_broker("redis+cluster://127.0.0.1:1/2")
    for url in "rediss+cluster://127.0.0.1/0", "redis+cluster://127.0.0.1/?prefix=shop":
        assert not isinstance(open_broker(url), Bridging)


# The slot moves.


def test_who_publishes_finds_a_slot_that_has_moved(
    cluster: Cluster, broker: ClusterBroker
) -> None:
    said = []
    for n in range(4):
        said.append(say(broker, str(n)))
        cluster.migrate()
    assert len({position.epoch for position in said}) == 4, "each may have lost something"
    assert [position.number for position in said] == sorted({p.number for p in said})
    assert heard(broker) == [b"0", b"1", b"2", b"3"]


def test_while_a_slot_is_between_two_nodes_nothing_is_done(
    cluster: Cluster, broker: ClusterBroker
) -> None:
    say(broker, "1", channel="b")
    say(broker, "1")

    def tried() -> None:
        one = ClusterBroker(cluster.url, timeout=0.1)
        with pytest.raises((NotPublished, PublishUncertain)):
            say(one, "no")
        one.close()
        one = ClusterBroker(cluster.url, timeout=0.1)
        with contextlib.suppress(NotRead):
            assert heard(one) == [b"1"]
        one.close()
        tries.append(one)

    tries: list[ClusterBroker] = []
    cluster.migrate(each=tried)
    assert len(tries) > 4
    assert heard(broker) == [b"1"]
    say(broker, "2")
    assert heard(broker) == [b"1", b"2"]


def test_who_publishes_waits_for_a_slot_that_is_between_two_nodes(
    cluster: Cluster, broker: ClusterBroker
) -> None:
    say(broker, "1")
    began = threading.Event()
    said: list[Position] = []

    def publish() -> None:
        began.set()
        said.append(say(broker, "2"))

    thread = threading.Thread(target=publish)

    def start() -> None:
        if not began.is_set():
            thread.start()
            began.wait()
            time.sleep(0.1)
        assert not said

    try:
        cluster.migrate(each=start)
    finally:
        thread.join()
    assert said and heard(broker) == [b"1", b"2"]


def test_a_hub_is_told_that_the_slot_has_moved(
    cluster: Cluster, broker: ClusterBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(hub: RecordingSink) -> None:
        before = say(broker, "1")
        await until_on_loop(lambda: hub.received("a") == [b"1"])
        cluster.migrate()
        # Nobody publishes, and no tick is due.
        await until_on_loop(lambda: hub.epoch != before.epoch)
        say(broker, "2")
        await until_on_loop(lambda: hub.received("a") == [b"1", b"2"])

    listen(broker, test)
    assert "moved" in lines(caplog)[0].lower() and "Reconnected to" in lines(caplog)[-1]


def test_a_slot_that_comes_back_unseen_is_listened_to_again(
    cluster: Cluster, broker: ClusterBroker
) -> None:
    async def test(hub: RecordingSink) -> None:
        said: list[str] = []
        for n in range(3):
            await hub.watch(f"b{n}")
            hub.feed.unwatch([f"b{n}"])
            await proved(hub, say(broker, str(n)))
            home = cluster.master
            # The loop does not turn meanwhile, and the store stays what it was.
            cluster.migrate()
            cluster.migrate(home)
            last = say(broker, f"{n} again")
            await proved(hub, last)
            said.extend([str(n), f"{n} again"])
            await until_on_loop(lambda: len(hub.received("a")) == len(said))
        assert hub.missing == 0
        assert hub.received("a") == [text.encode() for text in said]

    listen(broker, test)


def test_a_hub_that_leaves_a_channel_does_not_take_it_for_a_move(
    cluster: Cluster, broker: ClusterBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(hub: RecordingSink) -> None:
        await hub.watch("b")
        hub.feed.unwatch(["b"])
        await until_on_loop(lambda: channels(cluster.master) == [b"{push}:0:a"])
        await proved(hub, say(broker, "1"))

    listen(broker, test)
    assert lines(caplog) == []


def test_nothing_is_lost_doubled_or_reordered_while_the_slot_moves_about(
    cluster: Cluster,
) -> None:
    broker = ClusterBroker(cluster.url, Retention(count=1_000_000), timeout=10)
    said: list[tuple[Position, bytes]] = []
    stop = threading.Event()

    def publish() -> None:
        publisher = ClusterBroker(cluster.url)
        while not stop.is_set():
            data = str(len(said))
            said.append((say_in_the_end(publisher, data), data.encode()))
        publisher.close()

    def heard_so_many(hub: RecordingSink, count: int) -> bool:
        return len(hub.entries) >= count

    async def test(hub: RecordingSink) -> None:
        #: From where on nothing may be missing, by epoch.
        starts = {hub.epoch: hub.end}
        deliver = hub.deliver

        def delivered(epoch: str, entries: t.Any, end: int | None) -> None:
            deliver(epoch, entries, end)
            if epoch not in starts:
                starts[epoch] = hub.end

        hub.deliver = delivered  # type: ignore[method-assign]
        thread = threading.Thread(target=publish)
        thread.start()
        try:
            for _ in range(6):
                soon = len(hub.entries) + 50
                await until_on_loop(partial(heard_so_many, hub, soon))
                await asyncio.to_thread(cluster.migrate, batch=20)
        finally:
            stop.set()
            await asyncio.to_thread(thread.join)
        await proved(hub, say(broker, "last", channel="b"))
        assert hub.missing == 0 and len(starts) > 6
        expected = [
            data for position, data in said if position.number > starts[position.epoch]
        ]
        assert hub.received("a") == expected

    listen(broker, test)
    # What was said while a hub was on its way, or before a gap, is there, and once.
    assert heard(broker) == [data for _, data in said]
    assert [p.number for p, _ in said] == sorted({p.number for p, _ in said})
    broker.close()


def test_a_cluster_that_is_down_has_stored_nothing(
    cluster: Cluster, broker: ClusterBroker
) -> None:
    say(broker, "1")
    master = cluster.master
    master.do("CLUSTER", "DELSLOTS", cluster.slot)
    one = ClusterBroker(cluster.url, timeout=0.2)
    with pytest.raises(NotPublished):
        say(one, "2")
    one.close()
    master.do("CLUSTER", "ADDSLOTS", cluster.slot)
    say(broker, "3")
    assert heard(broker) == [b"1", b"3"]


# The master is gone.


def test_a_master_that_is_killed_is_followed_by_its_replica_and_readers_are_told(
    replicated: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    broker = ClusterBroker(replicated.url, timeout=10)

    async def test(hub: RecordingSink) -> None:
        before = say(broker, "1")
        await proved(hub, before)
        await until_on_loop(replicated.is_copied)
        await asyncio.to_thread(replicated.kill_master)
        after = await asyncio.to_thread(say_in_the_end, broker, "2")
        assert after.epoch != before.epoch and after.number > before.number
        await proved(hub, after)
        await proved(hub, say(broker, "3"))
        assert hub.received("a")[-1] == b"3" and heard(broker) == [b"1", b"2", b"3"]

    listen(broker, test)
    broker.close()
    assert len(lines(caplog)) == 2


def test_a_master_that_gives_its_place_away_is_another_epoch(replicated: Cluster) -> None:
    broker = ClusterBroker(replicated.url, timeout=10)

    async def test(hub: RecordingSink) -> None:
        epochs = []
        for n in range(2):
            position = say_in_the_end(broker, str(n))
            await proved(hub, position)
            epochs.append(position.epoch)
            await asyncio.to_thread(replicated.fail_over)
        last = await asyncio.to_thread(say_in_the_end, broker, "last")
        await proved(hub, last)
        assert len({*epochs, last.epoch}) == 3
        assert heard(broker) == [b"0", b"1", b"last"]

    listen(broker, test)
    broker.close()


# Over HTTP.


def test_streams_go_on_where_the_slot_has_gone(cluster: Cluster, tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, "-w", "2", PUSH_BROKER_URL=cluster.url) as server:
        reader = server.stream("a")
        reader.read_until(lambda r: r.last_id)
        publisher = Publisher(cluster.url)
        publisher.publish("a", "1")
        reader.read_until(lambda r: r.data == ["1"])
        cluster.migrate()
        reader = returned(server, reader, "a").read_until(lambda r: r.gaps)
        assert reader.gaps[0]["reason"] == "restarted"
        publisher.publish("a", "2")
        server.publish("a", "3")
        publisher.close()
        reader.read_until(lambda r: r.data == ["2", "3"])
        with server.stream("a", last_id=reader.last_id) as again:
            server.publish("a", "4")
            again.read_until(lambda r: r.data == ["4"])
            assert not again.gaps
