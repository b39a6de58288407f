"""Programs of the benchmark: built, started, measured, ended."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
import typing as t
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE / ".cache"

# Servers run on the first processor, and the loader on the last: neither takes the
# other's, and what is measured is not how the kernel moves them about.
CPUS = sorted(os.sched_getaffinity(0))
_MARK = "BENCH_MARK"


def build() -> None:
    """Compile what is in C, if it has changed."""
    CACHE.mkdir(exist_ok=True)
    for name in "load", "bare":
        source, program = HERE / f"{name}.c", CACHE / name
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            flags = ["-O2", "-Wall", "-Wextra", "-Werror"]
            subprocess.run(["cc", *flags, "-o", program, source], check=True)


def find_program(name: str) -> str | None:
    """Where a program is. Debian's redis-tools has the Redis server by another name."""
    also = {"redis-server": "redis-check-rdb"}
    return shutil.which(name) or shutil.which(also.get(name, name))


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def kernel_memory() -> int:
    """Bytes that the kernel has for sockets and other small things, whoever's they are."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Slab:"))


@dataclass
class Group:
    """A server's processes, whoever of them started which: all have a word of ours in
    their environment, or are children of one that has."""

    log: Path
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    #: Where what was started listens, in that order.
    ports: list[int] = field(default_factory=list)

    def start(
        self,
        command: t.Sequence[str | Path],
        port: int,
        cwd: Path = HERE,
        env: t.Mapping[str, str] | None = None,
        cpus: t.Collection[int] | None = None,
    ) -> None:
        """Run a program, until it listens on its port."""
        ours = {"PYTHONUNBUFFERED": "1", _MARK: self.mark}
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                list(map(str, command)),
                executable=find_program(str(command[0])),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd,
                env={**os.environ, **ours, **(env or {})},
                preexec_fn=lambda: os.sched_setaffinity(0, cpus or CPUS[:1]),
            )
        self.started.append(process)
        deadline = time.monotonic() + 30
        while not answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                text = self.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{command} does not start:\n{text}")
            time.sleep(0.05)
        self.ports.append(port)

    def pids(self) -> list[int]:
        parents = {}
        found = {process.pid for process in self.started if process.poll() is None}
        word = f"{_MARK}={self.mark}".encode()
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
                parents[int(path.name)] = int(parent)
                if word in (path / "environ").read_bytes().split(b"\0"):
                    found.add(int(path.name))
        # Some write their title where their environment was.
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found)

    def cpu(self, pids: t.Iterable[int] | None = None) -> float:
        """Seconds of processor time that they have taken, the kernel's for them too."""
        total = 0
        for pid in self.pids() if pids is None else pids:
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):
                    total += int(path.read_text().split()[0])
        return total / 1e9

    def memory(self) -> int:
        """Bytes of memory that are theirs, shared ones in proportion."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                (line,) = [line for line in text.splitlines() if line.startswith("Pss:")]
                total += int(line.split()[1]) * 1024
        return total

    def hub(self) -> list[int]:
        """Those of its processes that are a hub of ours."""
        found = []
        for pid in self.pids():
            # One that has forked the next may be gone already.
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text() == "flask-push hub\n":
                    found.append(pid)
        return found

    def end(self) -> None:
        for number in signal.SIGTERM, signal.SIGKILL:
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            deadline = time.monotonic() + 3
            while self.pids() and time.monotonic() < deadline:
                time.sleep(0.02)
        for process in self.started:
            process.wait(10)


class Answer(t.NamedTuple):
    """What the loader says when a command is done. Times in seconds, but for latencies,
    which are in milliseconds."""

    seconds: float
    cpu: float
    open: int
    refused: int
    dropped: int
    #: Readers that were sent away, and asked again.
    again: int
    messages: int
    events: int
    bytes: int
    reads: int
    lost: int
    missing: int
    disordered: int
    p50: float
    p99: float
    p999: float

    def faults(self) -> str:
        names = "refused", "dropped", "lost", "missing", "disordered"
        found = {name: getattr(self, name) for name in names}
        return ", ".join(f"{count} {name}" for name, count in found.items() if count)


class Loader:
    """Readers and a publisher of one server."""

    def __init__(self, *arguments: str | int) -> None:
        cpu = CPUS[-1:]
        self._process = subprocess.Popen(
            [CACHE / "load", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cpu),
        )

    def tell(self, *words: str | float) -> None:
        """Have it begin with something. :meth:`answer` says what became of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Answer:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The loader has failed.")
        return Answer(**json.loads(line))

    def do(self, *words: str | float) -> Answer:
        self.tell(*words)
        return self.answer()

    def end(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
