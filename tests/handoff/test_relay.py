"""Relays: streams that a server forwards itself."""

from __future__ import annotations

import contextlib
import itertools
import logging
import socket
import threading
import time
import typing as t

import pytest
from support.threads import interrupt
from support.transplants import adopt as adopt
from support.transplants import Adopted
from support.transplants import STREAM
from support.without_linux.real import descriptors

from flask_push._delivery.stream import Stream
from flask_push._handoff import relay as relay_module
from flask_push._handoff.relay import Relay
from flask_push._handoff.relay import Relays
from flask_push._system import sockets


def test_a_relay_ends_if_its_hub_does_not_end_it(
    adopt: Adopted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "_HUB_LATE_SECONDS", 0.5)
    monkeypatch.setattr(relay_module, "MAX_ITEMS_SECONDS", 2)
    relays = Relays(2, 0.1)
    silent, busy = relays.open(STREAM, adopt, ""), relays.open(STREAM, adopt, "")
    assert (
        silent is not None and busy is not None and relays.open(STREAM, adopt, "") is None
    )

    def write_on(data: bytes = b"") -> None:
        with contextlib.suppress(OSError):
            sockets.write(adopt.fds[1], b"x")

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


def test_a_relay_that_two_threads_close_at_once_frees_one_place() -> None:
    """The second may do so between any two instructions of the first."""
    closed: list[bool] = []
    for at in itertools.count(1):
        ours, theirs = socket.socketpair()
        relay = Relay(ours, lambda: closed.append(True), 60)
        did = interrupt(relay.close, at, relay.close)
        theirs.close()
        assert closed == [True] and ours.fileno() < 0
        closed.clear()
        if not did:
            break
    assert at > 20, "it has been tried"


# Relays.


def test_a_relay_forwards_until_the_hub_ends(adopt: Adopted) -> None:
    relays = Relays(1, 20)
    relay = relays.open(STREAM, adopt, "")
    assert relay is not None
    (fd,) = adopt.fds
    sockets.write(fd, b"1")
    assert next(relay) == b"1"
    sockets.write(fd, b"2")
    sockets.close(fd)
    adopt.fds.clear()
    assert list(relay) == [b"2"]
    assert adopt.streams[0].lifetime == 20
    assert adopt.streams[0].head == b"", "the server writes it"


def test_a_relay_lasts_while_its_hub_sends_more(
    adopt: Adopted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub sends all items, and a browser takes them slowly."""
    monkeypatch.setattr(relay_module, "_HUB_LATE_SECONDS", 0.1)
    relay = Relays(1, 0.1).open(STREAM, adopt, "")
    assert relay is not None
    monkeypatch.setattr(relay_module, "_HUB_LATE_SECONDS", 20)
    sockets.write(adopt.fds[0], b"1")
    assert next(relay) == b"1"
    # Its lifetime is over, and there are no bytes yet.
    time.sleep(0.3)
    late = threading.Timer(0.1, sockets.write, [adopt.fds[0], b"2"])
    late.start()
    assert next(relay) == b"2"
    late.join()


def test_a_relay_that_is_closed_is_gone_for_the_hub(adopt: Adopted) -> None:
    relays = Relays(1, 20)
    relay = relays.open(STREAM, adopt, "")
    assert relay is not None and relays.open(STREAM, adopt, "") is None
    relay.close()
    relay.close()
    assert sockets.read(adopt.fds[0], 100) == b""
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
