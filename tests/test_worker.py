"""The worker's end of the door, with hubs that fail, refuse, and come back."""

from __future__ import annotations

import collections.abc as cabc
import os
import signal
import socket
import typing as t
from dataclasses import asdict
from pathlib import Path

import pytest
from servers import end_hubs
from servers import hubs
from servers import until

from flask_push import Event
from flask_push._loop import HubThread
from flask_push._site import Site
from flask_push._stream import Options
from flask_push._stream import Stream
from flask_push._worker import HubProcess
from flask_push._worker import HubProcesses
from flask_push.brokers import open_broker

STREAM = Stream(("a",), "connection", b"HEAD\r\n\r\n")


@pytest.fixture
def worker(tmp_path: Path) -> cabc.Iterator[HubProcess]:
    worker = make(tmp_path)
    yield worker
    worker.stop()
    end_hubs(tmp_path)


def make(directory: Path, accel: str | None = None, **more: t.Any) -> HubProcess:
    broker = open_broker("sqlite:", directory)
    hello = {
        "url": broker.url,
        "retention": None,
        "timeout": 2,
        "options": asdict(Options()),
        "linger": 0.5,
        "accel": accel,
    }
    options = {"instead": lambda: HubThread(lambda: broker, Options()), **more}
    return HubProcess(Site.of(directory), hello, **options)


def adopt(hub: HubProcess | HubProcesses) -> socket.socket:
    ours, theirs = socket.socketpair()
    try:
        hub.adopt(STREAM, theirs.fileno())
    except RuntimeError:
        ours.close()
        theirs.close()
        raise
    theirs.detach()
    ours.settimeout(20)
    return ours


def read_until(sock: socket.socket, text: bytes) -> bytes:
    received = b""
    while text not in received:
        data = sock.recv(65536)
        assert data, received
        received += data
    return received


def test_a_hub_starts_with_the_first_client_and_takes_the_next(
    worker: HubProcess, tmp_path: Path
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


def test_a_worker_that_is_forked_has_a_door_of_its_own(
    worker: HubProcess, tmp_path: Path
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
    worker: HubProcess, tmp_path: Path
) -> None:
    with adopt(worker) as sock:
        read_until(sock, b"push:open")
        until(lambda: repr(worker).endswith("hub.sock: there>"))
        (first,) = hubs(tmp_path)
        os.kill(first, signal.SIGKILL)
        # Nobody asks for anything.
        until(lambda: hubs(tmp_path) not in ([], [first]))


def test_a_thread_stands_in_for_a_while_and_then_a_process_is_tried_again(
    worker: HubProcess, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "hub.log").write_text("These were its last words.\n")
    (tmp_path / "hub.lock").mkdir()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no hub now"):
            adopt(worker)
    socks = [adopt(worker) for _ in range(3)]
    for sock in socks:
        read_until(sock, b"push:open")
    assert hubs(tmp_path) == []
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert "stands in" in line and "These were its last words." in line
    assert worker._thread_until > 0
    # The time is over, and whatever it was is mended.
    worker._thread_until = 0
    (tmp_path / "hub.lock").rmdir()
    with adopt(worker) as sock:
        read_until(sock, b"push:open")
    assert len(hubs(tmp_path)) == 1
    for sock in socks:
        read_until(sock, b"retry: ")
        sock.close()


def test_each_respite_is_longer_than_the_one_before(
    worker: HubProcess, tmp_path: Path
) -> None:
    (tmp_path / "hub.lock").mkdir()
    seconds = []
    for _ in range(6):
        for _ in range(2):
            with pytest.raises(RuntimeError):
                adopt(worker)
        adopt(worker).close()
        seconds.append(worker._respite)
        worker._thread_until = 0
    assert seconds == [120, 240, 480, 900, 900, 900]


def test_a_hub_that_cannot_open_its_store_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = HubProcess(
        Site.of(tmp_path),
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
    all_of_them = HubProcesses(several)
    socks: list[socket.socket] = []

    def adopt_one(stream: Stream) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(20)
        all_of_them.adopt(stream, theirs.detach())
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
