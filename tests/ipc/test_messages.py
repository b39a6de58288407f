"""Messages between processes, the descriptors in them, and who is at the other end."""

from __future__ import annotations

import collections.abc as cabc
import errno
import os
import resource
import socket
import struct
import threading
import typing as t

import pytest
from support.late_sockets import LateSocket
from support.servers import descriptors_left

from flask_push._ipc.messages import Messages
from flask_push._ipc.messages import Received
from flask_push._ipc.messages import UNREADABLE


@pytest.fixture
def pair() -> cabc.Iterator[tuple[Messages, Messages]]:
    ours, theirs = map(Messages, socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


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


def opened() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_a_message_whose_descriptors_were_lost_is_dropped_alone(
    pair: tuple[Messages, Messages],
) -> None:
    ours, theirs = pair
    read, write = os.pipe()
    before = opened()
    # The rest of it comes together with the next message and its descriptor.
    ours.send({"adopt": "x" * 100_000}, [0, 1, 2])
    with descriptors_left(1):
        assert theirs.receive() == []
    ours.send({"adopt": 2}, [write])
    received: list[Received] = []
    while len(received) < 2:
        received += theirs.receive()
    lost, (whole, (sent,)) = received
    assert lost == ({UNREADABLE: "2 of 3 descriptors are lost"}, [])
    assert whole == {"adopt": 2}
    os.write(sent, b"the right one")
    assert os.read(read, 100) == b"the right one"
    os.close(sent)
    assert opened() == before, "those that did come were closed"
    os.close(read)
    os.close(write)


def framed(body: bytes, count: int = 0) -> bytes:
    return struct.pack("!IB", len(body), count) + body


@pytest.mark.parametrize(
    "body, reason",
    [
        (b'{"log', "it is not JSON: "),
        (b"\xff\xfe", "it is not JSON: "),
        (b"[" * 100_000, "it is not JSON: "),
        (b'["log"]', "it is not a JSON object"),
        (b"1" * 5000, "it is not JSON: "),
        (b"x" * 1_000_001, "1,000,001 bytes are too many"),
    ],
)
def test_what_follows_a_message_that_cannot_be_read_is_read(
    pair: tuple[Messages, Messages], body: bytes, reason: str
) -> None:
    ours, theirs = pair
    theirs.most = 1_000_000
    before = opened()

    def send() -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", 0))]
        data = framed(body, 1)
        sent = ours.sock.sendmsg([data], rights)
        ours.sock.sendall(data[sent:])
        ours.send({"next": 1})

    sender = threading.Thread(target=send)
    sender.start()
    received: list[Received] = []
    while len(received) < 2:
        received += theirs.receive()
    sender.join()
    (unreadable, fds), (read, _) = received
    assert unreadable[UNREADABLE].startswith(reason) and fds == []
    assert read == {"next": 1}
    assert opened() == before, "its descriptor was closed"


def test_descriptors_that_no_message_needs_are_closed(
    pair: tuple[Messages, Messages],
) -> None:
    ours, theirs = pair
    before = opened()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("3i", 0, 1, 2))]
    ours.sock.sendmsg([framed(b'{"log": 1}')], rights)
    assert theirs.receive() == [({"log": 1}, [])]
    assert opened() == before
    # More than any message may have, behind the head of one.
    many = struct.pack("200i", *[0] * 200)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, many)]
    ours.sock.send(framed(b"x" * 100)[:10])
    for _ in range(5):
        ours.sock.sendmsg([b"x"], rights)
    theirs.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        while True:
            assert theirs.receive() == []
    assert len(opened()) <= len(before) + 200
    theirs.close()
    assert len(opened()) < len(before)


def test_a_message_that_is_too_large_is_not_sent(pair: tuple[Messages, Messages]) -> None:
    ours, theirs = pair
    ours.most = 100
    with pytest.raises(OSError) as raised:
        ours.send({"head": "x" * 100})
    assert raised.value.errno == errno.EMSGSIZE
    ours.send({"head": "x"})
    assert theirs.receive() == [({"head": "x"}, [])]


def test_another_process_goes_on_in_the_middle_of_a_message_that_is_too_large(
    pair: tuple[Messages, Messages],
) -> None:
    ours, theirs = pair
    theirs.most = 100
    body = b"x" * 1000
    ours.sock.send(framed(body)[:500])
    ((unreadable, _),) = theirs.receive()
    assert UNREADABLE in unreadable
    data, fds = theirs.unread()
    successor = Messages(theirs.sock, data, fds, most=100)
    ours.sock.send(framed(body)[500:])
    ours.send({"next": 1})
    received: list[Received] = []
    while {"next": 1} not in [message for message, _ in received]:
        received += successor.receive()
    assert len(received) <= 2


class Watched(socket.socket):
    """Writes a byte into a pipe whenever it could not send."""

    pipe: int

    def sendmsg(self, *args: t.Any) -> int:
        try:
            return super().sendmsg(*args)
        except OSError:
            os.write(self.pipe, b"x")
            raise


def test_a_message_waits_while_too_many_descriptors_are_on_their_way() -> None:
    """A user without privileges may have only so many."""
    near, far = socket.socketpair()
    failed, fails = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                # Any user of whom no other process is.
                os.setgroups([])
                os.setresuid(*[100_000 + os.getpid()] * 3)
            resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
            sock = Watched(fileno=near.detach())
            sock.pipe = fails
            sock.settimeout(20)
            messages = Messages(sock)
            for n in range(100):
                messages.send({"n": n}, [0, 1])
            os._exit(0)
        finally:
            os._exit(1)
    near.close()
    os.close(fails)
    # It has run into the limit, before anything is received.
    assert os.read(failed, 1) == b"x"
    theirs = Messages(far)
    received: list[int] = []
    while len(received) < 100:
        for message, fds in theirs.receive():
            received.append(message["n"])
            for fd in fds:
                os.close(fd)
    assert received == list(range(100))
    assert os.waitpid(child, 0)[1] == 0
    theirs.close()
    os.close(failed)


def test_a_message_that_nobody_takes_leaves_the_connection_as_it_was(
    pair: tuple[Messages, Messages],
) -> None:
    ours, theirs = pair
    ours.sock.settimeout(0.05)
    sent = 0
    with pytest.raises(TimeoutError):
        while True:
            ours.send({"n": sent}, [0])
            sent += 1
    received: list[int] = []
    while len(received) < sent:
        for message, (fd,) in theirs.receive():
            received.append(message["n"])
            os.close(fd)
    ours.send({"n": sent})
    assert theirs.receive() == [({"n": sent}, [])]


def test_a_connection_that_took_a_part_of_a_message_is_broken(
    pair: tuple[Messages, Messages],
) -> None:
    ours, theirs = pair
    ours.sock.settimeout(0.05)
    with pytest.raises(BrokenPipeError, match="only a part"):
        ours.send({"head": "x" * 2_000_000})
    with pytest.raises(BrokenPipeError):
        ours.send({"next": 1})
    with pytest.raises(EOFError):
        while True:
            assert theirs.receive() == []


def test_a_message_that_the_other_end_could_take_in_time_is_sent() -> None:
    one, other = socket.socketpair()
    ours, theirs = Messages(LateSocket.of(one)), Messages(other)
    ours.sock.settimeout(20)
    ours.send({"one": 1})
    assert theirs.receive() == [({"one": 1}, [])]
    ours.close()
    theirs.close()
