"""How a connection ends whose end says whether a run is whole."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import socket
import typing as t

import pytest
from support.followed_runs import FollowScene
from support.followed_runs import run_with
from support.followed_runs import StoredRun
from support.hubs import HubScene
from support.hubs import run
from support.sockets import can_read

from flask_push._delivery.follow import Follow
from flask_push._delivery.follow import Framing
from flask_push._delivery.stream import Stream
from flask_push._hub.connection import Connection
from flask_push._ipc.client import Client
from flask_push.brokers import Broker
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._sink import until

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX: y\r\n\r\n"


def stream(framing: Framing, head: bytes = HEAD) -> Stream:
    follow = Follow("a", "1.1", "ai-sdk", framing=framing)
    return Stream(("a",), "c", head, follow=follow)


@contextlib.contextmanager
def connected(framing: Framing) -> t.Iterator[tuple[Connection, socket.socket]]:
    """A connection of TCP, and its client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    client.settimeout(20)
    connection = Connection(theirs.detach(), stream(framing), 0, math.inf)
    connection.prepare()
    with client:
        yield connection, client
    connection.close()


def read_all(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(65536), b""))


def test_a_connection_that_is_cut_off_is_reset() -> None:
    with connected("close") as (connection, client):
        connection.write(b"some")
        connection.close()
        with pytest.raises(ConnectionResetError):
            read_all(client)


def test_a_connection_that_was_sent_all_ends_in_order_with_its_last_bytes() -> None:
    text = b"x" * 100_000
    with connected("close") as (connection, client):
        connection.write(text)
        connection.keep_whole()
        connection.close()
        assert read_all(client) == text


@pytest.mark.parametrize("framing", ["none", "chunked"])
def test_other_connections_are_not_reset(framing: Framing) -> None:
    with connected(framing) as (connection, client):
        connection.write(b"some")
        connection.close()
        assert read_all(client) == b"some"


def test_a_hub_that_is_killed_resets_its_connections() -> None:
    with connected("close") as (connection, client):
        child = os.fork()
        if child == 0:
            connection.write(b"some")
            signal.pause()
        # As a hub does when its successor has the connections.
        os.close(connection.fd)
        connection.fd = -1
        assert client.recv(4) == b"some"
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with pytest.raises(ConnectionResetError):
            read_all(client)


@pytest.mark.parametrize("framing", ["close", "chunked"])
def test_a_full_hub_refuses_a_run_with_a_status_of_its_own(framing: Framing) -> None:
    async def test(scene: HubScene) -> None:
        await scene.open("a", gzip=False)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
        client.settimeout(20)
        scene.hub.adopt(stream(framing), Client(theirs.detach()))
        with client:
            body = read_all(client)
        assert body.startswith(b"HTTP/1.1 503 Service Unavailable\r\nX: y\r\n")
        assert body.endswith(b"Try again in a few seconds.\n")
        ours, theirs = socket.socketpair()
        with ours:
            scene.hub.adopt(stream(framing, b""), Client(theirs.detach()))
            assert ours.recv(100) == b"", "a server writes the head"

    run(test, max_streams=1)


# Whole runs.


def follow_by_tcp(scene: FollowScene, run: StoredRun, **how: t.Any) -> socket.socket:
    """A client of HTTP/1.0, which has no chunks."""
    follow = Follow("a", run.tag, "openai", run.epoch, run.start, framing="close")
    how = {"user": "ann", "session": "", **how}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    client.settimeout(20)
    stream = Stream(("a",), "c", HEAD, follow=follow, **how)
    scene.hub.adopt(stream, Client(theirs.detach()))
    return client


async def read(client: socket.socket) -> bytes:
    return await asyncio.to_thread(read_all, client)


@pytest.mark.parametrize("live", [True, False])
def test_a_run_that_ends_ends_its_connections_in_order(live: bool) -> None:
    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        one.write("1")
        if not live:
            one.end()
        with follow_by_tcp(scene, one) as client:
            if live:
                await until(lambda: "0 behind" in repr(scene.hub) and can_read(client))
                one.end()
            body = await read(client)
        assert body.endswith(b":\ndata: 1\n\ndata: [DONE]\n\n")

    run_with(test, t.cast(Broker, MemoryBroker()))


def test_a_client_that_is_disconnected_gets_all_of_the_error() -> None:
    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        await scene.known()
        with follow_by_tcp(scene, one, seen=scene.seen) as client:
            await until(lambda: [each.begun for each in scene.connections] == [True])
            scene.disconnect("ann")
            body = await read(client)
        assert b'"code":"disconnected"' in body and body.endswith(b"data: [DONE]\n\n")

    run_with(test, t.cast(Broker, MemoryBroker()))


def test_a_hub_that_ends_resets_the_connections_of_runs_that_go_on() -> None:
    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        with follow_by_tcp(scene, one) as client:
            await until(lambda: can_read(client))
            scene.hub.stop()
            with pytest.raises(ConnectionResetError):
                await read(client)

    run_with(test, t.cast(Broker, MemoryBroker()))


def test_a_client_whose_view_has_to_be_asked_again_sees_a_reset() -> None:
    async def test(scene: FollowScene) -> None:
        one = scene.begin()
        await scene.known()
        seen = scene.seen
        scene.disconnect("ann")
        with follow_by_tcp(scene, one, seen=seen) as client:
            with pytest.raises(ConnectionResetError):
                await read(client)

    run_with(test, t.cast(Broker, MemoryBroker()))
