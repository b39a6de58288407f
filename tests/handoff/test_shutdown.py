"""When a server begins to end, as its processes see it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from support.coroutines import run

from flask_push._handoff.shutdown import Ending
from flask_push._handoff.shutdown import find_listeners
from flask_push._system import sockets

# How the end of a server is seen.


def listen(family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family)
    sock.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
    sock.listen()
    return sock


def port_of(sock: socket.socket) -> str:
    return str(sock.getsockname()[1])


def test_only_sockets_that_listen_at_the_port_are_found(tmp_path: Path) -> None:
    with (
        listen() as right,
        listen(),
        listen(socket.AF_INET6) as six,
        socket.socket() as other,
    ):
        other.connect(right.getsockname())
        accepted, _ = right.accept()
        with accepted:
            assert [fd for fd, _ in find_listeners(port_of(right))] == [right.fileno()]
            assert [fd for fd, _ in find_listeners(port_of(six))] == [six.fileno()]
            assert find_listeners("1") == []
    with socket.socket(socket.AF_UNIX) as unix:
        before = len(find_listeners(None))
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        assert len(find_listeners(None)) == before + 1


@pytest.mark.parametrize("are_files", [True, False])
def test_the_end_of_a_server_is_seen_by_all_streams_and_by_later_ones(
    are_files: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "SOCKETS_ARE_FILES", are_files)

    async def scene() -> None:
        first, second = listen(), listen(socket.AF_INET6)
        second.close()
        ending = Ending(asyncio.get_running_loop(), port_of(first))
        waiting = [asyncio.create_task(ending.wait()) for _ in range(3)]
        given_up = asyncio.create_task(ending.wait())
        await asyncio.sleep(0.3)
        given_up.cancel()
        assert not any(task.done() for task in waiting)
        number = first.fileno()
        first.close()
        # Its number may be another's at once.
        with socket.socket() as other:
            assert other.fileno() == number
            await asyncio.wait_for(asyncio.gather(*waiting), 20)
            await asyncio.wait_for(ending.wait(), 20)

    run(scene())


def test_a_server_that_listens_again_has_not_ended() -> None:
    async def scene() -> None:
        first = listen()
        port = port_of(first)
        ending = Ending(asyncio.get_running_loop(), port)
        task = asyncio.create_task(ending.wait())
        await asyncio.sleep(0)
        first.close()
        await asyncio.wait_for(task, 20)
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(("127.0.0.1", int(port)))
            again.listen()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ending.wait(), 0.5)

    run(scene())


def test_a_process_without_a_listening_socket_has_no_end() -> None:
    async def scene() -> None:
        ending = Ending(asyncio.get_running_loop(), "1")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ending.wait(), 0.5)

    run(scene())
