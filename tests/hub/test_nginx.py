"""Streams by way of nginx, of a server that gives no sockets away."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from pathlib import Path

import pytest
from support.nginx import front as front
from support.nginx import granian
from support.nginx import Room
from support.nginx import run
from support.servers import end_hubs
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import until
from support.sockets import read_until
from support.workers import adopt
from support.workers import make

from flask_push._delivery.follow import Follow
from flask_push._delivery.stream import Stream
from flask_push._hub import nginx
from flask_push._hub import tokens
from flask_push._hub.nginx_request import RequestHead
from flask_push._ipc.protocol import new_token
from flask_push._response import accel_head
from flask_push._system.inodes import identity
from flask_push._system.unix import is_listened_on


def test_thirty_streams_take_none_of_two_threads(front: Server, tmp_path: Path) -> None:
    readers = [front.stream("a", "b").opened() for _ in range(30)]
    assert front.get("/ping") == "pong"
    assert status(tmp_path)["streams"] == 30
    for n in range(20):
        front.publish("ab"[n % 2], f"{n}")
    for reader in readers:
        assert reader.read_data(20) == [str(n) for n in range(20)]
        assert not reader.gaps
    for reader in readers[:20]:
        reader.close()
    until(lambda: status(tmp_path)["streams"] == 10)
    assert not front.log, "and nginx has nothing to say"


def test_the_response_is_the_views(front: Server) -> None:
    headers = front.stream("a").opened().head.decode().lower()
    for line in (
        "http/1.1 200 ok",
        "content-type: text/event-stream; charset=utf-8",
        "cache-control: no-store, no-transform",
        "x-after-request: yes",
        "vary: cookie",
    ):
        assert headers.count(f"{line}\r\n") == 1, headers
    assert len(re.findall(r"^set-cookie: session=", headers, re.M)) == 1
    assert len(re.findall(r"^date: ", headers, re.M)) == 1
    assert "x-accel" not in headers and "content-length" not in headers


def test_a_response_that_is_not_a_stream_is_sent_as_usual(front: Server) -> None:
    assert front.request("HEAD", "/stream?channel=a")[0] == 200
    assert front.request("GET", "/stream?channel=a&status=403")[0] == 403
    assert front.request("GET", "/stream?channel=a&redirect=/ping")[0] == 302
    # The location is no one's but nginx's.
    assert front.request("GET", "/_push/x")[0] == 404


def test_a_stream_resumes_where_it_stopped(front: Server) -> None:
    reader = front.stream("a").opened()
    front.publish("a", "1")
    reader.read_data(1)
    reader.close()
    front.publish("a", "2")
    again = front.stream("a", last_id=reader.last_id)
    assert again.read_data(1) == ["2"] and not again.gaps


def test_a_stream_ends_with_an_end_and_not_a_cut(front: Server) -> None:
    status, headers, body = front.request("GET", "/stream?channel=a&lifetime=0.3")
    assert status == 200 and headers["Transfer-Encoding"] == "chunked"
    assert re.search(rb"\n\nretry: \d+\n\Z", body)


def test_without_nginx_the_browser_comes_back_and_the_log_says_why(tmp_path: Path) -> None:
    with serve(granian, tmp_path, PUSH_ACCEL="/_push/") as server:
        status, headers, body = server.request("GET", "/stream?channel=a")
        assert status == 200 and headers["X-Accel-Redirect"].startswith("/_push/")
        assert re.fullmatch(rb":\nretry: \d+\n", body)


def test_where_a_second_process_listens_streams_are_relayed(tmp_path: Path) -> None:
    (tmp_path / "push-basic").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "push-basic" / "accel.sock"))
        other.listen()
        with serve(granian, tmp_path, PUSH_ACCEL="/_push/") as server:
            reader = server.stream("a").opened()
            assert "x-accel-redirect" not in reader.headers
            assert "because Another process listens on" in server.log


# The listener alone.


STREAM = Stream(("a",), "x", head=accel_head("200 OK", [("X", "y")], "today"))
RUN = STREAM._replace(follow=Follow("a", "1.1", "openai", framing="chunked"))


def get(token: str, method: str = "GET") -> bytes:
    return f"{method} /_push/{token} HTTP/1.0\r\nHost: x\r\n\r\n".encode()


def test_a_token_is_valid_once(tmp_path: Path) -> None:
    async def scene(room: Room) -> None:
        token = room.listener.token(STREAM)
        assert repr(room.listener).endswith("accel.sock [1 tokens]>")
        assert b"X: y\r\n" in await room.ask(get(token))
        assert [stream for stream, _ in room.adopted] == [STREAM]
        again = await room.ask(get(token))
        assert again.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream")
        assert re.search(rb"\r\n\r\n:\nretry: \d+\n\Z", again)
        assert len(room.adopted) == 1

    run(scene, tmp_path)


def test_a_client_of_a_run_with_an_unknown_token_gets_no_empty_run(tmp_path: Path) -> None:
    async def scene(room: Room) -> None:
        token = room.listener.token(RUN)
        assert b"X: y\r\n" in await room.ask(get(token))
        again = await room.ask(get(token))
        assert again.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert b"Retry-After: 2\r\nx-should-retry: false\r\n" in again

    run(scene, tmp_path)


def test_a_token_may_arrive_after_its_connection(tmp_path: Path) -> None:
    async def scene(room: Room) -> None:
        token = new_token()
        asked = asyncio.create_task(room.ask(get(token)))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(room.listener.tokens.expect, token, STREAM)
        assert b"X: y" in await asked

    run(scene, tmp_path)


@pytest.mark.parametrize(
    "request_", [get("x", "POST"), b"\r\n\r\n", b"GET /\r\n\r\n", b"x" * 70_000]
)
def test_what_is_no_request_for_a_stream_is_cut(tmp_path: Path, request_: bytes) -> None:
    async def scene(room: Room) -> None:
        with contextlib.suppress(ConnectionError):
            assert await room.ask(request_) == b""
        until(lambda: not room.listener.requests)

    run(scene, tmp_path)


def test_a_request_without_end_is_cut_long_before_its_time_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nginx, "_REQUEST_SECONDS", 600)

    async def scene(room: Room) -> None:
        with contextlib.suppress(ConnectionError):
            assert await room.ask(b"GET /_push/x HTTP/1.0\r\nX: " + b"x" * 70_000) == b""
        until(lambda: not room.listener.requests)

    run(scene, tmp_path)


def test_only_the_last_part_of_the_path_counts() -> None:
    assert RequestHead(b"GET /_push/a_b-c?x=/y HTTP/1.0\r\n\r\n").token == "a_b-c"
    assert RequestHead(b"GET /_push/ HTTP/1.0\r\n\r\n").token == ""


def test_a_socket_that_is_removed_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(room: Room) -> None:
        for _ in range(2):
            room.path.unlink()
            async with asyncio.timeout(20):
                while not is_listened_on(room.path):
                    await asyncio.sleep(0.05)
            assert b"X: y\r\n" in await room.ask(get(room.listener.token(STREAM)))
        assert room.path.stat().st_mode & 0o777 == 0o660
        assert "was removed; the hub made it again" in caplog.text

    run(scene, tmp_path)


def test_a_listener_leaves_what_another_process_listens_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(nginx, "_LOOK_SECONDS", 0.05)

    async def main() -> None:
        room = Room(tmp_path / "accel.sock")
        room.path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(room.path))
            other.listen()
            made = identity(room.path)
            async with asyncio.timeout(20):
                while "Another process listens" not in caplog.text:
                    await asyncio.sleep(0.05)
            assert identity(room.path) == made
            room.close()
            assert identity(room.path) == made

    asyncio.run(main())


def test_a_process_that_accepts_nothing_is_not_waited_for(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "accel.sock"
        with socket.socket(socket.AF_UNIX) as other, contextlib.ExitStack() as stack:
            other.bind(str(path))
            other.listen(0)
            with contextlib.suppress(BlockingIOError):
                for _ in range(10):
                    sock = stack.enter_context(socket.socket(socket.AF_UNIX))
                    sock.setblocking(False)
                    sock.connect(str(path))
            with pytest.raises(RuntimeError, match="Another process listens on"):
                Room(path)

    asyncio.run(main())


def test_an_ordinary_file_is_not_replaced(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "accel.sock"
        path.write_text("precious")
        with pytest.raises(RuntimeError, match="is not a socket, and so"):
            Room(path)
        assert path.read_text() == "precious"

    asyncio.run(main())


def test_a_flood_of_tokens_is_one_line_of_the_log(tmp_path: Path) -> None:
    path = tmp_path / "accel.sock"
    worker = make(tmp_path, accel=str(path))
    log = tmp_path / "hub.log"

    def is_too_fast() -> bool:
        for _ in range(tokens.MOST + 200):
            worker.token(STREAM)
        return "Dropped a token" in log.read_text()

    try:
        until(is_too_fast)
        # The hub has read all of them, when it has read what comes after.
        with adopt(worker) as sock:
            read_until(sock, b"push:open")
        text = log.read_text()
        assert text.count("Dropped a token") == 1 and "Traceback" not in text
        assert f"nginx has not connected for {tokens.MOST} streams" in text
    finally:
        worker.stop()
        end_hubs(tmp_path)


def test_connections_that_say_nothing_are_bounded_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nginx, "MOST_CONNECTIONS", 3)
    monkeypatch.setattr(nginx, "_REQUEST_SECONDS", 1)

    async def scene(room: Room) -> None:
        silent = [await asyncio.open_unix_connection(room.path) for _ in range(4)]
        await asyncio.sleep(0.1)
        assert len(room.listener.requests) == 3
        token = room.listener.token(STREAM)
        assert b"X: y" in await room.ask(get(token))
        for reader, writer in silent:
            assert await asyncio.wait_for(reader.read(), 20) == b""
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
        assert b"X: y" in await room.ask(get(room.listener.token(STREAM)))
        assert len(room.listener.descriptors()) == 1

    run(scene, tmp_path)


def test_a_path_that_is_too_long_names_the_cure(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="PUSH_RUN_DIR"):
            Room(tmp_path / ("x" * 100))

    asyncio.run(main())


def test_nginx_keeps_some_headers_itself() -> None:
    kept = [("Set-Cookie", "a"), ("Cache-Control", "b"), ("Expires", "c")]
    said = accel_head("200 OK", [*kept, ("Vary", "d"), ("Content-Type", "e")], "today")
    assert said == (
        b"HTTP/1.1 200 OK\r\nVary: d\r\nContent-Type: e\r\n"
        b"Date: today\r\nConnection: close\r\n\r\n"
    )
