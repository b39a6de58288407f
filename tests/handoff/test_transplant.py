"""From a server's socket to the hub, step by step, with socket pairs for servers."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import fcntl
import os
import socket
import typing as t

import pytest
from support.servers import descriptors_left
from support.transplants import adopt as adopt
from support.transplants import Adopted
from support.transplants import STREAM
from support.without_linux.real import descriptors

from flask_push._delivery.stream import Stream
from flask_push._handoff.relay import Relays
from flask_push._handoff.transplant import transplant
from flask_push._ipc.client import Client


@pytest.fixture
def pair() -> cabc.Iterator[tuple[socket.socket, socket.socket]]:
    """A client, and what its server has of it."""
    client, server = socket.socketpair()
    client.settimeout(5)
    with client, server:
        yield client, server


def test_a_process_keeps_its_last_descriptors_for_other_things(adopt: Adopted) -> None:
    before = descriptors()
    with descriptors_left(5):
        with pytest.raises(RuntimeError, match=r"only \d+ file descriptors"):
            Relays(1, 25).open(STREAM, adopt, "")
    assert adopt.streams == [] and descriptors() == before
    relay = Relays(1, 25).open(STREAM, adopt, "")
    assert relay is not None
    relay.close()


Pair = tuple[socket.socket, socket.socket]


def test_a_client_moves_and_its_server_does_not_notice(pair: Pair, adopt: Adopted) -> None:
    client, server = pair
    number = server.fileno()
    transplant(number, STREAM, adopt)
    moved, drain = adopt.fds
    # Under the number that was the client's, the server talks to the drain.
    server.sendall(b"a head, and a body\r\n")
    assert os.read(drain, 100) == b"a head, and a body\r\n"
    assert server.recv(100) == b"", "and there is no other request"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    assert os.read(drain, 100) == b""
    os.write(moved, b"from the hub")
    assert client.recv(100) == b"from the hub"
    client.sendall(b"to the hub")
    assert os.read(moved, 100) == b"to the hub"
    os.close(moved)
    adopt.fds.remove(moved)
    assert client.recv(100) == b"", "the hub's end is the client's"


def test_nothing_reads_the_head_of_a_server_that_says_when_it_is_written(
    pair: Pair, adopt: Adopted
) -> None:
    client, server = pair
    written: list[cabc.Callable[[], object]] = []
    before = descriptors()
    transplant(server.fileno(), STREAM, adopt, written.append)
    (moved,) = adopt.fds
    server.sendall(b"h" * 16_384)
    assert server.recv(100) == b"", "and there is no other request"
    (close,) = written
    close()
    assert descriptors() == before + 1
    # What gunicorn does then.
    server.shutdown(socket.SHUT_WR)
    with contextlib.suppress(ConnectionResetError):
        assert server.recv(100) == b""
    server.close()
    os.write(moved, b"from the hub")
    assert client.recv(100) == b"from the hub"


def test_a_large_head_is_drained_always(pair: Pair, adopt: Adopted) -> None:
    written: list[object] = []
    large = STREAM._replace(head=b"h" * 16_385)
    transplant(pair[1].fileno(), large, adopt, written.append)
    assert len(adopt.fds) == 2 and written == []


@pytest.mark.parametrize("blocking", [True, False])
def test_the_servers_flags_stay_as_they_were(
    blocking: bool, pair: Pair, adopt: Adopted
) -> None:
    _, server = pair
    server.setblocking(blocking)
    inheritable = os.get_inheritable(server.fileno())

    def flip(stream: Stream, client: Client) -> None:
        adopt(stream, client)
        os.set_blocking(client.fd, not blocking)

    transplant(server.fileno(), STREAM, flip)
    assert os.get_blocking(server.fileno()) is blocking
    assert os.get_inheritable(server.fileno()) is inheritable
    for fd in adopt.fds:
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_clients_are_moved_out_of_the_way_of_select(pair: Pair, adopt: Adopted) -> None:
    transplant(pair[1].fileno(), STREAM, adopt)
    assert adopt.fds[0] >= 1024


@pytest.mark.parametrize("later", [None, pytest.fail])
def test_a_hub_that_refuses_leaves_everything_as_it_was(later: t.Any, pair: Pair) -> None:
    client, server = pair
    before = descriptors()
    for _ in range(5):
        with pytest.raises(RuntimeError, match="no"):
            transplant(server.fileno(), STREAM, Adopted(RuntimeError("no")), later)
    assert descriptors() == before
    server.sendall(b"an ordinary answer")
    assert client.recv(100) == b"an ordinary answer"


def test_a_socket_object_gets_another_socket_and_its_server_does_not_notice(
    pair: Pair, adopt: Adopted
) -> None:
    """As on Windows, where the number of a socket is no descriptor."""
    client, server = pair
    server.settimeout(7)
    body = server.makefile("rb")
    transplant(server, STREAM, adopt)
    moved, drain = adopt.fds
    assert server.fileno() not in adopt.fds and server.gettimeout() == 7
    server.sendall(b"a head, and a body\r\n")
    assert os.read(drain, 100) == b"a head, and a body\r\n"
    assert body.read(100) == b"", "and there is no other request"
    body.close()
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    assert os.read(drain, 100) == b""
    os.write(moved, b"from the hub")
    assert client.recv(100) == b"from the hub"


def test_a_socket_object_that_the_hub_refuses_stays_as_it_was(pair: Pair) -> None:
    client, server = pair
    before = descriptors()
    with pytest.raises(RuntimeError, match="no"):
        transplant(server, STREAM, Adopted(RuntimeError("no")))
    assert descriptors() == before
    server.sendall(b"an ordinary answer")
    assert client.recv(100) == b"an ordinary answer"
