"""Sockets that a hub polls: those of servers that drain, and browsers that leave."""

from __future__ import annotations

import socket

from support.hubs import first as first
from support.hubs import HubScene
from support.hubs import run
from support.reader import SocketReader
from support.sockets import is_open

from flask_push._delivery.stream import Stream
from flask_push._ipc.client import Client
from flask_push.testing._sink import until


def test_the_hub_notices_a_browser_that_leaves_without_sending_anything() -> None:
    async def test(scene: HubScene) -> None:
        one, two = await scene.open("a"), await scene.open("a", "b")
        one.sock.close()
        await until(lambda: "1 connections" in repr(scene.hub))
        two.sock.shutdown(socket.SHUT_WR)
        await until(lambda: repr(scene.hub).startswith("<Hub [0 channels, 0"))

    run(test)


def test_a_drain_is_emptied_until_its_server_closes_it() -> None:
    async def test(scene: HubScene) -> None:
        server, drain = socket.socketpair()
        browser = SocketReader()
        scene.readers.append(browser)
        number = drain.detach()
        scene.hub.adopt(Stream(("a",), "x"), Client(browser.theirs.detach(), number))
        server.setblocking(False)
        sent = 0

        def send() -> bool:
            nonlocal sent
            try:
                sent += server.send(b"x" * 65536)
            except BlockingIOError:
                pass
            return sent > 2**21

        await until(send)
        server.close()
        await until(lambda: not is_open(number))

    run(test)


def test_drains_that_servers_have_closed_are_closed_together() -> None:
    async def test(scene: HubScene) -> None:
        browsers = [SocketReader() for _ in range(70)]
        scene.readers += browsers
        pairs = [socket.socketpair() for _ in browsers]
        numbers = [drain.detach() for _, drain in pairs]
        for browser, (server, _), number in zip(browsers, pairs, numbers, strict=True):
            server.send(b"HTTP/1.1 200 OK\r\n\r\n" * 2000)
            server.close()
            scene.hub.adopt(Stream(("a",), "x"), Client(browser.theirs.detach(), number))
        # Of so many, some did not wait for the others.
        assert 0 < sum(map(is_open, numbers)) < 10
        await until(lambda: not any(map(is_open, numbers)))

    run(test)
