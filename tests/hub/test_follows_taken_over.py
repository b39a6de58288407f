"""Streams that follow a run, on their way from one hub to the next."""

from __future__ import annotations

import os
import socket
import threading
import typing as t

import pytest
from support.each_store import url as url
from support.followed_runs import data
from support.followed_runs import FollowScene
from support.followed_runs import PLAIN
from support.followed_runs import run as run
from support.handovers import sent
from support.hubs import Run
from support.sockets import noise

from flask_push._delivery.follow import Follow
from flask_push._delivery.followed import ALL
from flask_push._delivery.snapshot import HubState
from flask_push._delivery.snapshot import LogState
from flask_push._delivery.snapshot import ReaderState
from flask_push._delivery.stream import Stream
from flask_push._hub.takeover import give
from flask_push._hub.takeover import Handover
from flask_push._hub.takeover import take
from flask_push._ipc import protocol
from flask_push._ipc.messages import Messages
from flask_push.testing._sink import until

FOLLOW = Follow("a", "1.1", "openai", "e", 7, 0, "chunked")


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


# What the successor sends.


def replace(scene: FollowScene) -> None:
    scene.hub = scene.make_hub(sent(scene.hub.freeze()))


@pytest.mark.parametrize("wire", ["push", *PLAIN])
def test_a_run_continues_where_the_hub_before_stopped(run: Run, wire: str) -> None:
    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        one.write("1")
        live = scene.follow(one, wire)
        await live.until(lambda: data(live) == ["1"])
        await until(lambda: scene.hub.whole)
        replace(scene)
        one.write("2", "3")
        await live.until(lambda: data(live) == ["1", "2", "3"])
        await until(lambda: scene.hub.whole)
        replace(scene)
        replace(scene)
        one.write("4")
        one.end()
        await live.ends()
        assert data(live) == ["1", "2", "3", "4"]
        assert live.is_whole or live.statuses == ["queued", "running", "done"]
        assert live.types.count("push:open") == (wire == "push")

    run(test)


@pytest.mark.parametrize("wire", ["push", "openai"])
def test_half_a_row_is_finished_by_the_successor(run: Run, wire: str) -> None:
    texts = [noise(100_000) for _ in range(30)]

    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        live = scene.follow(one, wire)
        await until(lambda: scene.connections[0].begun)
        for text in texts[:10]:
            one.write(text)
        await until(lambda: scene.connections[0].blocked)
        replace(scene)
        for text in texts[10:]:
            one.write(text)
        replace(scene)
        one.end()
        await until(lambda: scene.hub.whole)
        replace(scene)
        await live.ends()
        assert data(live) == texts
        assert live.is_whole or live.statuses[-1] == "done"

    run(test)


@pytest.mark.parametrize("wire", ["push", "openai"])
def test_a_stream_that_lacks_only_the_rest_of_its_end_is_ended_by_the_successor(
    run: Run, wire: str
) -> None:
    text = noise(2_000_000)

    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        live = scene.follow(one, wire)
        await until(lambda: scene.connections[0].begun)
        one.end("failed", text)
        await until(lambda: scene.connections[0].blocked)
        # The store may have forgotten the run meanwhile.
        state = sent(scene.hub.freeze())
        assert [place.cursor for place, _ in state.readers] == [ALL]
        scene.hub = scene.make_hub(state)
        await live.ends()
        assert text.encode() in live.body
        assert live.is_whole or live.statuses[-1] == "failed"

    run(test)


def test_a_run_is_followed_if_the_hub_is_replaced_before_it_knows_the_store(
    run: Run,
) -> None:
    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        one.write("1")
        live = scene.follow(one, "openai")
        replace(scene)
        await live.until(lambda: data(live) == ["1"])
        one.write("2")
        one.end()
        await live.ends()
        assert live.is_whole and data(live) == ["1", "2"]

    run(test)
