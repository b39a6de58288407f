"""Sockets by their numbers, where these are descriptors and where they are not."""

from __future__ import annotations

import os
import socket
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from support.late_sockets import LateSocket
from support.sockets import is_open

from flask_push._system import sockets

#: The functions for a system where the number of a socket is no descriptor.
BORROWING = SimpleNamespace(
    read=sockets._read,
    write=sockets._write,
    close=sockets._close,
    set_blocking=sockets._set_blocking,
)
each = pytest.mark.parametrize("by", [sockets, BORROWING], ids=["files", "borrowing"])


def test_here_the_functions_are_those_of_the_system() -> None:
    assert (sockets.read, sockets.write) == (os.read, os.write)
    assert (sockets.close, sockets.set_blocking) == (os.close, os.set_blocking)


@each
def test_a_socket_is_written_and_read_by_its_number(by: SimpleNamespace) -> None:
    ours, theirs = socket.socketpair()
    assert by.write(ours.fileno(), memoryview(b"said")) == 4
    assert by.read(theirs.fileno(), 100) == b"said"
    ours.close()
    assert by.read(theirs.fileno(), 100) == b""
    with pytest.raises(OSError):
        by.write(theirs.fileno(), b"x")
    theirs.close()


@each
def test_a_socket_that_does_not_block_is_full_or_empty(by: SimpleNamespace) -> None:
    ours, theirs = socket.socketpair()
    by.set_blocking(ours.fileno(), False)
    with pytest.raises(BlockingIOError):
        by.read(ours.fileno(), 1)
    with pytest.raises(BlockingIOError):
        while True:
            by.write(ours.fileno(), b"x" * 65536)
    by.set_blocking(ours.fileno(), True)
    assert os.get_blocking(ours.fileno())
    ours.close()
    theirs.close()


@each
def test_a_timeout_for_all_new_sockets_makes_no_call_wait(by: SimpleNamespace) -> None:
    ours, theirs = socket.socketpair()
    by.set_blocking(ours.fileno(), False)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(0.01)
    try:
        # One that has waited raises TimeoutError, as if the connection were broken.
        with pytest.raises(BlockingIOError):
            by.read(ours.fileno(), 1)
        with pytest.raises(BlockingIOError):
            while True:
                by.write(ours.fileno(), b"x" * 65536)
    finally:
        socket.setdefaulttimeout(before)
    ours.close()
    theirs.close()


@each
def test_a_socket_is_closed_by_its_number(by: SimpleNamespace) -> None:
    ours, theirs = socket.socketpair()
    fd = ours.detach()
    by.close(fd)
    assert not is_open(fd)
    assert theirs.recv(1) == b""
    theirs.close()


def test_a_borrowed_socket_stays_open() -> None:
    ours, theirs = socket.socketpair()
    with sockets.borrowed(ours.fileno()) as sock:
        assert sock.fileno() == ours.fileno()
    assert is_open(ours.fileno())
    with pytest.raises(MemoryError), sockets.borrowed(ours.fileno()):
        raise MemoryError
    assert is_open(ours.fileno())
    ours.close()
    theirs.close()


def test_a_socket_object_gets_another_socket() -> None:
    one, two = socket.socketpair()
    three, four = socket.socketpair()
    one.settimeout(3)
    before = one.fileno()
    sockets.exchange(one, three.detach())
    assert one.gettimeout() == 3 and one.fileno() != before
    one.sendall(b"x")
    assert four.recv(1) == b"x"
    assert is_open(before)
    os.close(before)
    assert two.recv(1) == b""
    for sock in one, two, four:
        sock.close()
    assert one.fileno() == -1


def test_a_socket_blocks_as_another_does() -> None:
    ours, theirs = socket.socketpair()
    for blocking in False, True:
        ours.setblocking(blocking)
        sockets.copy_blocking(theirs.fileno(), ours.fileno())
        assert os.get_blocking(theirs.fileno()) is blocking
    ours.close()
    theirs.close()


def test_a_system_may_have_no_option_that_ends_a_lost_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert sockets.lose_after(5) == [(socket.TCP_USER_TIMEOUT, 5)]
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    assert sockets.lose_after(5) == []


@pytest.mark.parametrize("are_files", [True, False])
def test_sockets_are_found_by_their_numbers_and_known_again(
    are_files: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "SOCKETS_ARE_FILES", are_files)
    with socket.create_server(("127.0.0.1", 0)) as one:
        number, before = one.fileno(), sockets.identity(one.fileno())
        assert number in sockets.open_numbers()
        assert before is not None and sockets.identity(number) == before
    assert sockets.identity(number) is None
    # Another socket may get the number.
    with socket.create_server(("127.0.0.1", 0)) as two:
        assert two.fileno() == number and sockets.identity(number) != before


def test_a_system_may_not_list_its_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> list[str]:
        raise FileNotFoundError

    monkeypatch.setattr(os, "listdir", fail)
    with socket.socket() as sock:
        assert sock.fileno() in sockets.open_numbers()


def test_a_connection_may_end_with_a_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for on in True, False:
            client = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
            assert not sockets.resets_at_end(theirs)
            sockets.reset_at_end(theirs, True)
            assert sockets.resets_at_end(theirs)
            sockets.reset_at_end(theirs, on)
            theirs.close()
            client.settimeout(20)
            with client, pytest.raises(ConnectionResetError) if on else nullcontext():
                assert client.recv(1) == b"" and not on


def test_a_unix_socket_is_known_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket() as other:
        assert sockets.is_unix_socket(ours.fileno())
        assert not sockets.is_unix_socket(other.fileno())
        monkeypatch.delattr(socket, "SO_DOMAIN")
        assert not sockets.is_unix_socket(ours.fileno()), "the system does not say"


def test_a_socket_that_is_ready_too_late_is_read_all_the_same() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(7)
        theirs.send(b"x")
        assert sockets.look_again(ours, lambda: ours.recv(1)) == b"x"
        theirs.send(b"y")
        assert ours.gettimeout() == 7
        with LateSocket.of(ours) as late:
            late.settimeout(0.01)
            assert sockets.receive_in_time(late, 9) == b"y"
            with pytest.raises(TimeoutError):
                sockets.receive_in_time(late, 9)
