"""What a hub refuses, and when it asks browsers to reconnect."""

from __future__ import annotations

import os
import re
import socket

import pytest
from support import coroutines
from support.hubs import first as first
from support.hubs import HubScene
from support.hubs import run
from support.reader import SocketReader

from flask_push._config import Config
from flask_push._delivery.options import Options
from flask_push._delivery.stream import LISTENER
from flask_push._delivery.stream import Stream
from flask_push._ipc.client import Client
from flask_push._system import descriptors
from flask_push.brokers.memory import MemoryBroker
from flask_push.testing._sink import until


def test_each_user_may_have_a_number_of_streams(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(scene: HubScene) -> None:
        ann = [await scene.open("a", user="ann") for _ in range(2)]
        ben = [await scene.open("a", user="ben") for _ in range(2)]
        unnamed = [await scene.open("a") for _ in range(3)]
        for _ in range(3):
            refused = scene.adopt("a", user="ann")
            await refused.ends()
            assert re.fullmatch(rb":\nretry: \d+\n", refused.body)
        assert caplog.text.count("PUSH_MAX_STREAMS_PER_USER") == 1
        ann[0].sock.close()
        await until(lambda: "6 connections" in repr(scene.hub))
        again = await scene.open("a", user="ann")
        scene.say("a", "x")
        for browser in [ann[1], again, *ben, *unnamed]:
            await browser.receives("x")

    run(test, max_per_user=2)


def test_each_address_may_have_a_number_of_streams() -> None:
    async def test(scene: HubScene) -> None:
        await scene.open("a", address="::1")
        refused = scene.adopt("a", address="::1", user="ann")
        await refused.until(lambda: refused.ended)
        await scene.open("a", address="::2", user="ann")

    run(test, max_per_address=1)


def test_sockets_are_bounded() -> None:
    async def test(scene: HubScene) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            served, _ = listener.accept()
        scene.hub.adopt(Stream(("a",), "x"), Client(os.dup(served.fileno())))
        buffer = served.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        assert buffer <= 2 * 128 * 1024
        assert served.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        assert served.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        client.close()
        served.close()

    run(test)


def test_a_hub_holds_no_more_sockets_than_select_takes(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where the number of a socket does not say how many there are."""
    monkeypatch.setattr(descriptors, "resource", None)
    monkeypatch.setattr(descriptors, "_SELECTED", 8)

    async def test(scene: HubScene) -> None:
        held = [await scene.open("a") for _ in range(6)]
        refused = scene.adopt("a")
        await refused.ends()
        assert b"retry: " in refused.body
        held.pop().sock.close()
        await until(lambda: "5 connections" in repr(scene.hub))
        held.append(await scene.open("a"))
        scene.say("a", "x")
        for browser in held:
            await browser.receives("x")

    run(test)
    assert "beside 6, because this system polls at most 8 sockets at once" in caplog.text


def test_sockets_to_which_servers_still_write_count_where_select_polls_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(descriptors, "resource", None)
    monkeypatch.setattr(descriptors, "_SELECTED", 8)

    async def test(scene: HubScene) -> None:
        pairs = [socket.socketpair() for _ in range(4)]
        drains = [drain.detach() for _, drain in pairs]
        for drain in drains[:3]:
            await scene.open("a", drain=drain)
        await scene.adopt("a", drain=drains[3]).ends()
        for server, _ in pairs:
            server.close()
        await until(lambda: scene.hub._streams.poller.drains == 0)
        await scene.open("a")

    run(test)


@pytest.mark.parametrize(
    ("data", "type"),
    [("x" * 2000, "message"), ("\n" * 150, "message"), ("x", "t" * 257)],
)
def test_an_event_that_is_too_large_is_a_gap(
    data: str, type: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(scene: HubScene) -> None:
        browser = await scene.open("a", "b")
        scene.say("a", "small")
        (too_large,) = scene.say("a", data, type=type)
        scene.say("b", "other")
        await browser.receives("small", "other")
        (gap,) = browser.gaps
        assert gap["channels"] == ["a"]
        assert [e.id.partition(".")[0] for e in browser.events][2] == too_large
        # Replay says the same.
        again = await scene.open("a", "b", position=browser.events[0].id)
        await again.receives("small", "other")
        assert again.gaps[0]["channels"] == ["a"]

    run(test, max_event=1000)
    assert "PUSH_MAX_EVENT_BYTES" in caplog.text or "256 at most" in caplog.text


def retries(*browsers: SocketReader) -> list[int]:
    """The last ``retry:`` that each browser got."""
    return [int(re.findall(rb"retry: (\d+)\n", browser.body)[-1]) for browser in browsers]


def test_reconnects_of_all_browsers_are_spread() -> None:
    async def main() -> None:
        scene = HubScene(MemoryBroker(), Options(return_rate=2, max_streams=40))
        try:
            streams = [await scene.open("a") for _ in range(39)]
            # A browser whose stream ends alone reconnects alone.
            alone = scene.adopt("a", poll=True)
            await alone.until(lambda: alone.ended)
            assert max(retries(alone, *streams)) <= 4000
            streams.append(await scene.open("a"))
            refused = [scene.adopt("a") for _ in range(20)]
            for browser in refused:
                await browser.ends()
            assert 4000 < max(retries(*refused)) <= 24_000
            scene.hub.stop()
            for browser in streams:
                await browser.ends()
            told = sorted(retries(*streams))
            # At two a second, the half of them within about ten seconds.
            assert told[0] < 10_000 < told[-1] <= 24_000
            assert 6 < sum(milliseconds < 13_000 for milliseconds in told) < 34
        finally:
            for browser in scene.readers:
                browser.close()

    coroutines.run(main())


def test_no_browser_has_to_wait_longer_than_minutes() -> None:
    slow, never = Options(return_rate=0.001), Options(return_rate=0)
    told = [slow.jittered_retry(1_000_000) for _ in range(100)]
    assert 60_000 < max(told) <= 304_000
    assert max(never.jittered_retry(1_000_000) for _ in range(100)) <= 4000
    shares = Config(return_rate=500, hub_processes=5).options
    assert shares.return_rate == 100


def test_the_wait_in_a_gap_grows_with_the_number_of_streams() -> None:
    async def test(scene: HubScene) -> None:
        browsers = [await scene.open("a", position="nowhere") for _ in range(50)]
        waits = []
        for browser in browsers:
            await browser.receives_a_gap()
            waits += [gap["wait"] for gap in browser.gaps]
        assert 0 <= min(waits) and max(waits) <= 0.05
        assert len(set(waits)) > 5

    run(test)


def test_no_limit_counts_what_the_app_itself_listens_to() -> None:
    async def test(scene: HubScene) -> None:
        listeners = [await scene.open("a", session=LISTENER) for _ in range(3)]
        browsers = [await scene.open("a") for _ in range(2)]
        refused = scene.adopt("a")
        await refused.ends()
        listeners.append(await scene.open("a", session=LISTENER))
        status = scene.hub.status()
        assert (status["streams"], status["without_user"]) == (6, 2)
        listeners.pop().sock.close()
        await until(lambda: "5 connections" in repr(scene.hub))
        await scene.adopt("a").ends()
        browsers.pop().sock.close()
        await until(lambda: "4 connections" in repr(scene.hub))
        browsers.append(await scene.open("a"))
        scene.say("a", "x")
        for reader in [*listeners, *browsers]:
            await reader.receives("x")

    run(test, max_streams=2)
