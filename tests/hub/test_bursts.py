"""Clients that come soon after one another: the hub reads their messages together.

The clock stands still unless a test moves it. So what the hub does at once, and what it
does later, does not depend on how fast the machine is.
"""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import os
import socket

import pytest

from flask_push._delivery.stream import Stream
from flask_push._hub.peer import Peer
from flask_push._hub.peer import Peers
from flask_push._ipc.messages import Messages
from flask_push._ipc.protocol import Adopt
from flask_push._ipc.protocol import StatusRequest
from flask_push._system.logs import QuietLogger

SOON, LATE = 0.009, 0.011


class Loop(asyncio.SelectorEventLoop):
    now = 0.0

    def time(self) -> float:
        return self.now


class Scene:
    """The connections of a hub, which notes the clients that it gets, and a worker."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.read: list[str] = []
        #: Called with each client.
        self.then: cabc.Callable[[str], object] = lambda name: None
        self.peers = Peers(
            self.loop,
            {Adopt: self._adopt, StatusRequest: lambda *_: self.read.append("status")},
            lambda: None,
            QuietLogger(),
        )
        ours, theirs = socket.socketpair()
        self.worker = Messages(ours)
        self.peers.connect(Messages(theirs))

    def _adopt(self, message: Adopt, _: Peer, fds: list[int]) -> None:
        assert len(fds) == 1
        self.read.append(message.stream.connection)
        self.then(message.stream.connection)

    def send(self, *names: str) -> None:
        for name in names:
            with open(os.devnull) as client:
                stream = Stream(("a",), name)
                self.worker.send(Adopt(stream).to_json(), [client.fileno()])

    def run(self, seconds: float = 0) -> None:
        """Let so much time pass, and the loop do what is due."""
        self.loop.now += seconds
        for _ in range(20):
            self.loop.run_until_complete(asyncio.sleep(0))

    def begin_burst(self) -> None:
        self.send("1")
        self.run()
        self.send("2")
        self.run(SOON)
        assert self.read == ["1", "2"]
        self.read.clear()

    def close(self) -> None:
        for peer in list(self.peers):
            peer.close()
        self.worker.close()
        self.loop.close()


@pytest.fixture
def scene() -> cabc.Iterator[Scene]:
    scene = Scene()
    yield scene
    scene.close()


def test_the_clients_of_a_burst_are_read_together(scene: Scene) -> None:
    scene.begin_burst()
    for name in "3", "4":
        scene.send(name)
        scene.run()
    assert scene.read == []
    scene.run(LATE)
    assert scene.read == ["3", "4"]
    # It goes on.
    scene.send("5", "6")
    scene.run()
    assert scene.read == ["3", "4"]
    scene.run(LATE)
    assert scene.read == ["3", "4", "5", "6"]


def test_after_a_burst_each_client_is_read_at_once(scene: Scene) -> None:
    scene.begin_burst()
    scene.run(LATE)
    for name in "3", "4":
        scene.send(name)
        scene.run(LATE)
        assert scene.read[-1] == name


def test_clients_that_come_at_ease_are_read_at_once(scene: Scene) -> None:
    for name in "1", "2", "3", "4":
        scene.send(name)
        scene.run(LATE)
        assert scene.read[-1] == name


def test_what_comes_without_a_client_begins_no_burst(scene: Scene) -> None:
    """Such as the token of a stream: nginx is about to ask for it."""
    for count in 1, 2, 3:
        scene.worker.send({"status": 1})
        scene.run(SOON)
        assert scene.read == ["status"] * count


def test_a_long_burst_leaves_the_loop_to_others(scene: Scene) -> None:
    scene.begin_burst()
    names = [str(number) for number in range(3, 60)]
    scene.send(*names)
    between: list[int] = []
    scene.then = lambda _: scene.loop.call_soon(lambda: between.append(len(scene.read)))
    scene.run(LATE)
    assert scene.read == names
    assert between[0] == 16 and len(set(between)) > 3


def test_nothing_is_read_while_another_hub_takes_over(scene: Scene) -> None:
    scene.begin_burst()
    scene.send("3")
    scene.peers.pause()
    scene.run(LATE)
    assert scene.read == []
    scene.peers.resume()
    scene.run()
    assert scene.read == ["3"]


def test_a_takeover_may_begin_with_a_burst(scene: Scene) -> None:
    scene.then = lambda name: scene.peers.pause() if name == "2" else None
    for name in "1", "2", "3":
        scene.send(name)
        scene.run(SOON)
    scene.run(LATE)
    assert scene.read == ["1", "2"]
    scene.peers.resume()
    scene.run()
    assert scene.read == ["1", "2", "3"]


def test_a_takeover_may_begin_in_the_middle_of_a_burst(scene: Scene) -> None:
    scene.begin_burst()
    scene.send("3", "4", "5", "6")
    scene.then = lambda name: scene.peers.pause() if name == "4" else None
    scene.run(LATE)
    scene.run(LATE)
    assert scene.read == ["3", "4"]
    scene.peers.resume()
    scene.run(LATE)
    scene.run(LATE)
    assert scene.read == ["3", "4", "5", "6"]


def test_the_last_clients_of_a_worker_that_ends_are_read(scene: Scene) -> None:
    scene.begin_burst()
    scene.send("3", "4")
    scene.worker.close()
    scene.run(LATE)
    scene.run(LATE)
    assert scene.read == ["3", "4"]
    assert scene.peers == set()
    scene.run(LATE)
