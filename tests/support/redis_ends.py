"""The other end of a feed's connections to a Redis: the test answers each question."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t

import hiredis

from flask_push.brokers import OWN_LOGS
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.redis import scripts
from flask_push.brokers.redis.scripts import Script
from flask_push.testing._own_sink import OwnRecordingSink
from flask_push.testing._sink import until
from support import coroutines

#: The channels on which an own log and events arrive.
OWN, EVENTS = b"{push}:own:0:disconnect", b"{push}:0:a"
(LOG,) = OWN_LOGS


def encode(value: t.Any) -> bytes:
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(encode, value))
    if isinstance(value, int):
        return b":%d\r\n" % value
    data = value if isinstance(value, bytes) else str(value).encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


class Question:
    """A script that a feed has called."""

    def __init__(self, command: list[bytes], writer: asyncio.StreamWriter) -> None:
        self.script = command[1].decode()
        self.args = command[3 + int(command[2]) :]
        self._writer = writer

    def is_for(self, script: Script) -> bool:
        return self.script in script

    def answer(self, *values: t.Any) -> None:
        self._writer.write(encode(list(values)))

    def refuse(self, error: str) -> None:
        self._writer.write(f"-{error}\r\n".encode())


class OtherEnd:
    """A server that confirms subscriptions, and leaves all scripts to the test."""

    def __init__(self) -> None:
        #: All commands on the connection that subscribes, by name.
        self.order: list[str] = []
        self.questions: list[Question] = []
        #: How many connections there were, and should have been.
        self.opened, self.expected = 0, 2
        self._writers: list[asyncio.StreamWriter] = []
        self._subscriber: asyncio.StreamWriter | None = None

    def cut(self) -> None:
        """Close all connections, and forget what was asked on them."""
        self.expected += 2
        for writer in self._writers:
            writer.close()
        self._writers.clear()
        self.questions.clear()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.opened += 1
        self._writers.append(writer)
        parser = hiredis.Reader()
        while data := await reader.read(65536):
            parser.feed(data)
            while command := parser.gets():
                self._run(command, writer)
        writer.close()

    def _run(self, command: list[bytes], writer: asyncio.StreamWriter) -> None:
        name = command[0].decode()
        if name == "SUBSCRIBE":
            self._subscriber = writer
            self.order += [f"SUBSCRIBE {each.decode()}" for each in command[1:]]
            for n, each in enumerate(command[1:]):
                writer.write(
                    b">3\r\n" + encode(b"subscribe") + encode(each) + b":%d\r\n" % n
                )
        elif name.startswith("EVAL"):
            self.questions.append(Question(command, writer))
            if writer is self._subscriber:
                own = self.questions[-1].is_for(scripts.READ_OWN)
                self.order.append("READ_OWN" if own else "JOIN")
        else:
            writer.write(b"+OK\r\n")

    async def asked(self, script: Script) -> Question:
        """The next question that is not answered. The others before it stay unanswered."""

        def found() -> list[Question]:
            return [each for each in self.questions if each.is_for(script)]

        await until(found)
        question = found()[0]
        self.questions.remove(question)
        return question

    def push(self, *published: tuple[bytes, bytes]) -> None:
        """Send what was published, all at once."""
        assert self._subscriber is not None
        self._subscriber.write(
            b"".join(
                b">3\r\n" + encode(b"message") + encode(c) + encode(d) for c, d in published
            )
        )

    async def begin(self, epoch: str = "one", end: int = 10) -> None:
        """Answer until the feed is live."""
        (await self.asked(scripts.READ_OWN)).answer(*own_page(epoch, end))
        (await self.asked(scripts.READ)).answer(*joined(epoch, end))


def entry(
    number: int, prev: int, data: str = "x", epoch: str = "one"
) -> tuple[bytes, bytes]:
    """An entry of the own log as it is published."""
    return OWN, f"{epoch}:{number}:{prev}:{data}".encode()


def event(number: int, prev: int, data: str = "x") -> tuple[bytes, bytes]:
    return EVENTS, f"one:{number}:{prev}:7:{len(data)}:message{data}".encode()


def own_page(
    epoch: str, end: int, since: int = 5, entries: cabc.Sequence[str] = (), last: int = 0
) -> list[t.Any]:
    """What read_own.lua returns."""
    return [epoch, end, since, list(entries), last or end, "1"]


def joined(epoch: str, end: int) -> list[t.Any]:
    """What read.lua returns to a feed that has missed nothing."""
    return [epoch, end, 1, 1, 60_000_000, end, end, [], [], "1"]


def run(test: cabc.Callable[[OtherEnd, OwnRecordingSink], cabc.Awaitable[None]]) -> None:
    async def main() -> None:
        other = OtherEnd()
        server = await asyncio.start_server(other._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        broker = RedisBroker(f"redis://127.0.0.1:{port}/0")
        hub = OwnRecordingSink(broker)
        hub.feed.watch(["a"])
        try:
            await asyncio.wait_for(test(other, hub), 30)
            # A feed opens others if a step of it or of its sink has failed.
            assert other.opened == other.expected
        finally:
            hub.feed.close()
            server.close()
            await server.wait_closed()
            current = asyncio.current_task()
            await asyncio.gather(*(asyncio.all_tasks() - {current}))

    coroutines.run(main())
