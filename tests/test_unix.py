"""Messages between processes, the descriptors in them, and who is at the other end."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import resource
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest
from servers import end_hubs
from servers import hubs
from servers import until
from test_worker import adopt
from test_worker import make
from test_worker import read_until

from flask_push._site import Site
from flask_push._unix import Messages

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
def pair() -> cabc.Iterator[tuple[Messages, Messages]]:
    ours, theirs = map(Messages, socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture
def public() -> cabc.Iterator[Path]:
    """A directory that anybody may write to."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


def test_messages_arrive_whole_with_their_descriptors(
    pair: tuple[Messages, Messages],
) -> None:
    ours, theirs = pair
    read, write = os.pipe()
    ours.send({"one": 1})
    ours.send({"two": "x" * 1000}, [write])
    os.close(write)
    (one, none), (two, (sent,)) = theirs.receive()
    assert (one, none, two) == ({"one": 1}, [], {"two": "x" * 1000})
    os.write(sent, b"by the other end")
    assert os.read(read, 100) == b"by the other end"
    os.close(sent)
    os.close(read)


def test_a_message_whose_descriptors_were_lost_is_not_taken(
    pair: tuple[Messages, Messages],
) -> None:
    ours, theirs = pair
    ours.send({"adopt": 1}, [0, 1, 2])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # One of the three has room.
    with contextlib.closing(socket.socket()) as free:
        room = free.fileno() + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (room, hard))
    try:
        with pytest.raises(OSError, match="descriptors were lost"):
            theirs.receive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_hub_does_not_let_another_user_in(public: Path) -> None:
    worker = make(public)
    try:
        client = adopt(worker)
        read_until(client, b"push:open")
        door = Site.of(public).door
        door.chmod(0o666)
        come = subprocess.run([*NOBODY, COMES, door], capture_output=True, text=True)
        assert (come.stdout, come.stderr) == ("b''", "")
        words = f"User 65534 tried to connect to the hub of user {os.geteuid()}."
        until(lambda: words in Site.of(public).last_words())
        client.close()
    finally:
        worker.stop()
        end_hubs(public)


def test_a_worker_gives_nothing_to_another_users_hub(public: Path) -> None:
    door = Site.of(public).door
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
