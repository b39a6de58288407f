"""A listener that watches who is present."""

from __future__ import annotations

import collections.abc as cabc

import pytest
from support.listeners import ListenScene
from support.listeners import make_scene as make_scene
from support.listeners import ScriptedDoor
from support.listeners import take

from flask_push import Position
from flask_push._delivery import wire
from flask_push._delivery.stream_presence import NOTHING
from flask_push._delivery.stream_presence import StreamPresence
from flask_push.brokers.memory import MemoryBroker

POSITION = Position("aaaaa", 1)
JOINED = b"""id: aaaaa-1.r.ann.1
event: push:joined
data: {"channel":"r","user":"ann","info":1}

"""
LEFT = b"""id: aaaaa-3.r.ann
event: push:left
data: {"channel":"r","user":"ann"}

"""
COUNT = b"""id: aaaaa-4.r.-
event: push:count
data: {"channel":"r","count":7}

"""
EVENT = b"id: aaaaa-5.r\ndata: an event\n\n"
GAP = wire.gap(["r"], "trimmed", 0.0, Position("aaaaa", 6))
ITEM = b"id: aaaaa-7.r.x\ndata: 1\n\n"
UNSET = b'id: aaaaa-8.r.x\nevent: push:unset\ndata: {"channel":"r","item":"x"}\n\n'
OPEN = wire.opening("x.y", ["r"], POSITION, "all", ["r"])
ALL = wire.all_items(["r"], ["r"]) + JOINED + wire.whole(["r"], POSITION, ["r"])
OTHERS = EVENT + GAP + ITEM + UNSET

PRESENCE = ["push:items", "push:joined", "push:whole", "push:left", "push:count"]


@pytest.fixture
def scene(make_scene: cabc.Callable[..., ListenScene]) -> ListenScene:
    return make_scene(MemoryBroker())


def test_it_returns_who_joins_and_leaves_as_events(scene: ListenScene) -> None:
    door = ScriptedDoor(OPEN + ALL + LEFT + COUNT + OTHERS, b"")
    scene.hub = scene.make_hub(door)
    found = take(scene.listen("r", watch=("r",)), 9)
    others = ["message", "push:gap", "message", "push:unset"]
    assert [event.type for event in found] == [*PRESENCE, *others]
    joined = found[1]
    assert (joined.channel, joined.item, joined.json["info"]) == ("r", "ann", 1)
    assert door.streams[0].presence == StreamPresence(watch=("r",))
    assert door.streams[0].channels == ("r",)


def test_one_that_only_watches_returns_nothing_else(scene: ListenScene) -> None:
    door = ScriptedDoor(OPEN + OTHERS + ALL + LEFT + OTHERS + COUNT, b"")
    scene.hub = scene.make_hub(door)
    listener = scene.listen(watch=("r", "s"))
    assert [event.type for event in take(listener, 5)] == PRESENCE
    assert door.streams[0].presence == StreamPresence(watch=("r", "s"))
    assert listener.position == "aaaaa-4.r.-"


def test_one_that_watches_nothing_has_a_stream_as_before(scene: ListenScene) -> None:
    door = ScriptedDoor(wire.opening("x.y", ["r"], POSITION) + EVENT, b"")
    scene.hub = scene.make_hub(door)
    take(scene.listen("r"), 1)
    assert door.streams[0].presence is NOTHING


def test_a_hub_that_does_not_know_who_is_present_is_logged_once(
    scene: ListenScene, caplog: pytest.LogCaptureFixture
) -> None:
    older = wire.opening("x.y", ["r"], POSITION) + EVENT
    door = ScriptedDoor(older, older, OPEN + EVENT, b"")
    scene.hub = scene.make_hub(door)
    take(scene.listen("r", watch=("r",)), 3)
    (line,) = caplog.messages
    assert "the hub is of an older version" in line and "Listener to r" in line
