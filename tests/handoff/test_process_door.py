"""The way from a worker to the hub process, with hubs that fail, refuse, and start
again."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import logging
import os
import signal
import socket
import struct
import threading
import time
from pathlib import Path

import pytest
from support.process_doors import worker as worker
from support.servers import descriptors_left
from support.servers import end_hubs
from support.servers import hubs
from support.servers import until
from support.sockets import read_until
from support.threads import inherited as inherited
from support.workers import adopt
from support.workers import make
from support.workers import STREAM

from flask_push import Event
from flask_push import Position
from flask_push._delivery.stream import Stream
from flask_push._handoff import process_door
from flask_push._handoff import spawn
from flask_push._handoff.process_door import ProcessDoor
from flask_push._handoff.shared_doors import SharedDoors
from flask_push._handoff.spawn import connect_to_hub
from flask_push._ipc import files
from flask_push._ipc.client import Client
from flask_push._ipc.files import HubFiles
from flask_push._ipc.messages import Messages
from flask_push._ipc.messages import Received
from flask_push._ipc.seen import SeenFile
from flask_push._ipc.version import version
from flask_push.brokers import open_broker

# So that a few fill a socket, however much it holds.
LARGE = STREAM._replace(head=b"HEAD\r\n" + b"x" * 50_000 + b"\r\n\r\n")


def test_a_hub_starts_with_the_first_client_and_takes_the_next(
    worker: ProcessDoor, tmp_path: Path
) -> None:
    assert repr(worker).endswith("hub.sock: not there>")
    socks = [adopt(worker) for _ in range(3)]
    for sock in socks:
        assert read_until(sock, b"push:open").startswith(b"HEAD\r\n\r\n:\nretry: ")
    until(lambda: repr(worker).endswith("hub.sock: there>"))
    assert len(hubs(tmp_path)) == 1
    broker = open_broker("sqlite:", tmp_path)
    broker.publish([Event("a", "x")])
    broker.close()
    for sock in socks:
        read_until(sock, b"data: x\n\n")
        sock.close()


def test_the_thread_that_reads_from_the_hub_inherits_no_context(
    worker: ProcessDoor, inherited: list[int]
) -> None:
    with adopt(worker) as sock:
        read_until(sock, b"push:open")
    assert inherited == [0]


def test_a_worker_that_is_forked_connects_for_itself(
    worker: ProcessDoor, tmp_path: Path
) -> None:
    with adopt(worker) as sock:
        read_until(sock, b"push:open")
        child = os.fork()
        if child == 0:
            try:
                with adopt(worker) as own:
                    read_until(own, b"push:open")
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert len(hubs(tmp_path)) == 1
        with adopt(worker) as again:
            read_until(again, b"push:open")


def test_when_a_hub_dies_its_worker_starts_the_next_at_once(
    worker: ProcessDoor, tmp_path: Path
) -> None:
    with adopt(worker) as sock:
        read_until(sock, b"push:open")
        until(lambda: repr(worker).endswith("hub.sock: there>"))
        (first,) = hubs(tmp_path)
        os.kill(first, signal.SIGKILL)
        # Nobody asks for anything.
        until(lambda: hubs(tmp_path) not in ([], [first]))


# A hub that is busy, and a process that lacks something, are no reason for a thread.


def test_a_worker_knows_the_position_that_the_hub_has_written(tmp_path: Path) -> None:
    worker = make(tmp_path)
    assert worker.positions() == [], "no hub has run yet"
    SeenFile(worker.files.seen).write(Position("aaaaa", 7))
    worker._seen._look_at = 0.0
    assert worker.positions() == [Position("aaaaa", 7)]


def thread_instead(caplog: pytest.LogCaptureFixture) -> bool:
    return "stands in" in caplog.text


def test_a_hub_that_stands_still_for_a_moment_is_waited_for(
    worker: ProcessDoor,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_door, "_AGAIN_SECONDS", 60)
    with adopt(worker) as first:
        read_until(first, b"push:open")
        (pid,) = hubs(tmp_path)
        os.kill(pid, signal.SIGSTOP)
        waiting = []
        try:
            # Until the socket is full.
            with pytest.raises(RuntimeError, match="takes no stream now"):
                for _ in range(2000):
                    waiting.append(adopt(worker, LARGE))
            # Those that follow do not wait as long again.
            pauses_until = worker._busy_until
            for _ in range(5):
                with pytest.raises(RuntimeError, match="takes no stream now"):
                    adopt(worker)
            assert worker._busy_until == pauses_until
        finally:
            os.kill(pid, signal.SIGCONT)
        worker._busy_until = 0
        again = until(lambda: try_to_adopt(worker))
        for sock in [*waiting, again]:
            read_until(sock, b"push:open")
            sock.close()
        assert hubs(tmp_path) == [pid]
    assert not thread_instead(caplog)


def try_to_adopt(worker: ProcessDoor) -> socket.socket | None:
    try:
        return adopt(worker)
    except RuntimeError:
        return None


def test_a_worker_waits_until_the_hub_takes_more(
    worker: ProcessDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SEND_SECONDS", 20)
    with adopt(worker) as first:
        read_until(first, b"push:open")
        (pid,) = hubs(tmp_path)
        os.kill(pid, signal.SIGSTOP)
        socks: list[socket.socket] = []

        def fill() -> None:
            for _ in range(200):
                socks.append(adopt(worker, LARGE))

        sender = threading.Thread(target=fill)
        sender.start()
        try:
            until(lambda: is_stuck(socks))
        finally:
            os.kill(pid, signal.SIGCONT)
        sender.join()
        assert len(socks) == 200
        for sock in socks:
            read_until(sock, b"push:open")
            sock.close()


def is_stuck(socks: list[socket.socket]) -> bool:
    before = len(socks)
    time.sleep(0.05)
    return 0 < before == len(socks)


@pytest.fixture
def full_listener(tmp_path: Path) -> cabc.Iterator[socket.socket]:
    """The socket of a hub that accepts no connection, with a queue that is full."""
    files = HubFiles.of(tmp_path)
    lock = files.try_lock()
    assert lock is not None
    listener = files.listen()
    listener.listen(0)
    waiting = []
    with contextlib.suppress(BlockingIOError):
        while True:
            waiting.append(files.connect())
    yield listener
    for sock in waiting:
        sock.close()
    listener.close()
    os.close(lock)


def test_a_stream_that_a_dead_hub_did_not_take_goes_to_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listener = HubFiles.of(tmp_path).listen()
    worker = make(tmp_path, starts=False)
    adopt(worker).close()
    with listener, listener.accept()[0] as dead:
        # It takes nothing more, and the worker has not heard of its end yet.
        dead.shutdown(socket.SHUT_RD)
        with adopt(worker) as browser:
            following = Messages(listener.accept()[0])
            received: list[Received] = []
            while len(received) < 2:
                received += following.receive()
            (hello, _), (adopted, (fd,)) = received
            assert "hello" in hello and "adopt" in adopted
            os.write(fd, b"by the next hub")
            os.close(fd)
            assert browser.recv(100) == b"by the next hub"
            until(lambda: door_threads() == 1, what="the first connection is closed")
            # It had not answered.
            assert "The hub has died" not in caplog.text
            following.close()
        worker.stop()


class Holder(logging.Filter):
    """Holds up the thread that logs a line with "wait" in it."""

    def __init__(self) -> None:
        super().__init__()
        self.holds, self.goes_on = threading.Event(), threading.Event()

    def filter(self, record: logging.LogRecord) -> bool:
        if "wait" in record.getMessage():
            self.holds.set()
            assert self.goes_on.wait(20)
        return True


@pytest.mark.parametrize("bye", [True, False])
def test_a_worker_that_finds_the_next_hub_before_it_notices_a_death_logs_the_death(
    bye: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listener = HubFiles.of(tmp_path).listen()
    worker = make(tmp_path, starts=False)
    adopt(worker).close()
    dead = Messages(listener.accept()[0])
    holder = Holder()
    process_door.logger.addFilter(holder)
    try:
        dead.send({"welcome": 1, "version": version()})
        dead.send({"log": [logging.WARNING, "wait"]})
        if bye:
            dead.send({"bye": "It was stopped."})
        dead.send({"log": [logging.WARNING, "the last line"]})
        assert holder.holds.wait(20)
        dead.close()
        adopt(worker).close()
        following, _ = listener.accept()
    finally:
        holder.goes_on.set()
        process_door.logger.removeFilter(holder)
    with listener, following:
        until(lambda: "the last line" in caplog.text)
        until(lambda: door_threads() == 1, what="the first connection is closed")
        assert ("The hub has died" in caplog.text) == (not bye)
        worker.stop()


def test_a_hub_that_takes_only_a_part_of_a_stream_has_not_died(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SEND_SECONDS", 0.1)
    listener = HubFiles.of(tmp_path).listen()
    worker = make(tmp_path, starts=False)
    adopt(worker).close()
    with listener, listener.accept()[0] as slow:
        Messages(slow).send({"welcome": 1, "version": version()})
        until(lambda: repr(worker).endswith("hub.sock: there>"))
        with pytest.raises(RuntimeError, match="took only a part"):
            adopt(worker, STREAM._replace(head=b"x" * 2_000_000))
        until(lambda: door_threads() == 0, what="both connections are closed")
        assert "The hub has died" not in caplog.text
        worker.stop()


def door_threads() -> int:
    return sum(thread.name == "flask-push door" for thread in threading.enumerate())


def test_a_worker_waits_while_the_queue_of_the_socket_is_full(
    full_listener: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spawn, "_ACCEPT_SECONDS", 20)
    entered: list[socket.socket] = []
    waits, sleep = threading.Event(), time.sleep

    def sleep_and_tell(seconds: float) -> None:
        waits.set()
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", sleep_and_tell)

    def come() -> None:
        sock, started = connect_to_hub(HubFiles.of(tmp_path))
        assert not started
        entered.append(sock)

    comes = threading.Thread(target=come)
    comes.start()
    assert waits.wait(20)
    full_listener.accept()[0].close()
    comes.join()
    entered[0].close()


@pytest.mark.parametrize("starts", [True, False])
def test_a_queue_that_stays_full_does_not_count_as_a_failed_start(
    full_listener: socket.socket,
    starts: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(spawn, "_ACCEPT_SECONDS", 0.1)
    worker = make(tmp_path, starts=starts)
    for _ in range(4):
        with pytest.raises(RuntimeError, match="takes no stream now"):
            adopt(worker)
    assert not thread_instead(caplog)
    worker.stop()


@pytest.mark.parametrize("starts, left", [(True, 0), (True, 1), (False, 0)])
def test_a_worker_without_descriptors_does_not_blame_the_hub(
    starts: bool,
    left: int,
    worker: ProcessDoor,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if not starts:
        adopt(worker).close()
        worker = make(tmp_path, starts=False)
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    try:
        with descriptors_left(left):
            for _ in range(4):
                with pytest.raises(RuntimeError, match="takes no stream now.*open files"):
                    worker.adopt(STREAM, Client(theirs.fileno()))
        worker.adopt(STREAM, Client(theirs.detach()))
        read_until(ours, b"push:open")
    finally:
        ours.close()
        theirs.close()
        worker.stop()
    assert not thread_instead(caplog)


def test_what_is_the_servers_stays_open(worker: ProcessDoor) -> None:
    ours, theirs = socket.socketpair()
    server, drain = socket.socketpair()
    with ours, theirs, server:
        ours.settimeout(20)
        number = drain.detach()
        worker.adopt(STREAM, Client(theirs.fileno(), number, borrowed=True))
        with pytest.raises(OSError):
            os.fstat(number)
        theirs.send(b"written by the server")
        read_until(ours, b"written by the server")


def test_a_stream_that_is_too_large_disturbs_no_other(
    worker: ProcessDoor, tmp_path: Path
) -> None:
    with adopt(worker) as sock:
        read_until(sock, b"push:open")
        ours, theirs = socket.socketpair()
        with ours, theirs, pytest.raises(RuntimeError, match="is too large"):
            worker.adopt(STREAM._replace(head=b"x" * 5_000_000), Client(theirs.fileno()))
        until(lambda: repr(worker).endswith("hub.sock: there>"))
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)


def test_a_probe_expects_a_hub_that_is_run_by_hand(tmp_path: Path) -> None:
    door = make(tmp_path, starts=False)
    with pytest.raises(FileNotFoundError, match="No hub is running at"):
        door.answers(time.monotonic() + 20)


def test_a_worker_that_starts_no_hub_says_how_to_start_one(tmp_path: Path) -> None:
    worker = make(tmp_path, starts=False)
    cure = f"PUSH_HUB names {tmp_path}.*, where no hub answers .*'flask push hub --socket "
    with pytest.raises(RuntimeError, match=cure):
        adopt(worker)
    worker.stop()


# What makes no sense.


def test_a_worker_goes_on_after_invalid_messages(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listener = HubFiles.of(tmp_path).listen()
    worker = make(tmp_path, starts=False)
    browser = adopt(worker)
    hub = Messages(listener.accept()[0])
    hub.sock.sendall(struct.pack("!IB", 5, 0) + b'{"log')
    for message in {"log": 1}, {"log": ["x", "y"]}, {"welcome": 1}, {}:
        hub.send(message)
    hub.send({"log": [logging.WARNING, "and goes on"]}, [0])
    until(lambda: "and goes on" in caplog.text)
    assert "Received an invalid message from the hub" in caplog.text
    assert caplog.text.count("Failed to handle a message from the hub") == 1
    hub.close()
    until(lambda: repr(worker).endswith("not there>"), what="it knows that the hub died")
    browser.close()
    listener.close()
    worker.stop()


def test_a_hub_that_cannot_open_its_store_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = ProcessDoor(
        HubFiles.of(tmp_path),
        {
            "url": "unknown:",
            "retention": None,
            "timeout": 2,
            "options": {},
            "linger": 0.5,
        },
    )
    try:
        with adopt(worker) as sock:
            assert read_until(sock, b"retry: ").startswith(b"HEAD\r\n\r\n:\nretry: ")
        until(lambda: "No broker knows 'unknown:'" in caplog.text)
        with pytest.raises(RuntimeError, match="No broker knows"):
            adopt(worker)
    finally:
        worker.stop()
        end_hubs(tmp_path)


def test_a_user_has_one_hub_of_several(tmp_path: Path) -> None:
    several = []
    for name in "abc":
        (tmp_path / name).mkdir()
        several.append(make(tmp_path / name))
    all_of_them = SharedDoors(several)
    socks: list[socket.socket] = []

    def adopt_one(stream: Stream) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(20)
        all_of_them.adopt(stream, Client(theirs.detach()))
        socks.append(ours)

    try:
        for n in range(30):
            adopt_one(Stream(("a",), f"c{n}", user="ann"))
        until(lambda: len(hubs(tmp_path)) == 1)
        for n in range(30):
            adopt_one(Stream(("a",), f"c{n}"))
        until(lambda: len(hubs(tmp_path)) == 3)
        for sock in socks:
            read_until(sock, b"push:open")
    finally:
        for sock in socks:
            sock.close()
        all_of_them.stop()
        end_hubs(tmp_path)
