"""What a word of an answer costs a server that makes many answers, each with a reader.

Flask-Push stores each answer, so that it survives its page and its hub. Flask-SSE sends the
words through Redis and keeps none. The server on aiohttp makes each answer in the request
that reads it. Those of the last two are lost with their connection.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import sys
import time

from compare import by_figure
from compare import Result
from compare import Row
from compare import Scale
from processes import HERE
from start.flask_push import redis
from start.peers import python
from start.server import Running
from start.server import Server
from start.server import start

WORD = b"a-word"
#: Words of an answer in a second.
PACE = 50
#: How many answers are begun at once. The words are measured, and not the beginning.
_TOGETHER = 50
_GUNICORN = ("-m", "gunicorn", "--no-control-socket", "--backlog", "4096", "-k", "gevent")


class _Answers:
    """Readers of one answer each, of a server."""

    def __init__(self, port: int, count: int) -> None:
        self._selector = selectors.DefaultSelector()
        self._tails: dict[socket.socket, bytes] = {}
        self.words = 0
        self.dropped = 0
        self._silent: set[socket.socket] = set()
        self._deadline = time.monotonic() + 60
        for n in range(count):
            sock = socket.create_connection(("127.0.0.1", port), 30)
            request = f"GET /?n={n}&pause={1 / PACE} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            sock.sendall(request.encode())
            self._selector.register(sock, selectors.EVENT_READ)
            self._tails[sock] = b""
            self._silent.add(sock)
            if not len(self._tails) % _TOGETHER:
                self.begin()

    def begin(self) -> None:
        """Read until each has a word, if the server is not too slow for that."""
        while self._silent and not self.dropped and time.monotonic() < self._deadline:
            self._read()

    def read(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._read()

    def _read(self) -> None:
        for key, _ in self._selector.select(0.1):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            data = sock.recv(2**16)
            if not data:
                self._selector.unregister(sock)
                self.dropped += 1
            # A word may be cut. Its tail is no word.
            text = self._tails[sock] + data
            self._tails[sock] = text[-len(WORD) + 1 :]
            if found := text.count(WORD):
                self.words += found
                self._silent.discard(sock)

    @property
    def faults(self) -> str:
        found = {"dropped": self.dropped, "silent": len(self._silent)}
        return ", ".join(f"{count} {what}" for what, count in found.items() if count)

    def close(self) -> None:
        for sock in self._tails:
            sock.close()
        self._selector.close()


def _gunicorn(running: Running, app: str, folder: str, **env: str) -> None:
    program = python() if folder == "peers" else sys.executable
    words = [*_GUNICORN, "-b", f"127.0.0.1:{running.port}", f"{app}:app"]
    running.processes.start([program, *words], running.port, HERE / folder, env)


def _flask_push(running: Running) -> None:
    _gunicorn(running, "answers", "apps", INSTANCE=str(running.directory))


def _flask_push_on_redis(running: Running) -> None:
    url = f"redis://127.0.0.1:{redis(running)}"
    env = {"INSTANCE": str(running.directory), "FLASK_PUSH_BROKER_URL": url}
    _gunicorn(running, "answers", "apps", **env)


def _flask_sse(running: Running) -> None:
    url = f"redis://127.0.0.1:{redis(running)}"
    _gunicorn(running, "flask_sse_answers", "peers", REDIS_URL=url)


def _aiohttp(running: Running) -> None:
    words = [sys.executable, "aiohttp_answers.py", running.port]
    running.processes.start([*map(str, words)], running.port, HERE / "peers")


SERVERS = [
    Server("aiohttp", _aiohttp),
    Server("Flask-Push", _flask_push),
    Server("Flask-Push on Redis", _flask_push_on_redis),
    # It is installed if it is named: --servers aiohttp Flask-Push Flask-SSE.
    Server("Flask-SSE", _flask_sse, hidden=True),
]


def run_words(scale: Scale) -> list[Row]:
    """Microseconds of all processes of the server, with its store, for a word."""
    rows = []
    for count in sorted({scale.small // 10, scale.small}):
        workload = f"{count} answers at {PACE} words a second, a reader each"
        wanted = [server for server in SERVERS if scale.wants(server)]
        named = [Row(workload, server.name, "µs of CPU a word") for server in wanted]
        for _ in range(scale.rounds):
            reference = 0.0
            for row, server in zip(named, wanted, strict=True):
                result = _measured(server, count, scale.seconds)
                reference = reference or result.figure
                row.add(result, reference)
        rows += [*named, *by_figure(named, "how fast", "words a second", "rate")]
    return rows


def _measured(server: Server, count: int, seconds: float) -> Result:
    running = start(server, count)
    try:
        with contextlib.closing(_Answers(running.port, count)) as answers:
            answers.begin()
            spent, words = running.processes.cpu(), answers.words
            began = time.monotonic()
            answers.read(seconds)
            taken = time.monotonic() - began
            spent, words = running.processes.cpu() - spent, answers.words - words
            faults = answers.faults
            rate = words / taken / count
            return Result(1e6 * spent / max(words, 1), {"rate": rate}, faults)
    finally:
        running.end()
