"""What can befall a Redis, and the way to it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest
from redis.connection import Connection
from support.hub_processes import returned
from support.proxies import Proxy
from support.redis_links import proxy as proxy
from support.redis_links import user
from support.redis_log import broker as broker
from support.redis_log import heard
from support.redis_log import listen
from support.redis_log import redis as redis
from support.redis_log import say
from support.redises import Redis
from support.servers import gunicorn
from support.servers import hubs
from support.servers import serve

from flask_push import Event
from flask_push import NotPublished
from flask_push import Publisher
from flask_push import PublishUncertain
from flask_push._handoff.spawn import start_process
from flask_push._ipc.files import HubFiles
from flask_push.brokers import ItemChange
from flask_push.brokers import Retention
from flask_push.brokers.redis import calls
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis import scripts
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until as until_on_loop


@pytest.mark.parametrize("right", ["resetchannels", "-rpush", "-ltrim", "-zadd", "-set"])
def test_a_user_who_may_not_publish_stores_nothing(
    redis: Redis, broker: RedisBroker, right: str
) -> None:
    first = say(broker, "1")
    other = user(redis, right)
    with pytest.raises(NotPublished, match="user may not do this"):
        say(other, "2")
    with pytest.raises(NotPublished, match="user may not do this"):
        other.publish([Event("b", "3"), Event("a", "4", key="k"), Event("c", "5")])
    other.close()
    page = broker.read("abc", after=0)
    assert [entry.data for entry in page.entries] == [b"1"] and page.epoch == first.epoch
    assert say(broker, "6").epoch == first.epoch


def test_a_user_who_may_not_publish_all_of_a_call_is_not_told_that_nothing_is_stored(
    redis: Redis, broker: RedisBroker
) -> None:
    other = user(redis, "resetchannels", "&{push}:0:a")
    with pytest.raises(PublishUncertain, match="channel"):
        other.publish([Event("a", "1"), Event("a", "2"), Event("b", "3"), Event("a", "4")])
    other.close()
    say(broker, "5")
    numbers = [entry.number for entry in broker.read("ab", after=0).entries]
    assert heard(broker) == [b"1", b"2", b"5"]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("count", [8_001, 50_000])
@pytest.mark.parametrize("names", ["a", "ab"])
def test_very_many_events_are_published_in_one_call(
    redis: Redis, count: int, names: str
) -> None:
    broker = RedisBroker(redis.url, Retention(count=100_000), timeout=60)
    events = [Event("first", "x")]
    events += [Event(names[n % len(names)], str(n), "t") for n in range(count)]
    positions = broker.publish(events)
    numbers = [position.number for position in positions]
    assert numbers == list(range(numbers[0], numbers[0] + count + 1))
    page = broker.read(["first", *names], after=0, limit=2**30)
    assert [entry.number for entry in page.entries] == numbers
    assert [entry.data for entry in page.entries[1:]] == [b"%d" % n for n in range(count)]
    assert page.end == numbers[-1]
    for before, entry in zip(
        page.entries[1:], page.entries[1 + len(names) :], strict=False
    ):
        assert entry.prev == before.number
    broker.close()


def test_a_hub_hears_very_many_events_of_one_call(broker: RedisBroker) -> None:
    async def test(hub: RecordingSink) -> None:
        broker.publish([Event("a", str(n % 10), "t") for n in range(9_000)])
        await until_on_loop(lambda: len(hub.entries) == 9_000)
        assert hub.received("a") == [b"%d" % (n % 10) for n in range(9_000)]
        assert hub.missing == 0

    listen(broker, test)


def test_more_than_one_call_can_publish_is_refused(broker: RedisBroker) -> None:
    with pytest.raises(ValueError, match="100,000 events"):
        broker.publish([Event("a", "x")] * 100_001)
    with pytest.raises(ValueError, match="in several calls"):
        broker.publish([Event("a", "x" * 33 * 2**20)] * 2)
    assert not heard(broker)
    # A single one is what PUSH_MAX_EVENT_BYTES allows.
    say(broker, "x" * 65 * 2**20)
    assert len(heard(broker)) == 1


def test_an_event_whose_reply_is_lost_is_stored_once(redis: Redis, proxy: Proxy) -> None:
    broker = RedisBroker(proxy.url)
    say(broker, "1")
    proxy.cuts = 1
    position = say(broker, "2", "3")
    assert heard(broker) == [b"1", b"2", b"3"]
    assert broker.read(["a"], after=0).end == position.number
    broker.close()


def test_a_call_that_comes_twice_or_late_is_done_once(
    redis: Redis, broker: RedisBroker
) -> None:
    """As where a server that was frozen finds both attempts, the second one first."""
    say(broker, "1")
    caller, runs = broker._callers.take(), calls.Runs([Event("a", "2"), Event("a", "3")])
    attempt = scripts.PUBLISH.by_text(broker._store.publish(runs, caller))
    reply = redis.do(*attempt)
    assert redis.do(*attempt) == reply
    broker._callers.give_back(caller)
    say(broker, "4")
    redis.do(*attempt)
    assert heard(broker) == [b"1", b"2", b"3", b"4"]


def test_a_name_that_the_store_would_soon_forget_is_given_up(
    redis: Redis, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def callers() -> int:
        return len(redis.do("KEYS", "*:call:*"))

    say(broker, "1")
    say(broker, "2")
    assert callers() == 1
    monkeypatch.setattr(calls, "CALLER_SECONDS", -1)
    broker._callers.take()
    say(broker, "3")
    say(broker, "4")
    assert callers() == 3
    (*_, ttl) = sorted(redis.do("PTTL", key) for key in redis.do("KEYS", "*:call:*"))
    assert 0 < ttl <= 60_000


def test_where_every_reply_is_lost_the_key_makes_it_once(
    redis: Redis, proxy: Proxy
) -> None:
    broker = RedisBroker(proxy.url)
    say(broker, "1")
    proxy.cuts = 2
    with pytest.raises(PublishUncertain):
        broker.publish([Event("a", "2", key="k")])
    assert heard(broker) == [b"1", b"2"]
    broker.publish([Event("a", "2", key="k")])
    assert heard(broker) == [b"1", b"2"]
    broker.close()


def test_a_page_begins_at_any_place(broker: RedisBroker) -> None:
    for count in range(1, 20):
        name = f"c{count}"
        events = [Event(name, "x") for _ in range(count)]
        numbers = [position.number for position in broker.publish(events)]
        for after in [0, numbers[0] - 1, *numbers, numbers[-1] + 1]:
            page = broker.read([name], after=after)
            found = [entry.number for entry in page.entries]
            assert found == [number for number in numbers if number > after]
        for last in range(count + 2):
            page = broker.read([name], last=last)
            found = [entry.number for entry in page.entries]
            assert found == numbers[len(numbers) - last :] or last > count == len(found)


def test_a_restart_that_lost_nothing_is_another_epoch_too_but_keeps_history(
    tmp_path: Path,
) -> None:
    options = "--appendonly", "yes", "--appendfsync", "always"
    with Redis.started(tmp_path, *options) as redis:
        broker = RedisBroker(redis.url, Retention(count=7))
        before = say(broker, "1")
        redis.kill()
        redis.start()
        other = RedisBroker(redis.url)
        after = say(other, *"23456789")
        assert after.epoch != before.epoch and after.number > before.number
        assert heard(broker) == heard(other) == [b"%d" % n for n in range(3, 10)]
        other.close()
        broker.close()


# What Redis says.


@pytest.mark.parametrize("missing", ["redis", "hiredis", "hiredis.PushNotification"])
def test_without_what_redis_needs_the_error_says_how_to_install_it(missing: str) -> None:
    module, _, name = missing.partition(".")
    code = f"""
import sys
if {name!r}:
    import {module}
    del {module}.{name or "x"}
else:
    sys.modules[{module!r}] = None
from flask_push.brokers import open_broker
open_broker("redis://127.0.0.1:6379/0")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    words = "ValueError: Redis needs redis-py 5.1 and hiredis 3.2, or newer: pip install -U"
    assert words in done.stderr


# Over HTTP.


def test_two_servers_with_a_hub_each_share_a_channel(redis: Redis, tmp_path: Path) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        path.mkdir()
    with (
        serve(gunicorn, paths[0], "-w", "2", PUSH_BROKER_URL=redis.url) as one,
        serve(gunicorn, paths[1], "-w", "2", PUSH_BROKER_URL=redis.url) as two,
    ):
        readers = [server.stream("a", "b") for server in (one, two)]
        for reader in readers:
            reader.read_until(lambda r: r.last_id)
        said = []
        for n in range(30):
            (one, two)[n % 2].publish("ab"[n % 3 % 2], str(n))
            said.append(str(n))
        publisher = Publisher(redis.url)
        publisher.publish("a", "from elsewhere")
        publisher.close()
        said.append("from elsewhere")
        for reader in readers:
            reader.read_until(lambda r: len(r.data) >= len(said))
            assert reader.data == said and not reader.gaps
        # A reader of one goes on at the other.
        first = readers[0].last_id
        two.publish("a", "later")
        with two.stream("a", "b", last_id=first) as again:
            again.read_until(lambda r: r.data)
            assert again.data == ["later"] and not again.gaps
        # The connections to the server are cut: streams stay open, and continue.
        redis.do("CLIENT", "KILL", "TYPE", "pubsub")
        redis.do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        one.publish("b", "after the cut")
        for reader in readers:
            reader.read_until(lambda r: r.data[-1] == "after the cut")
            assert reader.data == [*said, "later", "after the cut"] and not reader.gaps
        redis.kill(signal.SIGKILL)
        redis.start()
        two.publish("a", "another life")
        for server, reader in zip((one, two), readers, strict=True):
            again = returned(server, reader, "a", "b").read_until(lambda r: r.gaps)
            assert again.gaps[0]["reason"] == "restarted"


def test_a_hub_is_replaced_while_events_never_cease(redis: Redis, tmp_path: Path) -> None:
    stop = threading.Event()
    said: list[str] = []

    def publish() -> None:
        publisher = Publisher(redis.url)
        while not stop.is_set():
            publisher.publish("a", str(len(said)))
            said.append(str(len(said)))
            time.sleep(0.001)
        publisher.close()

    with serve(gunicorn, tmp_path, PUSH_BROKER_URL=redis.url) as server:
        reader = server.stream("a")
        reader.read_until(lambda r: r.last_id)
        thread = threading.Thread(target=publish)
        thread.start()
        try:
            reader.read_until(lambda r: len(r.data) > 100)
            before = hubs(tmp_path)
            start_process(HubFiles.of(tmp_path / "push-basic"), "--replace", "--force")
            reader.read_until(lambda r: hubs(tmp_path) not in ([], before))
        finally:
            stop.set()
            thread.join()
        reader.read_until(lambda r: len(r.data) >= len(said))
        assert reader.data == said and not reader.gaps


def test_a_command_has_no_numbers(
    broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hiredis crashes if the handler of a signal raises an exception while it packs one."""
    sent: list[object] = []
    send: t.Any = Connection.send_command

    def send_command(self: Connection, *args: object, **how: t.Any) -> None:
        sent.extend(args)
        send(self, *args, **how)

    assert heard(broker) == []
    monkeypatch.setattr(Connection, "send_command", send_command)
    say(broker, "1")
    broker.change([ItemChange("a", "x", "1", ttl=5, version=1)])
    broker.find("a", ["x"])
    assert heard(broker) == [b"1"]
    assert len(sent) > 50 and {*map(type, sent)} <= {str, bytes}
