"""Real servers, started and ended, and raw readers of their streams."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import http.client
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
import typing as t
import zlib
from pathlib import Path

from flask_push import Event
from flask_push import sse
from flask_push._ipc.files import HubFiles
from flask_push._ipc.messages import Messages

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent


# Outside of what the kernel gives to connections, and never the same for two test
# processes: so it is still free when the server comes.
_ports = random.SystemRandom()


def free_port() -> int:
    while True:
        port = _ports.randrange(10000, 32768)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


def until(
    condition: cabc.Callable[[], t.Any], seconds: float = 20, what: str = ""
) -> t.Any:
    """Wait for a condition, and return what it came to."""
    began = time.monotonic()
    while not (found := condition()):
        waited = time.monotonic() - began
        assert waited < seconds, f"it never came true: {what or condition}"
        # To ask is work, for a browser more than what it is asked about.
        time.sleep(min(max(waited / 10, 0.01), 0.1))
    return found


@contextlib.contextmanager
def program(command: list[str], **options: t.Any) -> cabc.Iterator[subprocess.Popen[t.Any]]:
    """A program that says something. When a test fails it ends as well: left to itself,
    :class:`subprocess.Popen` would wait for it."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def descriptors_left(count: int) -> cabc.Iterator[None]:
    """This process may open so many more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.closing(socket.socket()) as free:
        lowest = free.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Server:
    """A program that listens on a port of this machine."""

    def __init__(
        self,
        command: cabc.Sequence[str],
        port: int,
        log: Path,
        env: dict[str, str],
        cwd: Path = TESTS,
    ) -> None:
        self.command = command
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log_path = log
        self.env = env
        self.cwd = cwd
        self.readers: list[Reader] = []
        self.start()

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.cwd,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.env},
                start_new_session=True,
            )
        try:
            until(self.answers, what=" ".join(self.command))
        except AssertionError:
            self.kill()
            raise AssertionError(f"{self.command} did not start:\n{self.log}") from None

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.request("GET", "/")
            return True
        return False

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> float:
        """End it, and say how long that took."""
        start = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        self.process.wait(30)
        return time.monotonic() - start

    def kill(self) -> None:
        """End it, and whatever it has started, and its readers."""
        for reader in self.readers:
            reader.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def kill_without_readers(self) -> None:
        """As :meth:`kill`, but what was read of it is read on."""
        readers, self.readers = self.readers, []
        self.kill()
        self.readers = readers

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def get(self, path: str) -> str:
        status, _, body = self.request("GET", path)
        assert status == 200, (status, body, self.log)
        return body.decode()

    def publish(self, channel: str, *data: str, **more: t.Any) -> str:
        events = [{"channel": channel, "data": text, **more} for text in data]
        status, _, body = self.request("POST", "/publish", json.dumps(events).encode())
        assert status == 200, (status, body, self.log)
        return body.decode()

    def stream(self, *channels: str, **options: t.Any) -> Reader:
        self.readers.append(Reader(self.port, *channels, **options))
        return self.readers[-1]


class Reader:
    """A client that reads one stream, no faster than it is told to."""

    def __init__(
        self,
        port: int,
        *channels: str,
        last_id: str = "",
        path: str = "/stream",
        receive_buffer: int = 0,
        headers: cabc.Mapping[str, str] | None = None,
        version: str = "1.1",
        **query: t.Any,
    ) -> None:
        self.head = b""
        self.body = b""
        self.events: list[Event] = []
        self.parser = sse.Parser()
        self.ended = False
        self.inflate = zlib.decompressobj(wbits=31)
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(20)
        self.sock.connect(("127.0.0.1", port))
        from urllib.parse import urlencode

        pairs = [("channel", name) for name in channels] + list(query.items())
        lines = [f"GET {path}?{urlencode(pairs)} HTTP/{version}", "Host: localhost"]
        lines += ["Accept: text/event-stream"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if last_id:
            lines.append(f"Last-Event-ID: {last_id}")
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode())

    def fileno(self) -> int:
        return self.sock.fileno()

    @property
    def gzips(self) -> bool:
        return self.headers.get("content-encoding") == "gzip"

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        pairs = (line.split(": ", 1) for line in lines if line)
        return {name.lower(): value for name, value in pairs}

    @property
    def last_id(self) -> str:
        return self.parser.last_event_id

    @property
    def data(self) -> list[str]:
        """What was published, without what the stream says itself."""
        return [e.data for e in self.events if not e.type.startswith("push:")]

    @property
    def gaps(self) -> list[dict[str, t.Any]]:
        return [json.loads(e.data) for e in self.events if e.type == "push:gap"]

    def read(self, most: int | None = None) -> list[Event]:
        """The events of what has come, waiting for it if there is nothing.

        :param most: Bytes of the body after which the rest is never seen.
        """
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self.ended = True
            return []
        if not self.body and b"\r\n\r\n" not in self.head:
            self.head += data
            if b"\r\n\r\n" not in self.head:
                return []
            self.head, _, data = self.head.partition(b"\r\n\r\n")
            self.head += b"\r\n\r\n"
        data = data[:most]
        if self.gzips:
            data = self.inflate.decompress(data)
        self.body += data
        events = self.parser.feed(data)
        self.events += events
        return events

    def read_until(
        self, condition: cabc.Callable[[Reader], t.Any], seconds: float = 20
    ) -> Reader:
        deadline = time.monotonic() + seconds
        while not condition(self):
            left = deadline - time.monotonic()
            assert left > 0 and not self.ended, (self.ended, self.head, self.events[-3:])
            self.sock.settimeout(max(left, 0.001))
            self.read()
        self.sock.settimeout(20)
        return self

    def opened(self) -> Reader:
        """Read until it is open."""
        return self.read_until(lambda r: any(e.type == "push:open" for e in r.events))

    def read_data(self, count: int) -> list[str]:
        """Read until so much of what was published has come."""
        return self.read_until(lambda r: len(r.data) >= count).data

    def read_to_end(self, seconds: float = 20) -> Reader:
        deadline = time.monotonic() + seconds
        while not self.ended:
            self.sock.settimeout(max(0.01, deadline - time.monotonic()))
            self.read()
        return self

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def hubs(directory: Path) -> list[int]:
    """The hub processes of apps whose files are somewhere in the directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            words = path.with_name("cmdline").read_bytes()
            if path.read_text() == "flask-push hub\n" and os.fsencode(directory) in words:
                found.append(int(path.parent.name))
    return found


def the_hub(directory: Path, but: int = 0) -> int:
    """The only hub, when it is the only one; and not that one."""

    def only() -> list[int]:
        found = hubs(directory)
        return found if len(found) == 1 and found != [but] else []

    (pid,) = until(only, what="there is one hub")
    return int(pid)


def status(directory: Path, name: str = "push-basic") -> dict[str, t.Any]:
    """What the basic app's hub says of itself; nothing, if there is none."""
    with contextlib.suppress(OSError, EOFError):
        messages = Messages(HubFiles.of(directory / name).connect())
        try:
            messages.send({"status": 1})
            ((answer, _),) = messages.receive()
            found: dict[str, t.Any] = answer["status"]
            return found
        finally:
            messages.close()
    return {}


def end_hubs(directory: Path) -> None:
    """Stop them, and see that they end."""
    told: set[int] = set()
    deadline = time.monotonic() + 10
    while pids := hubs(directory):
        assert time.monotonic() < deadline, "a hub does not end"
        for pid in set(pids) - told:
            told.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        time.sleep(0.02)


def flask_run(app: str, port: int, *more: str) -> list[str]:
    return [sys.executable, "-m", "flask", "--app", app, "run", "-p", str(port), *more]


def gunicorn(app: str, port: int, *more: str) -> list[str]:
    # Its control socket would be one file for all that run at once.
    return [
        *(sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}"),
        *("--no-control-socket", *more, f"{app}:app"),
    ]


@contextlib.contextmanager
def serve(
    command: cabc.Callable[..., list[str]],
    directory: Path,
    *more: str,
    app: str = "apps.basic",
    env: cabc.Mapping[str, str] | None = None,
    cwd: Path = TESTS,
    **config: t.Any,
) -> cabc.Iterator[Server]:
    """The basic app, or another, on a server. Its files are in the directory."""
    port = free_port()
    env = {f"FLASK_{k}": json.dumps(value) for k, value in config.items()} | {**(env or {})}
    env["INSTANCE"] = str(directory)
    server = Server(command(app, port, *more), port, directory / "server.log", env, cwd)
    try:
        yield server
    finally:
        server.kill()
        end_hubs(directory)
