"""Real servers, started and stopped."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import http.client
import itertools
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from flask_push._ipc.files import HubFiles
from flask_push._ipc.messages import Messages
from flask_push._system.lock import is_shared
from support.reader import HttpReader
from support.without_linux.real import resource

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent


class _Ports:
    """Ports of this process alone: outside of the range that the kernel uses for
    connections, and held by a socket on the first of them. So another test process does not
    begin a server on a port that this one has just found free."""

    COUNT = 200

    def __init__(self) -> None:
        self.pid = os.getpid()
        while True:
            self.first = random.SystemRandom().randrange(10000, 32600, self.COUNT)
            self.socket = socket.socket()
            try:
                self.socket.bind(("127.0.0.1", self.first))
                self.socket.listen()
                break
            except OSError:
                self.socket.close()
        self.others = itertools.cycle(range(self.first + 1, self.first + self.COUNT))


_ports = _Ports()


def free_port() -> int:
    global _ports
    if _ports.pid != os.getpid():
        _ports = _Ports()
    for port in _ports.others:
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise AssertionError("A cycle has no end.")


def until(
    condition: cabc.Callable[[], t.Any], seconds: float = 20, what: str = ""
) -> t.Any:
    """Wait until a condition is true, and return its value."""
    began = time.monotonic()
    while not (found := condition()):
        waited = time.monotonic() - began
        assert waited < seconds, f"it never came true: {what or condition}"
        # Each check takes time, in a browser more than what it waits for.
        time.sleep(min(max(waited / 10, 0.01), 0.1))
    return found


@contextlib.contextmanager
def program(command: list[str], **options: t.Any) -> cabc.Iterator[subprocess.Popen[t.Any]]:
    """A program with output. It ends when a test fails. :class:`subprocess.Popen` alone
    would wait for it."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def descriptors_left(count: int) -> cabc.Iterator[None]:
    """Let this process open only this many more descriptors."""
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
        #: Where its files are, and those of its app.
        self.directory = log.parent
        self.command = command
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log_path = log
        self.env = env
        self.cwd = cwd
        self.readers: list[HttpReader] = []
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
            until(self.answers, 60, " ".join(self.command))
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
        """Stop it, and return how long that took."""
        start = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        self.process.wait(30)
        return time.monotonic() - start

    def kill(self) -> None:
        """Kill it, all processes that it has started, and its readers."""
        for reader in self.readers:
            reader.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def kill_without_readers(self) -> None:
        """As :meth:`kill`, but its readers can continue to read."""
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

    def stream(self, *channels: str, **options: t.Any) -> HttpReader:
        self.readers.append(HttpReader(self.port, *channels, **options))
        return self.readers[-1]

    def open_stream(self, *channels: str, **options: t.Any) -> HttpReader:
        """Request a stream as a browser does, until one stays open."""

        def opened() -> HttpReader | None:
            reader = self.stream(*channels, **options)
            while not reader.ended and "push:open" not in [e.type for e in reader.events]:
                reader.read()
            return None if reader.ended else reader

        reader: HttpReader = until(opened)
        return reader


def hubs(directory: Path) -> list[int]:
    """The hub processes of apps whose files are in the directory or below."""
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            words = path.with_name("cmdline").read_bytes()
            if path.read_text() == "flask-push hub\n" and os.fsencode(directory) in words:
                found.append(int(path.parent.name))
    return found


def is_tied(directory: Path, name: str = "push-basic") -> bool:
    """Whether a process of the basic app is tied to its hub, which then does not end."""
    with open(HubFiles.of(directory / name).ties) as file:
        return is_shared(file.fileno())


def the_hub(directory: Path, but: int = 0) -> int:
    """Wait until there is only one hub, other than the given one."""

    def only() -> list[int]:
        found = hubs(directory)
        return found if len(found) == 1 and found != [but] else []

    (pid,) = until(only, what="there is one hub")
    return int(pid)


def status(directory: Path, name: str = "push-basic") -> dict[str, t.Any]:
    """The status of the basic app's hub; empty, if there is none."""
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


def kill_hubs(directory: Path) -> list[int]:
    """Kill them, and wait until they have ended. Until then a server may still send the
    next stream to one, whose connection breaks as all others do."""
    found = hubs(directory)
    _end(found, signal.SIGKILL)
    return found


def end_hubs(directory: Path) -> None:
    """Stop them, and wait until they have ended."""
    while found := hubs(directory):
        _end(found, signal.SIGTERM)


def _end(pids: list[int], with_signal: signal.Signals) -> None:
    ended = []
    try:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                ended.append(os.pidfd_open(pid))
                os.kill(pid, with_signal)
        for each in ended:
            assert select.select([each], [], [], 30)[0], "a hub does not end"
    finally:
        for each in ended:
            os.close(each)


def flask_run(app: str, port: int, *more: str) -> list[str]:
    return [sys.executable, "-m", "flask", "--app", app, "run", "-p", str(port), *more]


def gunicorn(app: str, port: int, *more: str) -> list[str]:
    # Its control socket would be one file for all servers that run at once.
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
