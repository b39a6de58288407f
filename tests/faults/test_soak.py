"""Everything that clients and operators do to a server, again and again: no file, process
or descriptor is left, and the log has no error."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import random
import re
import signal
import socket
from pathlib import Path

import pytest
from support.crowd import talk
from support.measures import descriptors
from support.measures import memory
from support.measures import threads
from support.measures import workers
from support.reader import HttpReader
from support.servers import flask_run
from support.servers import gunicorn
from support.servers import hubs
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import until

SERVERS: dict[str, tuple[cabc.Callable[..., list[str]], list[str]]] = {
    "gunicorn sync": (gunicorn, ["-w", "2"]),
    "gunicorn gthread": (gunicorn, ["-w", "2", "--threads", "4"]),
    "flask run": (flask_run, []),
}


class Visitors:
    """What comes and goes at a server."""

    def __init__(self, server: Server, rng: random.Random) -> None:
        self.server = server
        self.rng = rng
        self.open: list[HttpReader] = []
        self.half_open: list[socket.socket] = []

    def connect(self) -> None:
        for _ in range(10):
            channels = self.rng.sample("bcdefgh", 2)
            self.open.append(HttpReader(self.server.port, *channels))

    def leave(self) -> None:
        self.rng.shuffle(self.open)
        for reader in self.open[5:]:
            reader.close()
        del self.open[5:]

    def leave_without_a_word(self) -> None:
        """A reset, as of a machine that was switched off and on."""
        for reader in self.open:
            option = b"\1\0\0\0\0\0\0\0"
            reader.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
            reader.close()
        self.open.clear()

    def ask_for_half(self) -> None:
        sock = socket.create_connection(("127.0.0.1", self.server.port))
        sock.sendall(b"GET /stream?channel=b HTTP/1.1\r\nHost: local")
        self.half_open.append(sock)

    def forget_half(self) -> None:
        for sock in self.half_open:
            sock.close()
        self.half_open.clear()

    def talk_garbage(self) -> None:
        reader = HttpReader(self.server.port, "b")
        with contextlib.suppress(OSError):
            reader.sock.sendall(os.urandom(1000))
        self.open.append(reader)

    def pipeline(self) -> None:
        reader = HttpReader(self.server.port, "b")
        with contextlib.suppress(OSError):
            reader.sock.sendall(b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3)
        self.open.append(reader)

    def read_slowly(self) -> None:
        reader = HttpReader(self.server.port, "b", receive_buffer=4096)
        self.open.append(reader)
        self.server.publish("b", *["x" * 10_000] * 50)

    def ask_for_nonsense(self) -> None:
        for path in "/stream", "/stream?channel=" + "x" * 100, "/nowhere":
            self.server.request("GET", path)
        reader = HttpReader(self.server.port, "b", last_id="\u00ff garbage")
        self.open.append(reader)

    def close(self) -> None:
        self.forget_half()
        for reader in self.open:
            reader.close()
        self.open.clear()


def kill_a_worker(server: Server, rng: random.Random) -> None:
    if server.command[2] == "gunicorn":
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(workers(server)), signal.SIGKILL)


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    return 18_000 if request.config.getoption("--soak") else 240


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", SERVERS)
def test_nothing_is_left_of_all_that_comes_and_goes(
    name: str, rounds: int, tmp_path: Path
) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    command, more = SERVERS[name]
    with serve(command, tmp_path, *more, PUSH_HEARTBEAT=1, PUSH_LOG_BYTES=2**20) as server:
        with talk(server, f"sqlite://{tmp_path}/push-basic/push.db", 20) as crowd:
            visitors = Visitors(server, rng)
            acts = [
                *(visitors.connect, visitors.leave, visitors.leave_without_a_word),
                *(visitors.ask_for_half, visitors.forget_half, visitors.talk_garbage),
                *(visitors.pipeline, visitors.read_slowly, visitors.ask_for_nonsense),
            ]
            after: list[list[int]] = []
            for _ in range(4):
                for _ in range(rounds // 4):
                    rng.choice(acts)()
                    if rng.random() < 0.05:
                        kill_a_worker(server, rng)
                    if len(visitors.half_open) > 1:
                        # One that sends nothing holds a sync worker until it leaves.
                        visitors.forget_half()
                visitors.close()
                until(lambda: status(tmp_path).get("streams") == 20)
                after.append(look(hubs(tmp_path)[0]))
                until(lambda: server.get("/ping"))
            # Those of the workers that were killed just now go a moment later.
            until(
                lambda: look(hubs(tmp_path)[0])[0] <= after[1][0] + 5,
                what=f"as few descriptors as there were: {after}",
            )
        assert crowd.ended == 0
        second, last = after[1], after[-1]
        assert last[1] <= second[1], ("threads", after)
        assert last[2] < second[2] + 8 * 2**20, ("bytes", after)
        until(lambda: max(map(descriptors, workers(server))) < 60)
        assert not re.search(r"hub \d+:", server.log), "the hub complains of nothing"
        expected = r"Exception on /stream|ValueError|Worker .* was sent SIGKILL"
        complaints = re.findall(r"^.*(?:\bERROR\b|Error:).*$", server.log, re.M)
        assert [line for line in complaints if not re.search(expected, line)] == []


def look(pid: int) -> list[int]:
    return [descriptors(pid), threads(pid), memory(pid)]
