"""The loader: a C program that holds the readers of one server, and publishes to them."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t

from processes import CACHE
from processes import CPUS
from processes import HERE


def build() -> None:
    """Compile the programs in C, if they have changed."""
    CACHE.mkdir(exist_ok=True)
    for name in "load", "bare":
        source, program = HERE / "c" / f"{name}.c", CACHE / name
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            flags = ["-O2", "-Wall", "-Wextra", "-Werror"]
            subprocess.run(["cc", *flags, "-o", program, source], check=True)


class Answer(t.NamedTuple):
    """The loader's answer to a command. Times are in seconds, latencies in milliseconds."""

    seconds: float
    cpu: float
    open: int
    refused: int
    dropped: int
    #: Readers that were refused, and tried again.
    retried: int
    messages: int
    events: int
    bytes: int
    reads: int
    lost: int
    missing: int
    disordered: int
    #: Gaps that readers got, if each resumes at its own last event.
    gaps: int
    p50: float
    p99: float
    p999: float

    def faults(self) -> str:
        names = "refused", "dropped", "lost", "missing", "disordered", "gaps"
        found = {name: getattr(self, name) for name in names}
        return ", ".join(f"{count} {name}" for name, count in found.items() if count)


class Loader:
    """The readers and the publishers of one server."""

    def __init__(self, *arguments: str | int) -> None:
        cpu = CPUS[-1:]
        self._process = subprocess.Popen(
            [CACHE / "load", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cpu),
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, *words: str | float) -> None:
        """Start a command. :meth:`answer` waits for its result."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(map(str, words)) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Answer:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The loader has failed.")
        return Answer(**json.loads(line))

    def run(self, *words: str | float) -> Answer:
        self.send(*words)
        return self.answer()

    def end(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
