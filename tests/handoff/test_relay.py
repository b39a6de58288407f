"""Relays: streams that a server forwards itself."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import itertools
import logging
import socket
import threading
import time
import typing as t

import pytest
from support.late_sockets import LateSocket
from support.threads import interrupt
from support.transplants import adopt as adopt
from support.transplants import Adopted
from support.transplants import STREAM
from support.without_linux.real import descriptors

from flask_push._delivery import options as options_module
from flask_push._delivery.chunks import chunk
from flask_push._delivery.chunks import LAST
from flask_push._delivery.follow import Follow
from flask_push._delivery.stream import Stream
from flask_push._handoff import relay as relay_module
from flask_push._handoff.relay import CutOff
from flask_push._handoff.relay import Relay
from flask_push._handoff.relay import Relays
from flask_push._ipc.client import Client
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


# Relays of runs.


class Sending(Adopted):
    """A hub that sends some bytes at once."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data

    def __call__(self, stream: Stream, client: Client) -> None:
        super().__call__(stream, client)
        sockets.write(client.fd, self.data)
        if self.data.endswith(LAST):
            self.close()

    def close(self) -> None:
        super().close()
        self.fds.clear()


Send = cabc.Callable[[bytes], Sending]


@pytest.fixture
def send() -> cabc.Iterator[Send]:
    with contextlib.ExitStack() as stack:

        def send(data: bytes) -> Sending:
            sending = Sending(data)
            stack.callback(sending.close)
            return sending

        yield send


def follow(wire: str) -> Stream:
    return STREAM._replace(follow=Follow("a", "1.1", wire), lifetime=0)


def test_a_relay_of_a_plain_wire_takes_the_chunks_off(send: Send) -> None:
    sending = send(chunk(b":\n") + chunk(b"data: 1\n\n") + chunk(b"data: 2\n\n") + LAST)
    relay = Relays(1, 20).open(follow("openai"), sending, "")
    assert relay is not None
    assert b"".join(relay) == b":\ndata: 1\n\ndata: 2\n\n"
    (stream,) = sending.streams
    assert (stream.follow.framing, stream.head, stream.lifetime) == ("chunked", b"", 0)


@pytest.mark.parametrize("end", [b"", b"9\r\nhalf", b"no chunk\r\n"])
def test_a_relay_of_a_plain_wire_that_is_cut_off_raises(end: bytes, send: Send) -> None:
    sending = send(chunk(b":\n"))
    relays = Relays(1, 20)
    relay = relays.open(follow("ag-ui"), sending, "")
    assert relay is not None and next(relay) == b":\n"
    sockets.write(sending.fds[0], end)
    sending.close()
    with pytest.raises(CutOff):
        list(relay)
    with pytest.raises(CutOff):
        next(relay)
    assert relays.open(follow("push"), send(b"x"), "") is not None, "its place is free"


def test_a_relay_of_a_plain_wire_that_another_thread_closes_raises(send: Send) -> None:
    relay = Relays(1, 20).open(follow("ai-sdk"), send(chunk(b":\n")), "")
    assert relay is not None
    relay.close()
    with pytest.raises(CutOff):
        next(relay)


@pytest.mark.parametrize("full", [True, False])
def test_a_plain_wire_that_the_hub_does_not_send_is_refused_before_its_response(
    full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = descriptors()
    adopted, relays = Adopted(), Relays(1, 20)

    def adopt(stream: Stream, client: Client) -> None:
        adopted(stream, client)
        if full:
            adopted.close()
            adopted.fds.clear()

    if not full:
        monkeypatch.setattr(relay_module, "_FIRST_BYTES_SECONDS", 0.1)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="full" if full else "has not begun"):
            relays.open(follow("openai"), adopt, "")
    adopted.close()
    assert descriptors() == before


def test_a_relay_of_a_run_lasts_as_long_as_its_hub_sends_something(
    send: Send,
) -> None:
    relays = Relays(1, 0.1, heartbeat=1000)
    for wire, sent in ("push", b"12"), ("ai-sdk", chunk(b"1") + chunk(b"2")):
        relay = relays.open(follow(wire), send(sent), "")
        assert relay is not None and relay._ends > time.monotonic() + 2000
        assert next(relay) == b"12"
        assert relay._ends > time.monotonic() + 2000
        relay.close()


def test_a_relay_of_a_run_ends_if_its_hub_sends_nothing_any_more(
    send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(options_module, "_SILENCE_SECONDS", 0.1)
    relays = Relays(1, 1000, heartbeat=0.01)
    relay = relays.open(follow("push"), send(b"1"), "")
    assert relay is not None and list(relay) == [b"1"]
    relay = relays.open(follow("ai-sdk"), send(chunk(b"1")), "")
    assert relay is not None and next(relay) == b"1"
    with pytest.raises(CutOff):
        next(relay)


def test_runs_may_have_places_of_their_own(adopt: Adopted) -> None:
    relays = Relays(1, 20, most_follows=2)
    kept = [relays.open(STREAM, adopt, "")]
    kept += [relays.open(follow("push"), adopt, "") for _ in range(2)]
    assert None not in kept
    assert relays.open(STREAM, adopt, "") is None
    assert relays.open(follow("push"), adopt, "") is None
    shared = Relays(1, 20)
    kept.append(shared.open(STREAM, adopt, ""))
    assert shared.open(follow("push"), adopt, "") is None


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


def test_a_relay_forwards_what_was_there_in_time() -> None:
    ours, theirs = socket.socketpair()
    relay = Relay(LateSocket.of(ours), lambda: None, 20)
    theirs.send(b"x")
    assert next(relay) == b"x"
    relay.close()
    theirs.close()
