"""What publishing costs a Redis: its processor time for each event.

The reference is the smallest script that publishes events which can be resumed. It ignores
repeated calls, limits in bytes, eviction, and a store that lost its data; ours does not.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import itertools
import socket
import tempfile
import typing as t
from functools import partial
from pathlib import Path

import hiredis
from compare import Result
from compare import Row
from compare import Scale
from compare import take_turns
from processes import free_port
from processes import Processes

from costs import redis_yardstick
from flask_push import Event
from flask_push.brokers import Retention
from flask_push.brokers.redis import calls
from flask_push.brokers.redis import scripts
from flask_push.brokers.redis.connection import encode
from flask_push.brokers.redis.pool import Place
from flask_push.brokers.redis.scripts import Arg

SIZE, CHANNELS, KEEP, BATCH = 200, 100, 100, 20
DATA = "x" * SIZE


class Redis:
    """A redis-server on a free port, and one connection to it."""

    def __init__(self, processes: Processes, directory: str) -> None:
        port = free_port()
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        processes.start(["redis-server", *options, "--dir", directory], port)
        self.url = f"redis://127.0.0.1:{port}/0"
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.reader = hiredis.Reader()

    def replies(self, data: bytes, count: int) -> t.Any:
        """Send commands together, and read the reply to each."""
        self.sock.sendall(data)
        reply: t.Any = None
        while count:
            reply = self.reader.gets()
            if reply is False:
                self.reader.feed(self.sock.recv(2**18))
                continue
            assert not isinstance(reply, Exception), reply
            count -= 1
        return reply

    def call(self, *args: Arg) -> t.Any:
        return self.replies(encode(args), 1)

    def cpu(self) -> float:
        """Microseconds of processor time that it has used."""
        lines = self.call("INFO", "cpu").decode().split("\r\n")
        found = dict(line.split(":") for line in lines if ":" in line)
        return 1e6 * (float(found["used_cpu_user"]) + float(found["used_cpu_sys"]))


@contextlib.contextmanager
def redis_server() -> cabc.Iterator[Redis]:
    with tempfile.TemporaryDirectory() as directory:
        processes = Processes(Path(directory) / "log")
        try:
            redis = Redis(processes, directory)
            with redis.sock:
                yield redis
        finally:
            processes.end()


class OurCommands:
    """Makes the commands that our publishers send."""

    def __init__(self, redis: Redis, channels: int = CHANNELS) -> None:
        self.store = calls.Store(Place(redis.url).names, Retention(count=KEEP))
        self.caller = calls.Caller(0)
        while self.store.is_another(redis.call(*scripts.READ.by_text(self.store.join([])))):
            pass
        redis.call("SCRIPT", "LOAD", scripts.PUBLISH.text)
        self.names = itertools.cycle([f"channel:{n}" for n in range(channels)])

    def publish(self, count: int = 1, data: str = DATA) -> bytes:
        self.caller.count += 1
        runs = calls.Runs([Event(next(self.names), data)] * count)
        return encode(scripts.PUBLISH.by_sha(self.store.publish(runs, self.caller)))


def _yardstick(redis: Redis, text: str, count: int) -> cabc.Callable[[], bytes]:
    sha = redis.call("SCRIPT", "LOAD", text)
    numbers = itertools.cycle(range(CHANNELS))

    def publish() -> bytes:
        n = next(numbers)
        keys = ["y:{0}:clk", f"y:{{0}}:l:channel:{n}", f"y:{{0}}:m:channel:{n}"]
        args: list[Arg] = [f"y:{{0}}:c:channel:{n}", KEEP, 86_400_000, "abcde"]
        args += [f"message\n{DATA}"] * count
        return encode(["EVALSHA", sha, 3, *keys, *args])

    return publish


def redis_publish(scale: Scale) -> list[Row]:
    """Processor time of the Redis for each event; a hundred calls are pipelined."""
    many = max(500, round(8000 * scale.seconds))
    with redis_server() as redis:
        ours = OurCommands(redis)
        single, batch = redis_yardstick.SINGLE, redis_yardstick.BATCH
        cases: dict[str, tuple[int, cabc.Callable[[], bytes]]] = {
            "yardstick": (1, _yardstick(redis, single, 1)),
            "PUBLISH": (1, lambda: encode(["PUBLISH", "plain", DATA])),
            "ours": (1, ours.publish),
            "yardstick, 20 at once": (BATCH, _yardstick(redis, batch, BATCH)),
            "ours, 20 at once": (BATCH, lambda: ours.publish(BATCH)),
        }
        pairs = [
            (
                Row("publishing to a Redis", label, "µs of its CPU an event"),
                partial(_publish, redis, many, *case),
            )
            for label, case in cases.items()
        ]
        # Fill the logs first, so that each further event removes the oldest one.
        for _, measure in pairs:
            for _ in range(3):
                measure()
        take_turns(pairs, scale.rounds)
    return [row for row, _ in pairs]


def _publish(
    redis: Redis, many: int, events: int, make: cabc.Callable[[], bytes]
) -> Result:
    calls = many // events
    pieces = [b"".join(make() for _ in range(100)) for _ in range(max(1, calls // 100))]
    before = redis.cpu()
    for piece in pieces:
        redis.replies(piece, 100)
    return Result((redis.cpu() - before) / (len(pieces) * 100 * events))
