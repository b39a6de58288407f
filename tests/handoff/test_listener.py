"""A listener in a process of the app: what it returns, and what ends it."""

from __future__ import annotations

import collections.abc as cabc
import gc
import json
import os
import select
import threading

import pytest
from support.late_sockets import LateSocket
from support.listeners import data_of
from support.listeners import in_thread
from support.listeners import ListenScene
from support.listeners import make_scene as make_scene
from support.listeners import ScriptedDoor
from support.listeners import take
from support.listeners import words
from support.servers import until

from flask_push import Event
from flask_push import NotRead
from flask_push import Position
from flask_push._delivery import options as options_module
from flask_push._delivery import wire
from flask_push._handoff import listener as listener_module
from flask_push.brokers.memory import MemoryBroker


@pytest.fixture
def scene(make_scene: cabc.Callable[..., ListenScene]) -> ListenScene:
    return make_scene(MemoryBroker())


def test_events_arrive_in_order_with_their_ids(scene: ListenScene) -> None:
    listener = scene.listen("a", "b")
    published = [scene.publisher.publish("ab"[n % 2], str(n), type="t") for n in range(9)]
    scene.say("c", "other")
    found = take(listener, 11)
    own = [words(event) for event in found if event.type.startswith("push:")]
    assert own == ["push:items a b", "push:whole a b"]
    events = [event for event in found if event.type == "t"]
    assert [event.id for event in events] == published
    assert [event.data for event in events] == list(map(str, range(9)))
    assert {(event.channel, event.type) for event in events} == {("a", "t"), ("b", "t")}
    assert listener.position == found[-1].id


def test_it_begins_where_it_was_made(scene: ListenScene) -> None:
    scene.say("a", "before")
    listener = scene.listen("a")
    scene.say("a", "after")
    assert data_of(listener, 1) == ["after"]


def test_since_is_where_it_begins(scene: ListenScene) -> None:
    scene.say("a", "1", "2", "3")
    listener = scene.listen("a")
    scene.say("a", "4", "5")
    assert data_of(listener, 1) == ["4"]
    position = listener.position
    listener.close()
    assert data_of(scene.listen("a", since=position), 1) == ["5"]


def test_a_position_that_the_store_does_not_have_is_a_gap(scene: ListenScene) -> None:
    scene.say("a", "1")
    listener = scene.listen("a", since="01234-1")
    gap = next(event for event in listener if event.type == "push:gap")
    assert json.loads(gap.data)["channels"] == ["a"] and gap.id == listener.position
    scene.say("a", "2")
    assert data_of(listener, 1) == ["2"]


def test_it_gets_all_items_and_then_each_change(scene: ListenScene) -> None:
    scene.set("a", "x", "1")
    listener = scene.listen("a")
    found = ["push:items a", "x=1", "push:whole a"]
    assert list(map(words, take(listener, 3))) == found
    scene.set("a", "x", "2")
    assert words(next(listener)) == "x=2"
    scene.set("a", "x", None)
    assert words(next(listener)) == "unset x"


def test_after_its_hub_is_gone_it_goes_on_with_its_items(scene: ListenScene) -> None:
    scene.set("a", "x", "1")
    listener = scene.listen("a")
    take(listener, 3)
    scene.end_streams()
    scene.set("a", "x", "2")
    scene.say("a", "event")
    assert list(map(words, take(listener, 2))) == ["x=2", "event"]
    first, second = scene.threads[-1].streams
    assert first.holds == "" and second.holds
    assert second.connection == first.connection


def test_a_slow_reader_gets_everything_over_many_deaths_of_its_hub(
    scene: ListenScene,
) -> None:
    listener, found = scene.listen("a"), []
    large = "x" * 20_000
    for n in range(20):
        scene.say("a", *(f"{n}.{k} {large}" for k in range(20)))
        found += data_of(listener, 7)
        scene.end_streams()
    found += data_of(listener, 20 * 13)
    assert listener._failures == 0, "each stream that has begun is a success"
    assert [data.split()[0] for data in found] == [
        f"{n}.{k}" for n in range(20) for k in range(20)
    ]


def test_its_stream_has_no_user_no_lifetime_and_no_limits(scene: ListenScene) -> None:
    take(scene.listen("a"), 2)
    (stream,) = scene.threads[-1].streams
    assert stream.is_listener and stream.items and not stream.visible
    assert (stream.user, stream.address) == (None, None)
    assert (stream.lifetime, stream.head, stream.gzip) == (0, b"", False)


def test_a_hub_of_an_older_version_that_disconnects_it_is_asked_again(
    scene: ListenScene,
) -> None:
    scene.hub._seen = lambda stream: scene.publisher.position()
    thread = scene.hub._thread = scene.make_thread()
    thread.is_older = True
    listener = scene.listen("a")
    for n in range(3):
        scene.say("a", f"before {n}")
        assert data_of(listener, 1) == [f"before {n}"]
        scene.publisher.disconnect(channel="a")
        scene.say("a", f"after {n}")
        assert data_of(listener, 1) == [f"after {n}"]
    assert len(thread.streams) == 4


def test_a_part_of_an_event_is_dropped_with_its_stream(scene: ListenScene) -> None:
    door = ScriptedDoor(
        b"id: aaaaa-1.a\ndata: 1\n\nid: aaaaa-2.a\ndata: hal", b"data: 2\n\n"
    )
    scene.hub = scene.make_hub(door)
    listener = scene.listen("a")
    assert data_of(listener, 2) == ["1", "2"]
    assert door.streams[1].position == listener.position == "aaaaa-1.a"


def test_a_stream_that_does_not_go_on_with_its_items_ends_the_claim_to_have_them(
    scene: ListenScene,
) -> None:
    """A hub of a version that knows no items sends no changes of them."""
    position = Position("aaaaa", 1)
    whole = wire.all_items(["a"]) + wire.whole(["a"], position)
    begun = wire.opening("x.y", ["a"], position, "all") + whole
    older = wire.opening("x.y", ["a"], position) + b"data: 1\n\n"
    door = ScriptedDoor(begun, older, b"data: 2\n\n")
    scene.hub = scene.make_hub(door)
    assert data_of(scene.listen("a"), 2) == ["1", "2"]
    assert [bool(stream.holds) for stream in door.streams] == [False, True, False]


# Its end.


def test_it_ends_when_no_event_comes_for_its_timeout_and_heartbeats_are_none(
    make_scene: cabc.Callable[..., ListenScene],
) -> None:
    scene = make_scene(MemoryBroker(), heartbeat=0.05)
    listener = scene.listen("a")
    take(listener, 2)
    scene.say("a", "1")
    assert data_of(listener, 1) == ["1"]
    listener._timeout = 0.5
    assert list(listener) == []
    assert repr(listener) == "<Listener to a: closed>"


def test_its_timeout_ends_it_while_there_is_no_hub(scene: ListenScene) -> None:
    listener = scene.listen("a", timeout=0.3)
    thread = scene.hub._thread = scene.make_thread()
    thread.refuses = RuntimeError("no")
    assert list(listener) == []


def test_close_ends_a_thread_that_waits_for_an_event(
    make_scene: cabc.Callable[..., ListenScene],
) -> None:
    scene = make_scene(MemoryBroker(), heartbeat=3600)
    listener = scene.listen("a", timeout=None)
    found: list[Event] = []
    thread = in_thread(lambda: found.extend(listener))
    until(lambda: len(found) == 2)
    listener.close()
    thread.join(20)
    assert not thread.is_alive()
    listener.close()


def test_close_ends_a_thread_that_just_gets_its_stream(
    make_scene: cabc.Callable[..., ListenScene],
) -> None:
    scene = make_scene(MemoryBroker(), heartbeat=3600)
    door = ScriptedDoor()
    scene.hub = scene.make_hub(door)
    listener = scene.listen("a", timeout=None)
    door.adopts = lambda: in_thread(listener.close).join(20)
    thread = in_thread(lambda: list(listener))
    thread.join(20)
    assert not thread.is_alive() and len(door.streams) == 1


def test_close_ends_a_thread_that_waits_for_a_hub(
    scene: ListenScene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener_module, "_FIRST_SECONDS", 60)
    monkeypatch.setattr(listener_module, "_MOST_SECONDS", 60)
    listener = scene.listen("a", timeout=None)
    hub = scene.hub._thread = scene.make_thread()
    hub.refuses = RuntimeError("no")
    thread = in_thread(lambda: list(listener))
    until(lambda: listener._failures == 1)
    listener.close()
    thread.join(20)
    assert not thread.is_alive() and "retries" not in caplog.text


def test_it_asks_again_until_there_is_a_hub_and_logs_that_once(
    scene: ListenScene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(listener_module, "_MOST_SECONDS", 0.001)
    listener = scene.listen("a")
    scene.say("a", "1")
    thread = scene.hub._thread = scene.make_thread()
    thread.refuses = RuntimeError("The hub is away.")
    found: list[str] = []
    reader = in_thread(lambda: found.extend(data_of(listener, 1)))
    until(lambda: listener._failures > 20)
    thread.refuses = None
    reader.join(20)
    assert found == ["1"]
    assert caplog.text.count("<Listener to a: away>: The hub is away.") == 1


def test_a_store_that_is_away_makes_it_wait(
    scene: ListenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "_MOST_SECONDS", 0.001)
    position, away = scene.publisher.position, threading.Event()
    away.set()

    def asked() -> str:
        if away.is_set():
            raise NotRead("The store is away.")
        return position()

    scene.hub.position = asked
    listener = scene.listen("a")
    assert listener.position == ""
    found: list[str] = []
    reader = in_thread(lambda: found.extend(data_of(listener, 1)))
    until(lambda: listener._failures > 2)
    away.clear()
    until(lambda: listener.position)
    scene.say("a", "1")
    reader.join(20)
    assert found == ["1"]


def test_a_hub_that_writes_nothing_is_asked_again(
    scene: ListenScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options_module, "_SILENCE_SECONDS", 0)
    scene.hub.heartbeat = 0.1
    listener = scene.listen("a")
    take(listener, 2)
    found: list[str] = []
    reader = in_thread(lambda: found.extend(data_of(listener, 1)))
    until(lambda: len(scene.threads[-1].streams) > 2)
    scene.say("a", "1")
    reader.join(20)
    assert found == ["1"]


def test_a_listener_of_a_busy_process_reads_what_was_there_in_time(
    scene: ListenScene,
) -> None:
    listener = scene.listen("a")
    take(listener, 2)
    sock = listener._socket
    assert sock is not None
    scene.say("a", "1")
    assert select.select([sock], [], [], 20)[0]
    listener._socket = LateSocket.of(sock)
    assert data_of(listener, 1) == ["1"]
    assert len(scene.threads[-1].streams) == 1, "its stream went on"


def test_a_listener_that_is_dropped_ends_its_stream(scene: ListenScene) -> None:
    take(scene.listen("a"), 2)
    with scene.listen("b") as other:
        take(other, 2)
        thread = scene.threads[-1].door
        until(lambda: "2 connections" in repr(thread))
        scene.listeners.clear()
        gc.collect()
        until(lambda: "1 connections" in repr(thread))
        scene.say("b", "x")
        assert data_of(other, 1) == ["x"]


def test_a_child_of_a_fork_goes_on_by_itself_and_takes_nothing_from_its_parent(
    scene: ListenScene,
) -> None:
    scene.say("a", "0")
    listener = scene.listen("a")
    take(listener, 2)
    scene.say("a", "1")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            # A copy of the store, which has the same events.
            status = 0 if data_of(listener, 1) == ["1"] else 2
            listener.close()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    scene.say("a", "2")
    assert data_of(listener, 2) == ["1", "2"]
    assert len(scene.threads[-1].streams) == 1, "its own stream went on"
