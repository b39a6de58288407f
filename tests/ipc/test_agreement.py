"""What workers tell the hub, and for how long it counts."""

from __future__ import annotations

import os
import socket
import time
import typing as t
from pathlib import Path

import pytest
from support.process_doors import worker as worker
from support.servers import end_hubs
from support.servers import hubs
from support.servers import until
from support.sockets import read_until
from support.workers import adopt
from support.workers import make
from support.workers import STREAM

from flask_push._delivery.tickets import ReturnTickets
from flask_push._delivery.tickets import TicketRequest
from flask_push._handoff.process_door import ProcessDoor
from flask_push._ipc.agreement import Agreement
from flask_push._ipc.files import HubFiles
from flask_push._ipc.messages import Messages
from flask_push._ipc.seen import SeenFile
from flask_push.brokers import Retention

# What workers tell the hub, and for how long it counts.


def is_good(path: Path, key: bytes) -> bool:
    """Whether a return ticket that was signed with the key is."""
    asked = TicketRequest(b"/stream", "", host="a.test")
    # As of a request that has just arrived at a process of the app.
    known = SeenFile(HubFiles.of(path.parent).seen).read()
    stream = STREAM._replace(session="", seen=str(known))
    ticket = ReturnTickets([key]).make(stream, [], asked, time.time(), 600)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(path))
        lines = [
            *("GET /stream HTTP/1.1", "Host: a.test", "X-Push-Return: 1"),
            *(f"Cookie: push_ticket={ticket}", "Last-Event-ID: e-1.a"),
        ]
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        return sock.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_the_keys_count_of_the_worker_that_began_last(tmp_path: Path) -> None:
    path = tmp_path / "accel.sock"
    old = make(tmp_path, str(path), (b"old",))
    new, last = (make(tmp_path, str(path), (b"new",)) for _ in range(2))
    socks = []
    try:
        # The older one comes to the hub with its first stream, which may be later.
        for worker in new, old, last:
            socks.append(adopt(worker))
            read_until(socks[-1], b"push:open")
            assert is_good(path, b"new") and not is_good(path, b"old")
        new.stop()
        until(lambda: processes(tmp_path) == 2)
        assert is_good(path, b"new"), "another worker has the key"
        last.stop()
        until(lambda: not is_good(path, b"new"))
        assert not is_good(path, b"old"), "it was replaced"
    finally:
        for sock in socks:
            sock.close()
        for worker in old, new, last:
            worker.stop()
        end_hubs(tmp_path)


def test_a_hub_that_is_not_replaced_after_all_knows_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "accel.sock"
    worker = make(tmp_path, str(path), (b"key",))
    try:
        with adopt(worker) as sock:
            read_until(sock, b"push:open")
            successor = Messages(HubFiles.of(tmp_path).connect())
            successor.send({"replace": {"version": "99", "forced": True}})
            successor.close()
            until(lambda: "was not replaced" in (tmp_path / "hub.log").read_text())
            assert is_good(path, b"key")
    finally:
        worker.stop()
        end_hubs(tmp_path)


def processes(directory: Path) -> int:
    """How many workers the hub knows."""
    messages = Messages(HubFiles.of(directory).connect())
    try:
        return int(messages.ask({"status": 1})["status"]["processes"])
    finally:
        messages.close()


def test_a_hub_stays_while_a_worker_is_connected(tmp_path: Path) -> None:
    """The worker may be one of another app, and so not be tied to it."""
    worker = make(tmp_path)
    try:
        adopt(worker).close()
        (pid,) = until(lambda: hubs(tmp_path))
        # Much longer than it lingers, and without a stream.
        log = tmp_path / "hub.log"
        until(lambda: age(pid) > 4)
        assert hubs(tmp_path) == [pid] and "The hub ends" not in log.read_text()
        worker.stop()
        until(lambda: not hubs(tmp_path))
        assert "The hub ends" in log.read_text()
    finally:
        worker.stop()
        end_hubs(tmp_path)


def age(pid: int) -> float:
    """For how many seconds a process has been there."""
    since = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - since / os.sysconf("SC_CLK_TCK")


def test_a_hub_that_ends_tells_all_who_are_connected(
    worker: ProcessDoor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with adopt(worker) as sock:
        read_until(sock, b"push:open")
        until(lambda: repr(worker).endswith("hub.sock: there>"))
        messages, stops = (Messages(HubFiles.of(tmp_path).connect()) for _ in range(2))
        assert "status" in messages.ask({"status": 1})
        stops.send({"stop": 1})
        ((message, _),) = messages.receive()
        assert message == {"bye": "it was stopped"}
        messages.close()
        stops.close()
        until(lambda: repr(worker).endswith("hub.sock: not there>"))
        until(lambda: not hubs(tmp_path))
    assert "has died" not in caplog.text
    assert hubs(tmp_path) == [], "nobody has started another"


def test_a_worker_that_could_not_introduce_itself_is_not_connected(tmp_path: Path) -> None:
    worker = make(tmp_path, accel="x" * 5_000_000)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="is too large"):
            adopt(worker)
        assert repr(worker).endswith("hub.sock: not there>")
    worker.stop()
    end_hubs(tmp_path)


def hello(**more: t.Any) -> dict[str, t.Any]:
    return {"url": "x:", "timeout": 1, "options": {}, "linger": 1, **more}


def test_a_hub_opens_the_store_with_the_bounds_of_its_worker() -> None:
    kept = [60.5, 5, 2**20]
    agreed = Agreement.of(hello(retention=kept, items=[7, 2000]), None)
    assert agreed.retention == Retention(60.5, 5, 2**20, 7, 2000)
    newer = hello(retention=[*kept, "new"], items=[7, 2000, "new"])
    assert Agreement.of(newer, None).retention == agreed.retention
    older = Agreement.of(hello(retention=kept), None)
    assert older.retention == Retention(60.5, 5, 2**20)
    assert Agreement.of(hello(retention=None, items=[7, 2000]), None).retention is None
    with pytest.raises(ValueError):
        Agreement.of(hello(retention=kept, items=["many", 1]), None)
