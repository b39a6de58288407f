"""How a hub ends its streams."""

from __future__ import annotations

import collections.abc as cabc
import socket

import pytest
from support.failing import Tracer
from support.hub_failures import end_badly
from support.hub_failures import FailureScene
from support.hub_failures import Nonsense
from support.hub_failures import open_streams
from support.hub_failures import play
from support.hubs import HubScene
from support.hubs import run
from support.reader import SocketReader

from flask_push._delivery.stream import Stream
from flask_push._ipc.client import Client
from flask_push.testing._sink import until


def test_streams_that_end_together_get_a_spread_retry() -> None:
    async def story(scene: FailureScene) -> None:
        readers = await open_streams(scene, 40)
        for reader in readers:
            reader.comes_back = False
        scene.say("a", "1")
        await scene.until(lambda: all(reader.endings for reader in readers))
        told = [reader.parser.retry or 0 for reader in readers]
        # At two a second.
        assert 10_000 < max(told) < 22_000

    play(story, Tracer(), Nonsense(), return_rate=2)


async def waits(reader: SocketReader) -> int:
    """Wait until a stream has ended, and return after how long its browser reconnects."""
    await reader.until(lambda: reader.ended)
    return reader.parser.retry or 0


def test_streams_of_workers_that_end_reconnect_one_after_another() -> None:
    async def test(scene: HubScene) -> None:
        readers = [await scene.open("a") for _ in range(8)]
        for reader in readers:
            # Its worker sends nothing more, and forwards what the hub still sends.
            reader.sock.shutdown(socket.SHUT_WR)
        told = sorted([await waits(reader) for reader in readers])
        # Ten seconds after each other, and 500 to 667 milliseconds after that.
        assert [wait // 10_000 for wait in told] == [*range(1, 9)]

    run(test, retry=0.5, return_rate=0.1)


@pytest.mark.parametrize("close", [lambda sock: sock.shutdown(2), socket.socket.close])
def test_the_stream_of_a_browser_that_has_left_takes_no_turn(
    close: cabc.Callable[[socket.socket], None],
) -> None:
    async def test(scene: HubScene) -> None:
        close((await scene.open("a")).sock)
        await until(lambda: not scene.connections)
        reader = await scene.open("a")
        reader.sock.shutdown(socket.SHUT_WR)
        assert await waits(reader) // 10_000 == 1

    run(test, retry=0.5, return_rate=0.1)


def test_a_browser_that_sends_nothing_more_has_left() -> None:
    async def test(scene: HubScene) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            reader = SocketReader()
            scene.readers.append(reader)
            reader.close()
            reader.theirs.close()
            reader.sock = socket.create_connection(listener.getsockname())
            reader.sock.setblocking(False)
            theirs, _ = listener.accept()
        scene.hub.adopt(Stream(("a",), "x"), Client(theirs.detach()))
        await reader.until(lambda: reader.events)
        reader.sock.shutdown(socket.SHUT_WR)
        assert await waits(reader) < 10_000

    run(test, retry=0.5, return_rate=0.1)


async def fail(scene: FailureScene) -> None:
    for reader in await open_streams(scene, 3):
        reader.comes_back = False
    scene.say("a", "1")
    await scene.until(lambda: all(reader.endings for reader in scene.returning))


def test_a_hub_that_cannot_even_end_its_streams_ends_itself() -> None:
    below = "_hub.failstop", "fail"
    end_badly(fail, every := Tracer(below=below), Nonsense())
    assert len(every.lines) > 50
    for line in every.lines:
        end_badly(fail, tracer := Tracer(line, below), Nonsense())
        assert tracer.raised, line
