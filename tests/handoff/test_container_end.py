"""What a process does for the hub when its container ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.process_doors import worker as worker
from support.servers import hubs
from support.servers import the_hub
from support.servers import until
from support.workers import adopt

from flask_push._handoff import container_end
from flask_push._handoff.container_end import ContainerEnd
from flask_push._handoff.container_end import end_hubs
from flask_push._handoff.process_door import ProcessDoor
from flask_push._ipc.messages import Messages
from flask_push._ipc.protocol import ContainerEnds
from flask_push._ipc.protocol import Refused
from flask_push._system.namespace import namespace

# Listens, then doesn't.
SERVER = """
import socket, sys
with socket.socket(fileno=int(sys.argv[1])):
    print("listens", flush=True)
    sys.stdin.readline()
print("ends", flush=True)
sys.stdin.readline()
"""


def test_a_hub_of_this_container_has_ended_its_streams_when_the_process_goes_on(
    worker: ProcessDoor,
) -> None:
    with adopt(worker) as client:
        while b"push:open" not in client.recv(65536):
            pass
        pid = the_hub(worker.files.sock.parent)
        # The hub is busy for a moment.
        os.kill(pid, signal.SIGSTOP)
        timer = threading.Timer(0.5, os.kill, (pid, signal.SIGCONT))
        timer.start()
        end_hubs([worker.files])
        client.setblocking(False)
        assert b"retry: " in client.recv(65536)
        assert client.recv(65536) == b""
        timer.join()
    until(lambda: not hubs(worker.files.sock.parent))


def test_a_hub_of_another_container_refuses(worker: ProcessDoor) -> None:
    adopt(worker).close()
    pid = the_hub(worker.files.sock.parent)
    messages = Messages(worker.files.connect())
    answer = messages.ask(ContainerEnds(namespace() + 1).to_json())
    messages.close()
    assert Refused.key in answer
    assert hubs(worker.files.sock.parent) == [pid]


def test_nothing_is_done_where_no_hub_runs(
    tmp_path: Path, worker: ProcessDoor, caplog: pytest.LogCaptureFixture
) -> None:
    end_hubs([worker.files])
    assert not hubs(tmp_path)
    assert not caplog.records


def test_a_process_ends_with_its_container_if_the_main_process_listens_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as sock:
        sock.listen()
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(sock.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[sock.fileno()],
        )
        assert server.stdin is not None and server.stdout is not None
        with server, server.stdin:
            assert server.stdout.readline() == b"listens\n"
            # Outside of a container, nothing ends with any process.
            outside = ContainerEnd([])
            monkeypatch.setattr(container_end, "main_process", lambda: server.pid)
            within = ContainerEnd([])
            monkeypatch.setattr(container_end, "main_process", os.getpid)
            itself = ContainerEnd([])
            assert [outside._ends(), within._ends(), itself._ends()] == [0, 0, 1]
            server.stdin.write(b"\n")
            server.stdin.flush()
            assert server.stdout.readline() == b"ends\n"
            assert [outside._ends(), within._ends(), itself._ends()] == [0, 1, 1]
        assert [outside._ends(), within._ends(), itself._ends()] == [0, 1, 1]


def test_a_process_that_never_shared_a_socket_with_the_main_one_does_not_end_hubs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(container_end, "main_process", os.getppid)
    with socket.socket() as sock:
        sock.listen()
        other = ContainerEnd([])
    assert not other._ends()
