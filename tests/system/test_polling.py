"""Which sockets are ready: the loop's own readers and writers find the same as epoll."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import select
import socket

import pytest

from flask_push._system import descriptors
from flask_push._system import polling
from flask_push._system.polling import LoopSelector
from flask_push._system.polling import READABLE
from flask_push._system.polling import Selector
from flask_push._system.polling import WRITABLE
from flask_push.testing._sink import until

each = pytest.mark.parametrize("kind", ["epoll", "loop"])


@contextlib.asynccontextmanager
async def started(
    kind: str, found: list[tuple[int, int]]
) -> cabc.AsyncIterator[tuple[Selector, socket.socket, socket.socket]]:
    """A selector on the loop of the test, and a pair of sockets."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    selector = LoopSelector() if kind == "loop" else polling.new_selector()
    loop = asyncio.get_running_loop()
    try:
        polling.start(selector, loop, lambda: found.extend(selector.poll(0, 1000)))
        yield selector, ours, theirs
    finally:
        polling.stop(selector, loop)
        selector.close()
        ours.close()
        theirs.close()
    assert selector.closed


def test_a_loop_gets_no_more_sockets_than_it_can_poll(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(descriptors, "resource", None)
    monkeypatch.setattr(descriptors, "_SELECTED", 8)
    selector = LoopSelector()
    for fd in range(100, 107):
        selector.register(fd, READABLE)
    with pytest.raises(OSError, match="at most 8 sockets"):
        selector.register(107, READABLE)
    selector.unregister(100)
    selector.register(107, READABLE)


@each
def test_a_socket_is_found_when_it_is_readable(kind: str) -> None:
    async def test() -> None:
        found: list[tuple[int, int]] = []
        async with started(kind, found) as (selector, ours, theirs):
            selector.register(ours.fileno(), READABLE)
            await asyncio.sleep(0)
            theirs.send(b"x")
            await until(lambda: bool(found))
            fd, mask = found[0]
            assert fd == ours.fileno() and mask & READABLE and not mask & WRITABLE

    asyncio.run(test())


@each
def test_a_socket_is_found_again_until_it_was_read(kind: str) -> None:
    async def test() -> None:
        found: list[tuple[int, int]] = []
        async with started(kind, found) as (selector, ours, theirs):
            selector.register(ours.fileno(), READABLE)
            theirs.send(b"x")
            await until(lambda: len(found) > 2)
            ours.recv(1)
            await asyncio.sleep(0.01)
            found.clear()
            await asyncio.sleep(0.01)
            assert not found

    asyncio.run(test())


@each
def test_a_socket_is_found_writable_only_while_that_is_asked_for(kind: str) -> None:
    async def test() -> None:
        found: list[tuple[int, int]] = []
        async with started(kind, found) as (selector, ours, theirs):
            selector.register(ours.fileno(), READABLE)
            selector.modify(ours.fileno(), READABLE | WRITABLE)
            await until(lambda: bool(found))
            assert found[0] == (ours.fileno(), WRITABLE)
            selector.modify(ours.fileno(), READABLE)
            found.clear()
            await asyncio.sleep(0.01)
            assert not found

    asyncio.run(test())


@each
def test_the_end_of_a_socket_is_found(kind: str) -> None:
    async def test() -> None:
        found: list[tuple[int, int]] = []
        async with started(kind, found) as (selector, ours, theirs):
            selector.register(ours.fileno(), READABLE)
            theirs.close()
            await until(lambda: bool(found))
            assert found[0][1] & READABLE
            selector.unregister(ours.fileno())
            found.clear()
            await asyncio.sleep(0.01)
            assert not found

    asyncio.run(test())


@each
def test_nothing_is_found_after_the_stop(kind: str) -> None:
    async def test() -> None:
        found: list[tuple[int, int]] = []
        async with started(kind, found) as (selector, ours, theirs):
            selector.register(ours.fileno(), READABLE)
            polling.stop(selector, asyncio.get_running_loop())
            theirs.send(b"x")
            await asyncio.sleep(0.01)
            assert not found

    asyncio.run(test())


@each
def test_a_socket_is_registered_once_and_known_before_it_is_changed(kind: str) -> None:
    async def test() -> None:
        async with started(kind, []) as (selector, ours, _):
            with pytest.raises(FileNotFoundError):
                selector.modify(ours.fileno(), READABLE)
            with pytest.raises(FileNotFoundError):
                selector.unregister(ours.fileno())
            selector.register(ours.fileno(), READABLE)
            with pytest.raises(FileExistsError):
                selector.register(ours.fileno(), READABLE)
            selector.unregister(ours.fileno())

    asyncio.run(test())


def test_what_was_registered_before_the_loop_is_polled_too() -> None:
    async def test() -> None:
        found: list[tuple[int, int]] = []
        selector = LoopSelector()
        ours, theirs = socket.socketpair()
        selector.register(ours.fileno(), READABLE)
        theirs.send(b"x")
        loop = asyncio.get_running_loop()
        polling.start(selector, loop, lambda: found.extend(selector.poll()))
        await until(lambda: bool(found))
        assert polling.descriptors(selector) == []
        selector.close()
        ours.close()
        theirs.close()

    asyncio.run(test())


def test_epoll_itself_is_a_descriptor() -> None:
    selector = polling.new_selector()
    assert isinstance(selector, select.epoll)
    assert polling.descriptors(selector) == [selector.fileno()]
    selector.close()


def test_sockets_whose_other_end_is_closed_have_ended() -> None:
    one, other = socket.socketpair(), socket.socketpair()
    one[1].close()
    assert polling.ended([one[0].fileno(), other[0].fileno()]) == {one[0].fileno()}
    for sock in (*one, *other):
        sock.close()


def test_without_poll_no_socket_is_known_to_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(select, "poll")
    ours, theirs = socket.socketpair()
    theirs.close()
    assert polling.ended([ours.fileno()]) == set()
    ours.close()


def test_a_loop_that_polls_no_sockets_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Proactor(asyncio.SelectorEventLoop):
        """The loop of Windows, of which only the name counts here."""

    monkeypatch.setattr(asyncio, "ProactorEventLoop", Proactor, raising=False)
    monkeypatch.setattr(asyncio, "new_event_loop", Proactor)
    loop = polling.new_loop()
    assert type(loop) is asyncio.SelectorEventLoop
    asyncio.set_event_loop(None)
    loop.close()


def test_a_socket_is_quiet_until_something_arrives_or_the_other_end_closes() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert polling.is_quiet(ours)
        theirs.send(b"x")
        assert not polling.is_quiet(ours)
        ours.recv(1)
        assert polling.is_quiet(ours)
        theirs.close()
        assert not polling.is_quiet(ours)
