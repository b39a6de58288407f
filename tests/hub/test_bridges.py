"""The bridges that a hub runs, as an app asks for them, and in a takeover."""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

import pytest
from flask import Flask
from support.bridged_hubs import holder
from support.bridged_hubs import redis as redis
from support.bridged_hubs import run
from support.bridged_hubs import say
from support.bridged_hubs import words
from support.redises import Redis
from support.servers import hubs
from support.servers import until

from flask_push import Push
from flask_push._handoff.process_door import ProcessDoor
from flask_push._handoff.spawn import start_process
from flask_push._ipc.agreement import Agreement
from flask_push._ipc.files import HubFiles
from flask_push._ipc.messages import Messages
from flask_push.brokers import Bridge
from flask_push.brokers import Bridging
from flask_push.brokers import open_broker


def test_a_bridge_goes_on_in_the_hub_that_takes_the_others_place(
    redis: Redis, tmp_path: Path
) -> None:
    with run(redis, tmp_path / "one") as server:
        reader = server.stream("chat").opened()
        until(lambda: holder(redis))
        say(redis, "1")
        reader.read_data(1)
        first, before = holder(redis), hubs(tmp_path / "one")
        files = HubFiles.of(tmp_path / "one" / "push-basic")
        start_process(files, "--replace", "--force")
        until(lambda: not {*before} & {*hubs(tmp_path / "one")})
        # The old one has not left the lease to run out.
        assert holder(redis) != first
        until(lambda: holder(redis) not in ("", first))
        assert hubs(tmp_path / "one") != before
        say(redis, "2")
        assert reader.read_data(2) == ["1", "2"]
        assert len(reader.gaps) == 1


def test_an_older_worker_ends_no_bridge_and_one_without_any_does(
    redis: Redis, tmp_path: Path
) -> None:
    with run(redis, tmp_path / "one") as server:
        server.stream("chat").opened()
        until(lambda: holder(redis))
        first = holder(redis)
        app = make_app(PUSH_BROKER_URL=redis.url, PUSH_RUN_DIR=str(tmp_path / "run"))
        hub = Push(app)._states[app].services().hub
        assert isinstance(hub, ProcessDoor)
        hello = t.cast(dict[str, t.Any], hub.hello.values)
        older = {name: value for name, value in hello.items() if name != "bridges"}
        door = Messages(HubFiles.of(tmp_path / "one" / "push-basic").connect())
        try:
            assert "welcome" in door.ask({"hello": older, "version": "0"})
            reader = server.stream("chat").opened()
            say(redis, "1")
            assert reader.read_data(1) == ["1"]
            # On a busy machine, the lease may have run out, and goes on.
            assert until(lambda: holder(redis)) == first
            # Another worker may have begun meanwhile, and the last one counts.
            newest = {**hello, "began": time.monotonic()}
            assert "welcome" in door.ask({"hello": newest, "version": "0"})
            until(lambda: not holder(redis))
        finally:
            door.close()
            hub.stop()


def test_a_hub_in_a_thread_bridges_too(redis: Redis, tmp_path: Path) -> None:
    with run(redis, tmp_path / "one", PUSH_HUB="thread") as server:
        reader = server.stream("chat").opened()
        until(lambda: holder(redis))
        say(redis, *words("hello"))
        assert reader.read_data(20) == words("hello")


# What an app says.


def make_app(**config: t.Any) -> Flask:
    app = Flask("bridged")
    app.config.update(config)
    return app


@pytest.mark.parametrize("url", ["sqlite:", "memory:"])
def test_a_broker_without_bridges_is_an_error_that_names_the_cure(
    url: str, tmp_path: Path
) -> None:
    app = make_app(PUSH_BROKER_URL=url, PUSH_RUN_DIR=str(tmp_path / "run"))
    push = Push(app)
    push.bridge("redis:chat", channel="chat")
    for _ in range(2):
        with app.app_context(), pytest.raises(RuntimeError, match="Set PUSH_BROKER_URL to"):
            push.publish("chat", "hello")


def test_an_app_that_is_tested_without_a_redis_has_no_bridges() -> None:
    app = make_app(TESTING=True)
    push = Push()
    push.bridge("redis:chat", channel="chat")
    push.init_app(app)
    with app.app_context():
        push.publish("chat", "hello")


def test_bridges_are_for_all_apps_or_for_one() -> None:
    push = Push()
    push.bridge("redis:a", channel="a")
    apps = [
        make_app(PUSH_BROKER_URL="redis://nowhere", PUSH_HUB="thread") for _ in range(2)
    ]
    for app in apps:
        push.init_app(app)
    push.bridge("redis:b", channel="b", type="said")
    push.bridge("redis:b", channel="b", type="said")
    push.bridge("redis:c", channel="c", app=apps[0])
    common = [Bridge("redis:a", "a"), Bridge("redis:b", "b", "said")]
    found = [push._states[app].services().bridges for app in apps]
    assert found == [[*common, Bridge("redis:c", "c")], common]
    with pytest.raises(RuntimeError, match="where the app is created"):
        push.bridge("redis:d", channel="d")
    with pytest.raises(RuntimeError, match="not registered"):
        push.bridge("redis:d", channel="d", app=make_app())


@pytest.mark.parametrize(
    ("source", "channel", "type"),
    [
        *(("chat", "chat", "message"), ("redis:", "chat", "message")),
        *((3, "chat", "message"), ("sqlite:chat", "chat", "message")),
        *(("redis:chat", "", "message"), ("redis:chat", "c" * 65, "message")),
        *(("redis:chat", "chat", "error"), ("redis:chat", "chat", "push:gap")),
    ],
)
def test_a_bridge_that_leads_nowhere_is_refused(
    source: str, channel: str, type: str
) -> None:
    with pytest.raises(ValueError):
        Push().bridge(source, channel=channel, type=type)


def test_a_hello_of_another_version_is_understood() -> None:
    bridges = [Bridge("redis:a", "a"), Bridge("redis:b", "b", "said")]
    hello: dict[str, t.Any] = {"url": "x:", "retention": None, "options": {}}
    hello |= {"timeout": 1, "linger": 1}
    hello["bridges"] = [{**bridge._asdict(), "newer": 1} for bridge in bridges]
    assert Agreement.of(hello, None).bridges == tuple(bridges)


def test_who_can_bridge_is_asked(tmp_path: Path) -> None:
    for url, can in ("redis://nowhere", True), ("memory:", False), ("sqlite:", False):
        assert isinstance(open_broker(url, tmp_path), Bridging) == can
