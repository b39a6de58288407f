"""A hub's files are removed while it lives: by cleaners, by ``git clean``, by deploys."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.hub_files import files as files
from support.hub_files import run_dir as run_dir
from support.servers import end_hubs
from support.servers import hubs
from support.servers import the_hub
from support.servers import until
from support.sockets import read_until
from support.workers import adopt
from support.workers import make

from flask_push import Event
from flask_push._handoff.process_door import ProcessDoor
from flask_push._hub.process import HubProcess
from flask_push._ipc.files import HubFiles
from flask_push._system.inodes import identity
from flask_push.brokers import open_broker

Begin = cabc.Callable[[], tuple[ProcessDoor, socket.socket]]


@pytest.fixture
def begin(run_dir: Path) -> cabc.Iterator[Begin]:
    """Begin a worker, with a stream."""
    with contextlib.ExitStack() as stack:
        stack.callback(end_hubs, run_dir)

        def begin() -> tuple[ProcessDoor, socket.socket]:
            worker = make(run_dir)
            stack.callback(worker.stop)
            client = stack.enter_context(adopt(worker))
            read_until(client, b"push:open")
            return worker, client

        yield begin


def publish(run_dir: Path, data: str) -> None:
    broker = open_broker("sqlite:", run_dir)
    broker.publish([Event("a", data)])
    broker.close()


def test_a_socket_is_bound_by_the_name_that_it_keeps(begin: Begin, files: HubFiles) -> None:
    begin()
    # As systemd-tmpfiles looks, before it removes an old socket.
    bound = [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()]
    assert str(files.sock) in bound


def test_a_directory_in_use_is_locked_against_cleaners(begin: Begin, run_dir: Path) -> None:
    begin()
    fd = os.open(run_dir, os.O_RDONLY)
    try:
        with pytest.raises(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(fd)


def test_a_socket_that_is_removed_is_made_again(begin: Begin, files: HubFiles) -> None:
    _, first = begin()
    pid = the_hub(files.sock.parent)
    for n in range(2):
        files.sock.unlink()
        until(files.is_open)
        _, second = begin()
        publish(files.sock.parent, f"after {n}")
        for client in first, second:
            read_until(client, f"data: after {n}\n".encode())
    assert the_hub(files.sock.parent) == pid
    assert f"{files.sock} was removed while the hub was running" in files.log_end()


def test_connections_that_wait_at_a_removed_socket_are_accepted(files: HubFiles) -> None:
    lock = files.try_lock()
    assert lock is not None
    process = HubProcess(files, files.listen(), lock, stays=True)
    waiting = [files.connect() for _ in range(3)]
    try:
        files.sock.unlink()
        process.loop.call_soon(process._look_around)
        process.loop.call_soon(process.end, "the test is over")
        process.run()
        # Otherwise the connection would be reset, and what was sent be lost.
        assert [json.loads(sock.recv(100)[5:]) for sock in waiting] == [
            {"bye": "the test is over"}
        ] * 3
    finally:
        os.close(lock)
        for sock in waiting:
            sock.close()


def test_a_lock_that_is_removed_is_locked_again(begin: Begin, files: HubFiles) -> None:
    begin()
    files.lock.unlink()
    until(lambda: identity(files.lock))
    assert files.try_lock() is None
    assert len(hubs(files.sock.parent)) == 1


def test_a_directory_that_is_removed_is_made_again(begin: Begin, files: HubFiles) -> None:
    worker, client = begin()
    pid = the_hub(files.sock.parent)
    shutil.rmtree(files.sock.parent)
    until(files.is_open)
    assert files.sock.parent.stat().st_mode & 0o777 == 0o700
    begin()
    assert the_hub(files.sock.parent) == pid
    with adopt(worker) as again:
        read_until(again, b"push:open")
    files.sock.unlink()
    until(files.is_open)
    assert "running; the hub made it again" in files.log.read_text(), "and so was its log"


def test_a_hub_with_a_successor_leaves_and_removes_nothing(
    begin: Begin, files: HubFiles
) -> None:
    worker, client = begin()
    old = the_hub(files.sock.parent)
    os.kill(old, signal.SIGSTOP)
    try:
        shutil.rmtree(files.sock.parent)
        files.sock.parent.mkdir(0o700)
        begin()
        made = identity(files.sock), identity(files.lock)
    finally:
        os.kill(old, signal.SIGCONT)
    # Its streams are told to reconnect, and its workers find the other hub.
    read_until(client, b"retry: ")
    new = the_hub(files.sock.parent, but=old)
    assert (identity(files.sock), identity(files.lock)) == made
    with adopt(worker) as again:
        read_until(again, b"push:open")
    assert the_hub(files.sock.parent) == new


def test_a_hub_that_is_stopped_does_not_remove_another_hubs_socket(
    begin: Begin, files: HubFiles
) -> None:
    begin()
    old = the_hub(files.sock.parent)
    os.kill(old, signal.SIGSTOP)
    try:
        # Before it could have looked again.
        os.kill(old, signal.SIGTERM)
        shutil.rmtree(files.sock.parent)
        files.sock.parent.mkdir(0o700)
        begin()
        made = identity(files.sock)
    finally:
        os.kill(old, signal.SIGCONT)
    the_hub(files.sock.parent, but=old)
    assert identity(files.sock) == made


def test_a_hub_that_no_process_needs_makes_no_directory(
    begin: Begin, files: HubFiles
) -> None:
    worker, client = begin()
    shutil.rmtree(files.sock.parent)
    worker.stop()
    until(lambda: not hubs(files.sock.parent))
    assert not files.sock.parent.exists()


def test_a_hub_that_ends_removes_its_socket(begin: Begin, files: HubFiles) -> None:
    worker, _ = begin()
    files.sock.unlink()
    until(files.is_open)
    worker.stop()
    until(lambda: not hubs(files.sock.parent))
    assert not files.sock.exists()


def test_a_worker_makes_the_directory_again_for_the_next_hub(
    begin: Begin, files: HubFiles
) -> None:
    worker, _ = begin()
    (pid,) = hubs(files.sock.parent)
    os.kill(pid, signal.SIGSTOP)
    shutil.rmtree(files.sock.parent)
    os.kill(pid, signal.SIGKILL)
    until(lambda: hubs(files.sock.parent) not in ([], [pid]))
    with adopt(worker) as again:
        read_until(again, b"push:open")


def test_an_ordinary_file_in_the_place_of_the_socket_is_not_replaced(
    files: HubFiles,
) -> None:
    files.sock.write_text("precious")
    with pytest.raises(FileExistsError, match="is not a socket, and so it is not replaced"):
        files.listen()
    assert files.sock.read_text() == "precious"


def test_a_directory_that_is_gone_is_no_reason_to_listen_elsewhere(files: HubFiles) -> None:
    files.sock.parent.rmdir()
    with pytest.raises(FileNotFoundError):
        files.listen()
    assert not files.elsewhere.parent.exists()


def test_a_hub_that_is_run_by_hand_replaces_no_file(tmp_path: Path) -> None:
    (file := tmp_path / "important.txt").write_text("precious")
    command = [sys.executable, "-m", "flask", "push", "hub", "--socket", str(file)]
    for more in [], ["--replace"]:
        done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and "is not a socket" in done.stderr
    assert file.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [file]
