"""Browsers on their way to a hub's thread: each is adopted, or closed, or the caller's."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import os
import socket

import pytest

from flask_push._delivery.stream import Stream
from flask_push._hub.arrivals import Arrivals
from flask_push._ipc.client import Client

STREAM = Stream(("a",), "x")


@pytest.fixture
def loop() -> cabc.Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def pair() -> cabc.Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    with ours, theirs:
        yield ours, theirs


def test_a_hub_adopts_them_in_their_order(loop: asyncio.AbstractEventLoop) -> None:
    adopted: list[int] = []
    arrivals = Arrivals(loop, lambda _, client: adopted.append(client.fd))
    for fd in range(3):
        arrivals.add(STREAM, Client(fd))
    assert arrivals.descriptors() == [0, 1, 2]
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert adopted == [0, 1, 2]
    assert arrivals.descriptors() == []


def test_those_that_the_hub_no_longer_adopts_are_closed(
    loop: asyncio.AbstractEventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    server, drain = socket.socketpair()
    server.settimeout(20)
    arrivals = Arrivals(loop, lambda *_: pytest.fail("it was closed"))
    arrivals.add(STREAM, Client(theirs.detach(), drain.detach()))
    arrivals.end()
    assert ours.recv(1000).endswith(b"\n") and ours.recv(1) == b""
    assert server.recv(1) == b""
    server.close()
    assert arrivals.descriptors() == []


def test_after_the_end_they_remain_the_callers(
    loop: asyncio.AbstractEventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    arrivals = Arrivals(loop, lambda *_: None)
    arrivals.end()
    with pytest.raises(RuntimeError, match="just ended"):
        arrivals.add(STREAM, Client(theirs.fileno()))
    theirs.send(b"x")
    assert ours.recv(9) == b"x"


def test_a_borrowed_one_is_copied_because_its_server_closes_it(
    loop: asyncio.AbstractEventLoop, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    arrivals = Arrivals(loop, lambda *_: None)
    arrivals.add(STREAM, Client(theirs.fileno(), borrowed=True))
    theirs.close()
    (fd,) = arrivals.descriptors()
    os.write(fd, b"x")
    assert ours.recv(9) == b"x"
    arrivals.end()
