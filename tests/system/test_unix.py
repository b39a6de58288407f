"""Who is at the other end of a Unix socket."""

from __future__ import annotations

import collections.abc as cabc
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from support.servers import end_hubs
from support.servers import hubs
from support.servers import until
from support.sockets import read_until
from support.workers import adopt
from support.workers import make

from flask_push._ipc.files import HubFiles
from flask_push._system import unix

# Another user than that of the tests, which takes root to become.
SUDO = [] if os.geteuid() == 0 else ["sudo", "-n"]


NOBODY = [*SUDO, "setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c"]


COMES = """
import socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.settimeout(20)
    sock.connect(sys.argv[1])
    sys.stdout.write(repr(sock.recv(100)))
"""


WAITS = """
import socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.bind(sys.argv[1])
    sock.listen()
    print("there", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def public() -> cabc.Iterator[Path]:
    """A directory that anybody may write to."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


def test_a_hub_does_not_let_another_user_in(public: Path) -> None:
    worker = make(public)
    try:
        client = adopt(worker)
        read_until(client, b"push:open")
        door = HubFiles.of(public).sock
        door.chmod(0o666)
        come = subprocess.run([*NOBODY, COMES, door], capture_output=True, text=True)
        assert (come.stdout, come.stderr) == ("b''", "")
        words = f"User 65534 tried to connect to the hub of user {os.geteuid()}."
        until(lambda: words in HubFiles.of(public).log_end())
        client.close()
    finally:
        worker.stop()
        end_hubs(public)


def test_a_worker_gives_nothing_to_another_users_hub(public: Path) -> None:
    door = HubFiles.of(public).sock
    with subprocess.Popen(
        [*NOBODY, WAITS, door], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as stranger:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == b"there\n"
        worker = make(public)
        try:
            with pytest.raises(RuntimeError, match="runs as user 65534, and this process"):
                adopt(worker)
        finally:
            worker.stop()
            stranger.communicate()
    assert hubs(public) == []


def test_a_system_without_unix_sockets_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with unix.unix_socket() as sock, socket.socket() as other:
        assert unix.is_unix(sock) and not unix.is_unix(other)
        monkeypatch.delattr(socket, "AF_UNIX")
        assert not unix.is_unix(sock)
    with pytest.raises(OSError, match="this system has no Unix sockets"):
        unix.unix_socket()
    with pytest.raises(OSError, match="this system has no Unix sockets"):
        HubFiles(Path("/nowhere/hub.sock")).connect()


def test_a_path_that_is_too_long_is_an_error_where_nothing_shortens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ("x" * unix.MOST_OF_A_PATH) / "sock"
    path.parent.mkdir()
    with unix.short_path(path) as short:
        assert len(short) < unix.MOST_OF_A_PATH
    monkeypatch.setattr(unix, "_HAVE_PATHS", False)
    with unix.short_path(Path("/short")) as short:
        assert short == "/short"
    with pytest.raises(OSError, match="too long for a socket") as raised:
        unix.short_path(path).__enter__()
    assert raised.value.filename == str(path)


def test_a_system_may_not_say_who_is_at_the_other_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert unix.peer_uid(ours) == os.geteuid()
        monkeypatch.delattr(socket, "SO_PEERCRED")
        with pytest.raises(OSError, match="does not say who is at the other end"):
            unix.peer_uid(ours)


def test_descriptors_travel_with_bytes() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert unix.send_descriptors(ours, b"two", [0, 1]) == 3
        assert unix.send_descriptors(ours, b"none", []) == 4
        data, fds = unix.receive_descriptors(theirs, 100)
        assert data == b"two" and len(fds) == 2
        for fd in fds:
            assert not os.get_inheritable(fd)
            os.close(fd)
        assert unix.receive_descriptors(theirs, 100) == (b"none", [])
