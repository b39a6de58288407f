"""Bytes that are sent to a path."""

from __future__ import annotations

import multiprocessing
import os
import select
import socket
from pathlib import Path

import pytest
from support.servers import until

from flask_push._system import unix
from flask_push._system.datagrams import is_receiver
from flask_push._system.datagrams import Receiver
from flask_push._system.datagrams import Sender


@pytest.fixture(params=["a Unix socket", "a port"])
def path(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A path that can be a Unix socket's; and one that is too long on a system that has no
    short names for it."""
    if request.param == "a Unix socket":
        return tmp_path / "bell"
    monkeypatch.setattr(unix, "_HAVE_PATHS", False)
    (long := tmp_path / ("x" * 120)).mkdir()
    return long / "bell"


@pytest.fixture
def sender() -> Sender:
    return Sender()


def is_readable(receiver: Receiver) -> bool:
    return bool(select.select([receiver], [], [], 0)[0])


def test_a_byte_makes_the_receiver_readable(path: Path, sender: Sender) -> None:
    receiver = Receiver(path)
    assert is_receiver(path) and receiver.is_there
    assert not is_readable(receiver)
    assert sender.send(path)
    assert select.select([receiver], [], [], 5)[0]
    receiver.empty()
    assert not is_readable(receiver)
    receiver.close()
    sender.close()
    assert not path.exists()


def test_a_sender_does_not_wait_for_a_receiver_that_reads_nothing(
    path: Path, sender: Sender
) -> None:
    receiver = Receiver(path)
    assert all([sender.send(path) for _ in range(2000)])
    receiver.close()
    sender.close()


def test_a_receiver_reads_a_datagram_of_any_size(path: Path, sender: Sender) -> None:
    """Windows fails if it can't read all of it."""
    receiver = Receiver(path)
    with socket.socket(receiver._socket.family, socket.SOCK_DGRAM) as other:
        other.sendto(b"x" * 60_000, receiver._socket.getsockname())
    until(lambda: is_readable(receiver))
    receiver.empty()
    assert not is_readable(receiver)
    receiver.close()


def test_a_sender_finds_out_that_there_is_no_receiver(path: Path, sender: Sender) -> None:
    assert not sender.send(path)
    receiver = Receiver(path)
    # As if its process were killed.
    receiver._socket.close()
    if receiver._file is not None:
        os.close(receiver._file)
    assert path.exists()
    assert not sender.send(path)
    sender.close()


def _send(path: Path) -> None:
    os._exit(0 if Sender().send(path) else 1)


def test_another_process_sends_to_it(path: Path) -> None:
    receiver = Receiver(path)
    other = multiprocessing.get_context("fork").Process(target=_send, args=[path])
    other.start()
    other.join()
    assert other.exitcode == 0
    assert select.select([receiver], [], [], 5)[0]
    receiver.close()


def test_the_child_of_a_fork_removes_nothing_of_its_parent(path: Path) -> None:
    receiver = Receiver(path)
    if (pid := os.fork()) == 0:
        receiver.close()
        os._exit(0)
    os.waitpid(pid, 0)
    assert receiver.is_there
    receiver.close()


def test_a_receiver_that_was_removed_is_not_there_any_more(path: Path) -> None:
    receiver = Receiver(path)
    path.unlink()
    assert not receiver.is_there
    path.write_text("another file")
    assert not receiver.is_there
    receiver.close()
    assert path.read_text() == "another file"


def test_only_sockets_and_files_with_a_port_are_receivers(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "socket"))
        (tmp_path / "link").symlink_to(tmp_path / "socket")
        (tmp_path / "file").write_text("udp but no number")
        (tmp_path / "port").write_text("udp 12345\n")
        found = [path.name for path in tmp_path.iterdir() if is_receiver(path)]
    assert sorted(found) == ["port", "socket"]


def test_bytes_of_other_programs_do_no_harm(path: Path) -> None:
    receiver = Receiver(path)
    if receiver._file is not None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            for data in b"", b"x" * 5000, b"\1":
                other.sendto(data, receiver._socket.getsockname())
        assert select.select([receiver], [], [], 5)[0]
    receiver.empty()
    assert not is_readable(receiver)
    receiver.close()


def test_no_receiver_is_made_in_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Receiver(tmp_path / "nowhere" / "bell")
