"""Streams that follow a run, on their way from one hub to the next."""

from __future__ import annotations

import os
import socket
import threading
import typing as t

import pytest

from flask_push._delivery.follow import Follow
from flask_push._delivery.snapshot import HubState
from flask_push._delivery.snapshot import LogState
from flask_push._delivery.snapshot import ReaderState
from flask_push._delivery.stream import Stream
from flask_push._hub.takeover import give
from flask_push._hub.takeover import Handover
from flask_push._hub.takeover import take
from flask_push._ipc import protocol
from flask_push._ipc.messages import Messages

FOLLOW = Follow("a", "1.1", "openai", "e", 7, 2, "chunked")


def handed_over() -> tuple[list[tuple[Stream, bytes]], list[socket.socket]]:
    """Give a stream of each kind to a successor.

    :return: What the successor has received: the streams, each with what its socket has
        got; and the clients' ends of the sockets.
    """
    streams = [Stream(("a",), "plain"), Stream(("a",), "follows", follow=FOLLOW)]
    pairs = [socket.socketpair() for _ in streams]
    places = [
        (ReaderState(stream, True, "e", 7, b"rest", 4, None, 9), pair[0].fileno())
        for stream, pair in zip(streams, pairs, strict=True)
    ]
    things = Handover({}, HubState(LogState(), places, []), [], [])
    ours, theirs = map(Messages, socket.socketpair())
    with ours.sock:
        giving = threading.Thread(target=give, args=(ours, things))
        giving.start()
        taken = take(theirs, forced=True).state.readers
        giving.join()
    got = []
    for place, fd in taken:
        os.write(fd, place.stream.connection.encode())
        os.close(fd)
    for mine, _ in pairs:
        mine.close()
    for place, _ in taken:
        theirs_of = pairs[[s.connection for s in streams].index(place.stream.connection)][1]
        got.append((place.stream, theirs_of.recv(100)))
    return got, [theirs for _, theirs in pairs]


def test_a_successor_gets_streams_that_follow_a_run_with_their_sockets() -> None:
    got, clients = handed_over()
    assert got == [
        (Stream(("a",), "plain"), b"plain"),
        (Stream(("a",), "follows", follow=FOLLOW), b"follows"),
    ]
    for client in clients:
        client.close()


def test_a_successor_of_an_older_version_closes_streams_that_follow_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    older: dict[str, t.Any] = {**protocol.KINDS["successor"]}
    del older["followers"]
    monkeypatch.setitem(protocol.KINDS, "successor", older)
    got, clients = handed_over()
    assert got == [(Stream(("a",), "plain"), b"plain")]
    assert [client.recv(100) for client in clients] == [b"", b""]
    for client in clients:
        client.close()
