"""One connection to a Redis. The test is the server at the other end of the socket."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import os
import socket
import typing as t

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_push.brokers.redis import connection as _connection
from flask_push.brokers.redis.connection import encode
from flask_push.brokers.redis.connection import RedisConnection
from flask_push.brokers.redis.connection import ReplyError
from flask_push.testing._sink import until


class Server:
    """The server's end of a connection, and what the connection hands on."""

    def __init__(self) -> None:
        self.sock, theirs = socket.socketpair()
        theirs.setblocking(False)
        self.sock.setblocking(False)
        self.events: list[t.Any] = []
        self.lost: list[Exception] = []
        loop = asyncio.get_running_loop()
        self.connection = RedisConnection(
            loop, theirs, self.events.append, self.lost.append
        )

    def call(self, *args: str) -> None:
        self.connection.call(args, self.events.append)

    async def fails(self) -> Exception:
        """Wait until the connection is lost, and return the reason."""
        await until(lambda: self.lost)
        (error,) = self.lost
        # It is closed, and is not lost a second time.
        self.connection.close()
        await asyncio.sleep(0)
        assert self.lost == [error]
        return error


def run(test: cabc.Callable[[Server], cabc.Coroutine[t.Any, t.Any, None]]) -> None:
    failed: list[dict[str, t.Any]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: failed.append(context))
        server = Server()
        try:
            await asyncio.wait_for(test(server), 30)
        finally:
            server.connection.close()
            server.sock.close()

    asyncio.run(main())
    assert failed == [], "a callback of the loop"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.binary()))
def test_a_command_is_read_as_it_was_made(args: list[str | bytes]) -> None:
    reader = hiredis.Reader()
    reader.feed(encode(args))
    assert reader.gets() == [a if isinstance(a, bytes) else a.encode() for a in args]


def test_a_number_is_sent_as_text() -> None:
    assert encode(["GET", 17]) == b"*2\r\n$3\r\nGET\r\n$2\r\n17\r\n"


#: Replies and published events in the order in which a server sends them.
SENT = (
    b"+OK\r\n"
    b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n1\r\n"
    b">3\r\n$8\r\nsmessage\r\n$1\r\nb\r\n$1\r\n2\r\n"
    b":5\r\n"
    b"-ERR no\r\n"
    b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\n3\r\n"
)


@given(st.lists(st.integers(0, len(SENT)), max_size=8).map(sorted))
def test_replies_and_events_are_handed_on_in_order_however_they_are_cut(
    cuts: list[int],
) -> None:
    async def test(server: Server) -> None:
        for _ in range(3):
            server.call("PING")
        for start, end in zip([0, *cuts], [*cuts, len(SENT)], strict=True):
            server.sock.send(SENT[start:end])
            await asyncio.sleep(0)
        await until(lambda: sum(map(size, server.events)) == 6)
        flat = [each for item in server.events for each in in_order(item)]
        assert flat[:4] == [b"OK", (b"a", b"1"), (b"b", b"2"), 5]
        assert isinstance(flat[4], ReplyError) and flat[5] == (b"a", b"3")
        assert not server.lost

    def size(item: t.Any) -> int:
        return len(in_order(item))

    def in_order(item: t.Any) -> list[t.Any]:
        return item if isinstance(item, list) else [item]

    run(test)


def test_events_that_arrive_together_are_handed_on_together() -> None:
    async def test(server: Server) -> None:
        server.sock.send(SENT[5:-28].partition(b":5")[0])
        await until(lambda: server.events)
        assert server.events == [[(b"a", b"1"), (b"b", b"2")]]

    run(test)


def test_a_subscription_is_over_when_each_channel_is_confirmed() -> None:
    async def test(server: Server) -> None:
        server.connection.change("SUBSCRIBE", [b"a", b"b"])
        server.call("PING")
        for name in b"a", b"b":
            server.sock.send(b">3\r\n$9\r\nsubscribe\r\n$1\r\n%b\r\n:1\r\n" % name)
        server.sock.send(b"+PONG\r\n")
        await until(lambda: server.events)
        assert server.events == [b"PONG"] and not server.lost
        assert server.sock.recv(4096) == encode(["SUBSCRIBE", b"a", b"b"]) + encode(
            ["PING"]
        )

    run(test)


def test_a_subscription_that_is_refused_loses_the_connection() -> None:
    async def test(server: Server) -> None:
        server.connection.change("SUBSCRIBE", [b"a"])
        server.sock.send(b"-NOPERM no\r\n")
        error = await server.fails()
        assert isinstance(error, ReplyError) and str(error) == "NOPERM no"

    run(test)


@pytest.mark.parametrize(
    ("data", "type", "words"),
    [
        (b"+OK\r\n", ConnectionError, "It sent a reply to no command: b'OK'"),
        (b"nonsense\r\n", hiredis.ProtocolError, ""),
        (
            b">3\r\n$12\r\nsunsubscribe\r\n$1\r\na\r\n:0\r\n",
            ConnectionError,
            "The slot has moved to another node.",
        ),
    ],
)
def test_a_server_that_sends_what_is_not_expected_loses_the_connection(
    data: bytes, type: type[Exception], words: str
) -> None:
    async def test(server: Server) -> None:
        server.sock.send(data)
        error = await server.fails()
        assert isinstance(error, type) and words in str(error)

    run(test)


def test_other_pushes_and_late_confirmations_are_ignored() -> None:
    async def test(server: Server) -> None:
        server.sock.send(b">2\r\n$10\r\ninvalidate\r\n$1\r\na\r\n")
        server.sock.send(b">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n")
        server.call("PING")
        server.sock.send(b"+PONG\r\n")
        await until(lambda: server.events)
        assert server.events == [b"PONG"] and not server.lost

    run(test)


def test_a_server_that_closes_the_connection_loses_the_connection() -> None:
    async def test(server: Server) -> None:
        server.call("PING")
        server.sock.close()
        assert isinstance(await server.fails(), OSError)
        # A command for a connection that is lost goes nowhere.
        server.call("PING")
        assert server.events == []

    run(test)


def test_a_command_that_can_not_be_sent_loses_the_connection_later() -> None:
    """Not within the call, whose caller may be in the middle of something."""

    async def test(server: Server) -> None:
        server.sock.close()
        server.call("PING")
        assert server.lost == []
        assert isinstance(await server.fails(), OSError)

    run(test)


def test_a_connection_that_is_closed_is_not_lost() -> None:
    async def test(server: Server) -> None:
        server.sock.close()
        server.call("PING")
        server.connection.close()
        await asyncio.sleep(0.01)
        assert server.lost == []

    run(test)


def test_a_server_that_owes_a_reply_may_not_be_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_connection, "SILENCE_SECONDS", 0.05)

    async def test(server: Server) -> None:
        server.call("PING")
        server.sock.send(b"+PONG\r\n")
        await until(lambda: server.events)
        # It owes nothing, so it may be silent.
        await until(lambda: server.connection._timer is None)
        assert not server.lost
        server.call("PING")
        assert isinstance(await server.fails(), TimeoutError)

    run(test)


def test_a_long_command_is_sent_as_the_server_reads() -> None:
    async def test(server: Server) -> None:
        long = "x" * 4_000_000
        server.call("SET", "a", long)
        server.call("PING")
        expected = encode(["SET", "a", long]) + encode(["PING"])
        received = bytearray()

        def read() -> bool:
            try:
                received.extend(server.sock.recv(2**20))
            except BlockingIOError:
                pass
            return len(received) == len(expected)

        await until(read)
        assert bytes(received) == expected
        server.sock.send(b"+OK\r\n+PONG\r\n")
        await until(lambda: server.events == [b"OK", b"PONG"])

    run(test)


def test_a_connection_that_is_closed_hands_nothing_on() -> None:
    async def test(server: Server) -> None:
        server.call("PING")
        server.sock.send(b"+PONG\r\n" + SENT[5:])
        server.connection.close()
        server.connection.close()
        await asyncio.sleep(0.01)
        assert server.events == server.lost == []

    run(test)


def test_the_server_notices_the_end_of_a_connection_of_which_a_child_has_a_copy() -> None:
    async def test(server: Server) -> None:
        copy = os.dup(server.connection._sock.fileno())
        server.connection.close()
        server.sock.setblocking(True)
        assert server.sock.recv(4096) == b""
        os.close(copy)

    run(test)


def test_an_answer_that_raises_loses_the_connection() -> None:
    async def test(server: Server) -> None:
        def answer(reply: t.Any) -> None:
            raise ValueError("not what the script returns")

        server.connection.call(["PING"], answer)
        server.sock.send(b"+PONG\r\n")
        assert str(await server.fails()) == "not what the script returns"

    run(test)
