"""From a server's socket to the hub, step by step, with socket pairs for servers."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import fcntl
import logging
import os
import socket
import threading
import typing as t

import pytest
from support.servers import descriptors_left

from flask_push._delivery.stream import Stream
from flask_push._handoff import relay as relay_module
from flask_push._handoff.relay import Relay
from flask_push._handoff.relay import Relays
from flask_push._handoff.transplant import transplant
from flask_push._ipc.client import Client

STREAM = Stream(("a",), "connection", lifetime=3600)


@pytest.fixture
def pair() -> cabc.Iterator[tuple[socket.socket, socket.socket]]:
    """A client, and what its server has of it."""
    client, server = socket.socketpair()
    client.settimeout(5)
    with client, server:
        yield client, server


class Adopted:
    """Stands in for a hub: keeps what it is given."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.streams: list[Stream] = []
        self.fds: list[int] = []

    def __call__(self, stream: Stream, client: Client) -> None:
        if self.error is not None:
            raise self.error
        self.streams.append(stream)
        self.fds += client.fds

    def close(self) -> None:
        for fd in self.fds:
            with contextlib.suppress(OSError):
                os.close(fd)


@pytest.fixture
def adopt() -> cabc.Iterator[Adopted]:
    adopted = Adopted()
    yield adopted
    adopted.close()


def test_a_relay_ends_if_its_hub_does_not_end_it(
    adopt: Adopted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "_HUB_LATE_SECONDS", 0.5)
    relays = Relays(2, 0.1)
    silent, busy = relays.open(STREAM, adopt, ""), relays.open(STREAM, adopt, "")
    assert (
        silent is not None and busy is not None and relays.open(STREAM, adopt, "") is None
    )

    def write_on(data: bytes = b"") -> None:
        with contextlib.suppress(OSError):
            os.write(adopt.fds[1], b"x")

    write_on()
    works = (lambda: [*silent], lambda: [*map(write_on, busy)])
    workers = [threading.Thread(target=work, daemon=True) for work in works]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert not any(worker.is_alive() for worker in workers)
    again = [relays.open(STREAM, adopt, "") for _ in range(2)]
    assert None not in again, "the workers are free"


class Late(socket.socket):
    """A socket that is read from a little later than it is asked to."""

    def __init__(self, fd: int) -> None:
        super().__init__(fileno=fd)
        self.begun, self.goes_on = threading.Event(), threading.Event()

    def recv(self, *args: t.Any) -> bytes:
        self.begun.set()
        assert self.goes_on.wait(20)
        return super().recv(*args)


def test_a_relay_that_is_closed_while_it_is_read_keeps_its_number_until_it_is_not() -> None:
    ours, theirs = socket.socketpair()
    sock, closed = Late(ours.detach()), []
    relay = Relay(sock, lambda: closed.append(True), 60)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.extend(relay))
    reader.start()
    assert sock.begun.wait(20)
    number = sock.fileno()
    relay.close()
    assert sock.fileno() == number >= 0 and closed
    sock.goes_on.set()
    reader.join(20)
    assert not reader.is_alive() and sock.fileno() < 0 and found == []
    theirs.close()


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


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


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


def test_a_hub_that_refuses_leaves_everything_as_it_was(pair: Pair) -> None:
    client, server = pair
    before = descriptors()
    for _ in range(5):
        with pytest.raises(RuntimeError, match="no"):
            transplant(server.fileno(), STREAM, Adopted(RuntimeError("no")))
    assert descriptors() == before
    server.sendall(b"an ordinary answer")
    assert client.recv(100) == b"an ordinary answer"


# Relays.


def test_a_relay_forwards_until_the_hub_ends(adopt: Adopted) -> None:
    relays = Relays(1, 20)
    relay = relays.open(STREAM, adopt, "")
    assert relay is not None
    (fd,) = adopt.fds
    os.write(fd, b"1")
    assert next(relay) == b"1"
    os.write(fd, b"2")
    os.close(fd)
    adopt.fds.clear()
    assert list(relay) == [b"2"]
    assert adopt.streams[0].lifetime == 20
    assert adopt.streams[0].head == b"", "the server writes it"


def test_a_relay_that_is_closed_is_gone_for_the_hub(adopt: Adopted) -> None:
    relays = Relays(1, 20)
    relay = relays.open(STREAM, adopt, "")
    assert relay is not None and relays.open(STREAM, adopt, "") is None
    relay.close()
    relay.close()
    assert os.read(adopt.fds[0], 100) == b""
    assert list(relay) == []
    again = relays.open(STREAM, adopt, "")
    assert again is not None and relays.open(STREAM, adopt, "") is None
    del again


def test_a_relay_that_is_forgotten_is_free_again(adopt: Adopted) -> None:
    relays = Relays(1, 20)
    for _ in range(3):
        assert relays.open(STREAM, adopt, "") is not None


def test_a_relay_that_the_hub_refuses_is_free_again() -> None:
    before = descriptors()
    relays = Relays(1, 20)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            relays.open(STREAM, Adopted(RuntimeError("no")), "")
    assert descriptors() == before


def test_a_reason_is_logged_once(adopt: Adopted, caplog: pytest.LogCaptureFixture) -> None:
    relays = Relays(9, 20)
    for reason in "one", "one", "", "two":
        relays.open(STREAM, adopt, reason)
    assert len(caplog.records) == 2
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_a_shorter_life_counts(adopt: Adopted) -> None:
    relays = Relays(9, 20)
    relays.open(Stream(("a",), "x", lifetime=5), adopt, "")
    relays.open(Stream(("a",), "x", lifetime=0), adopt, "")
    assert [stream.lifetime for stream in adopt.streams] == [5, 20]
