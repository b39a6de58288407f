"""The terminal is as before, however a program that draws on it ends."""

from __future__ import annotations

import signal
import sys
import textwrap

import pytest
from support.terminals import terminal

DRAWS = textwrap.dedent(
    """
    from flask_push._system.screen import full_screen, is_terminal
    assert is_terminal()
    with full_screen() as screen:
        while True:
            columns, lines = screen.size
            screen.draw([f"{columns}x{lines}", *map(str, range(100))])
            if (key := screen.key(0.1)) == "q":
                break
            if key == "f":
                raise RuntimeError("It has failed.")
    """
)
COMMAND = [sys.executable, "-c", DRAWS]


@pytest.mark.parametrize(
    ("end", "status"), [(b"q", 0), (b"f", 1), (signal.SIGTERM, 143), (signal.SIGINT, -2)]
)
def test_the_terminal_is_as_before(end: bytes | signal.Signals, status: int) -> None:
    with terminal(COMMAND) as it:
        it.until("80x24")
        assert not it.is_as_before
        if isinstance(end, bytes):
            it.press(end)
        else:
            it.process.send_signal(end)
        assert it.process.wait(20) == status
        assert it.is_as_before
        it.until("\x1b[?25h\x1b[?1049l")


def test_the_screen_is_never_longer_than_the_terminal() -> None:
    with terminal(COMMAND, 40, 10) as it:
        it.until("40x10")
        it.resize(20, 5)
        it.until("20x5")
        it.press(b"q")
        assert it.process.wait(20) == 0
        first, *_ = it.read().split("\x1b[J")
        assert first.count("\r\n") == 9
