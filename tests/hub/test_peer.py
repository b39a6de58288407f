"""Processes of the app's own user that misbehave at the hub's socket."""

from __future__ import annotations

import array
import collections.abc as cabc
import contextlib
import json
import os
import random
import socket
import struct
import typing as t
from dataclasses import asdict
from pathlib import Path

import pytest
from support.followed_runs import StoredRun
from support.servers import end_hubs
from support.servers import hubs
from support.servers import until
from support.sockets import read_until
from support.workers import adopt
from support.workers import make
from support.workers import STREAM

from flask_push import Event
from flask_push._delivery.follow import Follow
from flask_push._delivery.options import Options
from flask_push._delivery.snapshot import stream_to_json
from flask_push._handoff.spawn import start_process
from flask_push._ipc.files import HubFiles
from flask_push._ipc.messages import Messages
from flask_push.brokers import open_broker
from flask_push.brokers.memory import MemoryBroker


class Scene:
    """A hub that has a stream, which nothing may disturb."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.worker = make(directory, options={"heartbeat": 0.2})
        self.reader = adopt(self.worker)
        read_until(self.reader, b"push:open")
        self.broker = open_broker("sqlite:", directory)
        (self.pid,) = hubs(directory)
        self.count = 0

    def check(self) -> None:
        """The stream gets an event, and then a heartbeat."""
        self.count += 1
        self.broker.publish([Event("a", f"event {self.count}")])
        after = read_until(self.reader, f"data: event {self.count}\n\n".encode())
        if b"\n:\n" not in after.partition(b"data: ")[2]:
            read_until(self.reader, b":\n")
        assert hubs(self.directory) == [self.pid]
        with contextlib.closing(adopt(self.worker)) as another:
            read_until(another, b"push:open")

    def connect(self) -> Messages:
        return Messages(HubFiles.of(self.directory).connect())

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def log(self) -> str:
        return (self.directory / "hub.log").read_text()

    def close(self) -> None:
        self.reader.close()
        self.broker.close()
        self.worker.stop()
        end_hubs(self.directory)


@pytest.fixture
def scene(tmp_path: Path) -> cabc.Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.close()


HELLO: dict[str, t.Any] = {"retention": None, "timeout": 2, "linger": 0.5}
GOOD = stream_to_json(STREAM)
ODD: list[t.Any] = ["x", None, [], {}, True, -1, float("nan")]


def odd_streams() -> cabc.Iterator[t.Any]:
    yield from (None, 1, [], {}, "stream")
    for name in GOOD:
        for value in [1, 1.5, [1], [None], *ODD]:
            if value not in (GOOD[name], None) or name not in ("user", "address"):
                yield {**GOOD, name: value}
    for name in "channels", "connection":
        yield {key: value for key, value in GOOD.items() if key != name}


def odd_hellos(url: str) -> cabc.Iterator[t.Any]:
    good = {**HELLO, "url": url, "options": asdict(Options())}
    yield from (None, 1, [], {}, {"url": url}, {**HELLO, "url": url})
    for name in "linger", "timeout", "options", "retention", "return_keys", "bridges":
        for value in "x", [1], {"x": 1}:
            if (name, value) != ("options", {"x": 1}):
                yield {**good, name: value}
    for name in "linger", "timeout", "began":
        for value in [-1, float("nan"), float("inf"), *ODD[:3]]:
            yield {**good, name: value}
    for option, default in asdict(Options()).items():
        for value in ODD:
            if type(value) is not bool or type(default) is not bool:
                yield {**good, "options": {option: value}}


@pytest.mark.parametrize("agreed", [True, False])
def test_invalid_messages_disturb_no_stream(agreed: bool, scene: Scene) -> None:
    peer = scene.connect()
    if agreed:
        assert "welcome" in peer.ask(scene.worker.hello.to_json())
    # So that it has been accepted.
    assert "status" in peer.ask({"status": 1})
    before = scene.descriptors()
    with open("/dev/null") as null, open(__file__) as file:
        fds = [null.fileno()]
        for stream in odd_streams():
            peer.send({"adopt": stream}, fds)
            peer.send({"follow": stream}, fds)
            peer.send({"adopt": stream})
            peer.send({"expect": stream, "ticket": 1})
        for count in 0, 3, 10:
            peer.send({"adopt": GOOD}, fds * count)
        # No socket at all.
        for others in fds, [file.fileno()], [null.fileno(), file.fileno()]:
            peer.send({"adopt": GOOD}, others)
        more: list[dict[str, t.Any]] = [{}, {"x": 1}, {"replace": 1}, {"replace": {}}]
        for message in more:
            peer.send(message, fds)
    assert "status" in answer_of(peer, {"status": 1})
    scene.check()
    assert scene.log.count("Failed to handle a message from a worker") == 1
    until(lambda: scene.descriptors() <= before)
    peer.close()


def test_a_hub_that_takes_over_says_again_what_it_is_able_to_do(scene: Scene) -> None:
    peer = scene.connect()
    peer.sock.settimeout(20)
    first = peer.ask(scene.worker.hello.to_json())
    assert "welcome" in first and first["follows"] is True
    start_process(HubFiles.of(scene.directory), "--replace", "--force")
    ((second, _),) = peer.receive()
    assert second == first
    until(lambda: hubs(scene.directory) != [scene.pid])
    peer.close()


def test_a_run_is_followed_over_several_hub_processes(scene: Scene) -> None:
    run = StoredRun(t.cast(MemoryBroker, scene.broker), "a").enter()
    follow = Follow("a", run.tag, "openai", run.epoch, run.start, framing="chunked")
    peer = scene.connect()
    assert "welcome" in peer.ask(scene.worker.hello.to_json())
    client, theirs = socket.socketpair()
    with client, theirs:
        client.settimeout(20)
        stream = stream_to_json(STREAM._replace(follow=follow))
        peer.send({"follow": stream}, [theirs.fileno()])
        theirs.close()
        run.write("1")
        read_until(client, b"data: 1\n\n")
        start_process(HubFiles.of(scene.directory), "--replace", "--force")
        # It has the right to write.
        ((message, _),) = peer.receive()
        assert "welcome" in message
        run.write("2")
        run.end()
        rest = read_until(client, b"0\r\n\r\n")
        assert b"data: 2\n\n" in rest and b"data: 1" not in rest
    peer.close()


def test_a_server_that_writes_without_end_disturbs_no_stream(scene: Scene) -> None:
    peer = scene.connect()
    assert "welcome" in peer.ask(scene.worker.hello.to_json())
    before = scene.descriptors()
    browser, theirs = socket.socketpair()
    with browser, theirs, open("/dev/random", "rb") as endless:
        peer.send({"adopt": GOOD}, [theirs.fileno(), endless.fileno()])
        browser.settimeout(20)
        read_until(browser, b"push:open")
        scene.check()
        until(lambda: scene.descriptors() <= before + 1)
    peer.close()


def test_a_socket_that_takes_nothing_does_not_hold_up_the_hub(scene: Scene) -> None:
    """That of a process with which there is no agreement yet."""
    peer = scene.connect()
    full, theirs = socket.socketpair()
    with full, theirs:
        full.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                full.send(b"x" * 1000)
        full.setblocking(True)
        peer.send({"adopt": GOOD}, [full.fileno()])
        scene.check()
    peer.close()


def answer_of(peer: Messages, message: dict[str, t.Any]) -> dict[str, t.Any]:
    """The answer to a message, which comes after those to earlier ones."""
    peer.send(message)
    while True:
        for answer, _ in peer.receive():
            if answer.keys() & message.keys():
                return answer


def test_an_invalid_hello_is_refused_and_changes_nothing(scene: Scene) -> None:
    url = scene.broker.url
    for hello in odd_hellos(url):
        with contextlib.closing(scene.connect()) as peer:
            peer.send({"hello": hello})
            # What is asked next is answered in any case.
            peer.send({"status": 1})
            ((answer, _), *_) = peer.receive()
            assert "refused" in answer, (hello, answer, scene.log)
    scene.check()


def test_garbage_disturbs_no_stream(scene: Scene) -> None:
    chance = random.Random(1)
    before = scene.descriptors()
    peers = []
    for _ in range(50):
        sock = HubFiles.of(scene.directory).connect()
        sock.settimeout(1)
        rights = array.array("i", [0] * chance.randrange(1, 200))
        data = chance.randbytes(chance.randrange(1, 100_000))
        if chance.random() < 0.5:
            body = json.dumps({"adopt": GOOD}).encode()
            data = struct.pack("!IB", len(body), chance.randrange(3)) + body[:-1] + data
        with contextlib.suppress(OSError):
            sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        peers.append(sock)
        if chance.random() < 0.2:
            scene.check()
    for sock in peers:
        sock.close()
    until(lambda: scene.descriptors() <= before)
    scene.check()


def test_a_process_that_never_reads_disturbs_no_stream(scene: Scene) -> None:
    peer = scene.connect()
    # Far more answers than a socket holds.
    for _ in range(20_000):
        peer.send({"status": 1})
    scene.check()
    peer.close()
    scene.check()


def test_ten_thousand_descriptors_disturb_no_stream(scene: Scene) -> None:
    peer = scene.connect()
    assert "status" in peer.ask({"status": 1})
    before = scene.descriptors()
    rights = array.array("i", [0] * 200)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
    body = b'{"status": 1}'
    for _ in range(25):
        peer.sock.sendmsg([struct.pack("!IB", len(body), 0) + body], ancillary)
        peer.sock.sendmsg([struct.pack("!IB", len(body), 200) + body], ancillary)
    # Half of a message, and its descriptors wait for the rest.
    peer.sock.sendmsg([struct.pack("!IB", len(body), 200)], ancillary)
    until(lambda: scene.descriptors() >= before + 200)
    scene.check()
    assert scene.descriptors() <= before + 250
    peer.close()
    until(lambda: scene.descriptors() < before)


def test_a_process_that_stops_in_the_middle_of_a_message_disturbs_no_stream(
    scene: Scene,
) -> None:
    peers = []
    for _ in range(20):
        sock = HubFiles.of(scene.directory).connect()
        sock.sendall(struct.pack("!IB", 1_000_000, 0) + b'{"status": "' + b"x" * 100_000)
        peers.append(sock)
    scene.check()
    for sock in peers:
        sock.close()
