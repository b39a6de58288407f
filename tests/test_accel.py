"""The listener for nginx: tickets, and those who come with them."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import logging
import os
import re
import socket
import time
from pathlib import Path

import pytest
from servers import until

from flask_push import _accel
from flask_push._accel import AccelListener
from flask_push._accel import head
from flask_push._accel import new_ticket
from flask_push._accel import ticket_of
from flask_push._stream import Options
from flask_push._stream import Stream

# The listener alone.


class Room:
    """A listener, and what it gives to the hub."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.adopted: list[tuple[Stream, int]] = []
        loop = asyncio.get_running_loop()
        options = Options()
        self.listener = AccelListener(loop, path, self.adopt, options)

    def adopt(self, stream: Stream, fd: int) -> None:
        self.adopted.append((stream, fd))
        os.write(fd, stream.head)

    def close(self) -> None:
        self.listener.close()
        for _, fd in self.adopted:
            os.close(fd)

    async def ask(self, request: bytes) -> bytes:
        """What is answered, until it ends or the hub has it."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        for n in range(len(request)):
            writer.write(request[n : n + 1])
        before = len(self.adopted)
        answer = b""
        async with asyncio.timeout(10):
            while data := await reader.read(65536):
                answer += data
                if len(self.adopted) > before:
                    break
        writer.close()
        return answer


STREAM = Stream(("a",), "x", head=head("200 OK", [("X", "y")], "today"))


def run(scene: cabc.Callable[[Room], cabc.Awaitable[None]], tmp_path: Path) -> None:
    async def main() -> None:
        room = Room(tmp_path / "accel.sock")
        try:
            await scene(room)
        finally:
            room.close()
        assert not room.path.exists()

    asyncio.run(main())


def get(ticket: str, method: str = "GET") -> bytes:
    return f"{method} /_push/{ticket} HTTP/1.0\r\nHost: x\r\n\r\n".encode()


def test_a_ticket_is_good_once(tmp_path: Path) -> None:
    async def scene(room: Room) -> None:
        ticket = room.listener.ticket(STREAM)
        assert repr(room.listener).endswith("accel.sock [1 tickets]>")
        assert b"X: y\r\n" in await room.ask(get(ticket))
        assert [stream for stream, _ in room.adopted] == [STREAM]
        again = await room.ask(get(ticket))
        assert again.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream")
        assert re.search(rb"\r\n\r\n:\nretry: \d+\n\Z", again)
        assert len(room.adopted) == 1

    run(scene, tmp_path)


def test_a_ticket_may_come_after_its_connection(tmp_path: Path) -> None:
    async def scene(room: Room) -> None:
        ticket = new_ticket()
        asked = asyncio.create_task(room.ask(get(ticket)))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(room.listener.expect, ticket, STREAM)
        assert b"X: y" in await asked

    run(scene, tmp_path)


@pytest.mark.parametrize(
    "request_", [get("x", "POST"), b"\r\n\r\n", b"GET /\r\n\r\n", b"x" * 70_000]
)
def test_what_is_no_request_for_a_stream_is_cut(tmp_path: Path, request_: bytes) -> None:
    async def scene(room: Room) -> None:
        with contextlib.suppress(ConnectionError):
            assert await room.ask(request_) == b""
        until(lambda: not room.listener.visits)

    run(scene, tmp_path)


def test_only_the_last_part_of_the_path_counts() -> None:
    assert ticket_of(b"GET /_push/a_b-c?x=/y HTTP/1.0\r\n\r\n") == "a_b-c"
    assert ticket_of(b"GET /_push/ HTTP/1.0\r\n\r\n") == ""


def test_old_tickets_are_forgotten_and_many_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_accel, "MOST", 3)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)

    async def scene(room: Room) -> None:
        nonlocal now
        old = [room.listener.ticket(STREAM) for _ in range(3)]
        with pytest.raises(RuntimeError, match="nginx has not come for 3 streams"):
            room.listener.ticket(STREAM)
        now += _accel.GOOD_FOR + 1
        assert room.listener.redeem(old[0]) is None
        room.listener.ticket(STREAM)
        assert "[1 tickets]" in repr(room.listener)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "did not come for 2 streams" in record.getMessage()
        caplog.clear()

    run(scene, tmp_path)


def test_connections_that_say_nothing_are_bounded_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_accel, "MOST", 3)
    monkeypatch.setattr(_accel, "_PATIENCE", 0.3)

    async def scene(room: Room) -> None:
        silent = [await asyncio.open_unix_connection(room.path) for _ in range(4)]
        await asyncio.sleep(0.1)
        assert len(room.listener.visits) == 3
        ticket = room.listener.ticket(STREAM)
        assert b"X: y" in await room.ask(get(ticket))
        for reader, writer in silent:
            assert await asyncio.wait_for(reader.read(), 2) == b""
            writer.close()

    run(scene, tmp_path)


def test_a_socket_that_was_left_behind_is_taken_and_another_process_is_not(
    tmp_path: Path,
) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "accel.sock"))

    async def scene(room: Room) -> None:
        with pytest.raises(RuntimeError, match="Another process listens"):
            Room(room.path)
        assert b"X: y" in await room.ask(get(room.listener.ticket(STREAM)))
        assert len(room.listener.descriptors()) == 1

    run(scene, tmp_path)


def test_a_path_that_is_too_long_names_the_cure(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="PUSH_RUN_DIR"):
            Room(tmp_path / ("x" * 100))

    asyncio.run(main())


def test_nginx_keeps_some_headers_itself() -> None:
    kept = [("Set-Cookie", "a"), ("Cache-Control", "b"), ("Expires", "c")]
    said = head("200 OK", [*kept, ("Vary", "d"), ("Content-Type", "e")], "today")
    assert said == (
        b"HTTP/1.1 200 OK\r\nVary: d\r\nContent-Type: e\r\n"
        b"Date: today\r\nConnection: close\r\n\r\n"
    )
