"""Hub processes end items: killed ones, replaced ones, and ones without their store."""

from __future__ import annotations

import typing as t
from pathlib import Path

from support.hub_processes import replace
from support.hub_stores import store
from support.redises import Redis
from support.servers import gunicorn
from support.servers import kill_hubs
from support.servers import serve
from support.servers import the_hub
from support.servers import until

from flask_push._ipc.files import HubFiles
from flask_push.brokers import ItemChange
from flask_push.brokers import open_broker
from flask_push.brokers.items import UNSET
from flask_push.testing._item_judge import Both


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def rows(broker: Both) -> list[tuple[str, str]]:
    entries = broker.read(["a"], after=0, items=True).entries
    return [(entry.item, entry.type) for entry in entries]


def opened(url: str) -> Both:
    return t.cast(Both, open_broker(url))


def test_a_hub_process_ends_items_and_so_does_its_successor(tmp_path: Path) -> None:
    broker = opened(store(tmp_path))
    with serve(gunicorn, tmp_path) as server:
        server.stream("b").opened()
        first = the_hub(tmp_path)
        broker.change([ItemChange("a", "stays", "x")])
        assert threads(first) == 1, "nothing has a time to live"
        broker.change([ItemChange("a", "i", "x", ttl=0.05)])
        until(lambda: rows(broker) == [("stays", "message"), ("i", UNSET)])
        assert threads(first) == 2
        # The item is due when no hub is there.
        assert kill_hubs(tmp_path) == [first]
        broker.change([ItemChange("a", "j", "x", ttl=0.05)])
        until(broker.due)
        server.stream("b").opened()
        until(lambda: rows(broker)[2:] == [("j", UNSET)])
        assert the_hub(tmp_path) != first
    broker.close()


def test_a_hub_that_takes_the_place_of_another_ends_items(tmp_path: Path) -> None:
    broker = opened(store(tmp_path))
    with serve(gunicorn, tmp_path) as server:
        reader = server.stream("b").opened()
        broker.change([ItemChange("a", "i", "x", ttl=600)])
        first = the_hub(tmp_path)
        until(lambda: threads(first) == 2)
        replace(tmp_path)
        second = the_hub(tmp_path, but=first)
        broker.change([ItemChange("a", "j", "x", ttl=0.05)])
        until(lambda: ("j", UNSET) in rows(broker))
        assert threads(second) == 2
        server.publish("b", "1")
        assert reader.read_data(1) == ["1"], "its stream goes on"
    broker.close()


def test_a_hub_whose_store_is_away_for_a_while_logs_it_once(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    with Redis.started(tmp_path / "redis") as redis:
        broker = opened(redis.url)
        config: dict[str, t.Any] = {
            "PUSH_BROKER_URL": redis.url,
            "PUSH_PUBLISH_TIMEOUT": 0.2,
        }
        with serve(gunicorn, tmp_path, **config) as server:
            reader = server.stream("b").opened()
            pid, log = the_hub(tmp_path), HubFiles.of(tmp_path / "push-basic").log
            broker.change([ItemChange("a", "i", "x", ttl=600)])
            server.publish("b", "1")
            until(lambda: threads(pid) == 2)
            broker.change([ItemChange("a", "j", "x", ttl=1.5)])
            redis.stop()
            until(lambda: "Could not change items" in log.read_text())
            redis.go_on()
            until(lambda: ("j", UNSET) in rows(broker))
            server.publish("b", "2")
            assert reader.read_data(2) == ["1", "2"]
            assert log.read_text().count("Could not change items") == 1
        broker.close()


def test_a_hub_in_a_thread_beside_greenlets_ends_items(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    with Redis.started(tmp_path / "redis") as redis:
        broker = opened(redis.url)
        config: dict[str, t.Any] = {"PUSH_BROKER_URL": redis.url, "PUSH_HUB": "thread"}
        with serve(gunicorn, tmp_path, "-k", "gevent", **config) as server:
            reader = server.stream("b").opened()
            for n in range(3):
                # The connections of the requests are not those of the hub.
                server.publish("b", str(n))
                broker.change([ItemChange("a", f"{n}", "x", ttl=0.05)])
                until(lambda: rows(broker)[-1] == (f"{n}", UNSET))  # noqa: B023
            assert reader.read_data(3) == ["0", "1", "2"]
            assert "Could not" not in server.log
        broker.close()
