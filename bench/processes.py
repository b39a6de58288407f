"""Starts and ends the processes that are measured, and reads their time and memory."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import typing as t
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE / ".cache"

# Servers run on the first processor and the loader on the last. Neither takes time from
# the other, and the kernel moves neither of them about.
CPUS = sorted(os.sched_getaffinity(0))
_MARK = "BENCH_MARK"


def find_program(name: str) -> str | None:
    """The path of a program. Debian's redis-tools has redis-server under another name. Some
    are installed beside this Python."""
    also = {"redis-server": "redis-check-rdb"}
    beside = str(Path(sys.executable).parent)
    found = shutil.which(name) or shutil.which(also.get(name, name))
    return found or shutil.which(name, path=beside)


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
    """Bytes that the kernel uses for sockets and other small objects, of all processes."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Slab:"))


@dataclass
class Processes:
    """All processes of a server. They are found by a mark in their environment, or because
    their parent has it: a server may start further processes."""

    log: Path
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    #: The ports of the programs, in the order in which they were started.
    ports: list[int] = field(default_factory=list)

    def start(
        self,
        command: t.Sequence[str | Path],
        port: int,
        cwd: Path = HERE,
        env: t.Mapping[str, str] | None = None,
        cpus: t.Collection[int] | None = None,
    ) -> None:
        """Run a program, and wait until it listens on its port."""
        marked = {"PYTHONUNBUFFERED": "1", _MARK: self.mark}
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                list(map(str, command)),
                executable=find_program(str(command[0])),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd,
                env={**os.environ, **marked, **(env or {})},
                preexec_fn=lambda: os.sched_setaffinity(0, cpus or CPUS[:1]),
            )
        self.started.append(process)
        deadline = time.monotonic() + 30
        while not answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                text = self.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{command} did not start:\n{text}")
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
        # Some programs overwrite their environment with a title.
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found)

    def cpu(self, pids: t.Iterable[int] | None = None) -> float:
        """Seconds of processor time that they used, in the kernel too."""
        total = 0
        for pid in self.pids() if pids is None else pids:
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):
                    total += int(path.read_text().split()[0])
        return total / 1e9

    def memory(self, pids: t.Iterable[int] | None = None) -> int:
        """Bytes of memory that they use. A shared page counts in proportion."""
        total = 0
        for pid in self.pids() if pids is None else pids:
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                (line,) = [line for line in text.splitlines() if line.startswith("Pss:")]
                total += int(line.split()[1]) * 1024
        return total

    def hub(self) -> list[int]:
        """The processes that are a hub of Flask-Push."""
        found = []
        for pid in self.pids():
            # A process that started the hub may have ended already.
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text() == "flask-push hub\n":
                    found.append(pid)
        return found

    def end(self) -> None:
        for sent in signal.SIGTERM, signal.SIGKILL:
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sent)
            deadline = time.monotonic() + 3
            while self.pids() and time.monotonic() < deadline:
                time.sleep(0.02)
        for process in self.started:
            process.wait(10)
