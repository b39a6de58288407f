"""A terminal whose screen is drawn again and again, and is as before at the end."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import select
import shutil
import signal
import sys
import types
import typing as t

# Another screen, without the cursor; and back.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
# To the first column; the rest of the line, or of the screen, is cleared.
_HOME, _END_OF_LINE, _END = "\x1b[H", "\x1b[K", "\x1b[J"


def is_terminal() -> bool:
    """Whether both the input and the output are a terminal that can be drawn to."""
    if sys.stdin is None or sys.stdout is None or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdin.isatty() and sys.stdout.isatty()


class Screen:
    """Use :func:`full_screen`."""

    def draw(self, lines: cabc.Sequence[str]) -> None:
        """Draw these lines, as many as fit. Each fits the width."""
        shown = lines[: self.size[1]]
        text = f"{_END_OF_LINE}\r\n".join(shown)
        sys.stdout.write(f"{_HOME}{text}{_END_OF_LINE}{_END}")
        sys.stdout.flush()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        return shutil.get_terminal_size()

    def key(self, seconds: float) -> str:
        """The key that is pressed within so many seconds; empty if there is none."""
        try:
            ready, _, _ = select.select([sys.stdin], [], [], seconds)
        except InterruptedError:
            return ""
        if not ready:
            return ""
        # The terminal was closed if there is nothing to read.
        return os.read(sys.stdin.fileno(), 1).decode("latin-1") or "q"


@contextlib.contextmanager
def full_screen() -> cabc.Iterator[Screen]:
    """Draw on the whole terminal. Keys are read at once, and not shown. A signal that ends
    the program restores the terminal, too."""
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    handler = signal.signal(signal.SIGTERM, _exit)
    try:
        tty.setcbreak(fd)
        sys.stdout.write(_ENTER)
        yield Screen()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.write(_LEAVE)
            sys.stdout.flush()
        with contextlib.suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTERM, handler)


def _exit(number: int, _: types.FrameType | None) -> t.NoReturn:
    raise SystemExit(128 + number)
