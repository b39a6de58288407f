"""A program in a terminal of its own."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
import typing as t

from support.servers import until


class Terminal:
    """A terminal, and the program that runs in it."""

    def __init__(self, columns: int, rows: int) -> None:
        self.ours, self.theirs = pty.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.theirs)
        self.written = ""
        self.process: subprocess.Popen[t.Any]

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(
            self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0)
        )

    def read(self) -> str:
        """All that was written to the terminal."""
        os.set_blocking(self.ours, False)
        with contextlib.suppress(BlockingIOError, OSError):
            while data := os.read(self.ours, 65536):
                self.written += data.decode()
        return self.written

    def until(self, text: str) -> None:
        until(lambda: text in self.read(), what=text)

    def press(self, keys: bytes) -> None:
        os.write(self.ours, keys)

    @property
    def is_as_before(self) -> bool:
        """Whether it has the settings that it had before the program."""
        return termios.tcgetattr(self.theirs) == self.before

    def close(self) -> None:
        os.close(self.ours)
        os.close(self.theirs)


@contextlib.contextmanager
def terminal(
    command: list[str], columns: int = 80, rows: int = 24, **options: t.Any
) -> cabc.Iterator[Terminal]:
    """A program that has a terminal for its input and its output."""
    it = Terminal(columns, rows)
    try:
        theirs = {"stdin": it.theirs, "stdout": it.theirs, "stderr": it.theirs}
        env = {**os.environ, "TERM": "xterm", **options.pop("env", {})}
        env = {k: v for k, v in env.items() if k not in ("COLUMNS", "LINES")}
        options = {"start_new_session": True, **theirs, **options}
        with subprocess.Popen(command, env=env, **options) as it.process:
            try:
                yield it
            finally:
                # A test that fails does not wait for it.
                it.process.kill()
    finally:
        it.close()
