"""Which hub listeners use: a process that is there, or a thread of their own."""

from __future__ import annotations

import collections.abc as cabc
import gc
import os
import signal
import threading
from pathlib import Path

import pytest
from support.listeners import data_of
from support.listeners import ListenScene
from support.listeners import make_scene as make_scene
from support.listeners import Recorder
from support.listeners import take
from support.process_doors import worker as worker
from support.servers import end_hubs
from support.servers import hubs
from support.servers import kill_hubs
from support.servers import the_hub
from support.servers import until
from support.sockets import read_until
from support.workers import adopt
from support.workers import make

from flask_push._handoff import listeners_hub
from flask_push._handoff.door import NoHubThere
from flask_push._handoff.process_door import ProcessDoor
from flask_push.brokers import open_broker
from flask_push.brokers.memory import MemoryBroker


def threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("flask-push")


def test_listeners_share_one_thread_which_ends_with_the_last(
    make_scene: cabc.Callable[..., ListenScene],
) -> None:
    scene = make_scene(MemoryBroker())
    first, second = scene.listen("a"), scene.listen("b")
    assert threads() == 0, "it starts with the first stream"
    take(first, 2)
    take(second, 2)
    assert threads() == 1
    assert repr(scene.hub).startswith("<ListenersHub [2 listeners]: <")
    first.close()
    scene.say("b", "x")
    assert data_of(second, 1) == ["x"]
    second.close()
    until(lambda: threads() == 0)
    third = scene.listen("a")
    scene.say("a", "y")
    assert data_of(third, 1) == ["y"]
    assert len(scene.threads) == 2


def test_a_dropped_listener_does_not_keep_the_thread(
    make_scene: cabc.Callable[..., ListenScene],
) -> None:
    scene = make_scene(MemoryBroker())
    take(scene.listen("a"), 2)
    scene.listeners.clear()
    gc.collect()
    until(lambda: threads() == 0)
    # Python may collect it while the lock is held.
    take(scene.listen("a"), 2)
    with scene.hub._lock:
        scene.listeners.clear()
        gc.collect()
    assert threads() == 1
    with scene.listen("a") as listener:
        take(listener, 2)
    until(lambda: threads() == 0)


@pytest.fixture
def scene(
    make_scene: cabc.Callable[..., ListenScene], tmp_path: Path
) -> cabc.Iterator[ListenScene]:
    """Listeners that use a hub process, if there is one."""
    scene = make_scene(open_broker("sqlite:", tmp_path))
    scene.hub = scene.make_hub(make(tmp_path, starts=False, instead=None))
    yield scene
    scene.close()
    scene.publisher.close()
    end_hubs(tmp_path)


def test_the_hub_process_that_is_there_is_used(
    scene: ListenScene, worker: ProcessDoor, tmp_path: Path
) -> None:
    with adopt(worker) as browser:
        read_until(browser, b"push:open")
        listener = scene.listen("a")
        scene.say("a", "x")
        assert data_of(listener, 1) == ["x"]
        assert scene.threads == [] and threads() == 0
        assert len(hubs(tmp_path)) == 1


def test_a_child_of_a_fork_has_a_stream_of_its_own_at_the_hub_process(
    scene: ListenScene, worker: ProcessDoor
) -> None:
    with adopt(worker) as browser:
        read_until(browser, b"push:open")
        listener = scene.listen("a")
        scene.say("a", "0")
        assert data_of(listener, 1) == ["0"]
        stream = listener._socket
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if data_of(listener, 2) == ["1", "2"] else 2
                listener.close()
            finally:
                os._exit(status)
        scene.say("a", "1", "2")
        assert os.waitpid(child, 0)[1] == 0
        scene.say("a", "3")
        assert data_of(listener, 3) == ["1", "2", "3"]
        assert listener._socket is stream, "the child has not ended it"


def test_without_a_hub_process_none_is_started(scene: ListenScene, tmp_path: Path) -> None:
    listener = scene.listen("a")
    scene.say("a", "x")
    assert data_of(listener, 1) == ["x"]
    assert len(scene.threads) == 1 and hubs(tmp_path) == []


def test_after_a_hub_process_was_killed_the_next_one_is_used(
    scene: ListenScene,
    worker: ProcessDoor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listeners_hub, "_NEXT_HUB_SECONDS", 60)
    with adopt(worker) as browser:
        read_until(browser, b"push:open")
        listener = scene.listen("a")
        for n in range(3):
            scene.say("a", f"before {n}")
            assert data_of(listener, 1) == [f"before {n}"]
            before = the_hub(tmp_path)
            os.kill(before, signal.SIGKILL)
            scene.say("a", f"after {n}")
            assert data_of(listener, 1) == [f"after {n}"]
            assert the_hub(tmp_path, but=before) != before
        assert scene.threads == []


def test_if_no_next_hub_process_comes_a_thread_is_used(
    scene: ListenScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners_hub, "_NEXT_HUB_SECONDS", 0.1)
    # Its worker ends, so only the listener needs the hub.
    worker = make(tmp_path)
    with adopt(worker) as browser:
        read_until(browser, b"push:open")
        listener = scene.listen("a")
        take(listener, 2)
        worker.stop()
        assert len(kill_hubs(tmp_path)) == 1
        scene.say("a", "x")
        assert data_of(listener, 1) == ["x"]
    assert len(scene.threads) == 1 and hubs(tmp_path) == []


def test_a_hub_that_takes_no_stream_now_is_no_reason_for_a_thread(
    make_scene: cabc.Callable[..., ListenScene],
) -> None:
    scene = make_scene(MemoryBroker())
    door = Recorder(scene.make_thread())
    door.refuses = RuntimeError("The hub takes no stream now.")
    scene.hub = scene.make_hub(door)
    listener = scene.listen("a", timeout=0.3)
    assert list(listener) == [] and len(scene.threads) == 1
    assert scene.threads[0].streams == []
    door.refuses = NoHubThere("There is no hub now.")
    take(scene.listen("a"), 2)
    assert len(scene.threads) == 2
