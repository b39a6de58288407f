"""Takes away what Windows lacks, and makes what both have behave as it does there.

It does not pretend to be Windows: ``sys.platform``, ``os.name``, paths and the console
remain those of this machine, because the standard library itself asks for them.
"""

from __future__ import annotations

import asyncio
import mmap
import multiprocessing.heap
import shutil
import signal
import subprocess
import tempfile
import typing as t

# Its implementations for Unix, which need what is taken away, are imported before.
from . import real
from . import windows_files
from . import windows_loops
from . import windows_sockets
from .taking import replace
from .taking import take_names

#: The signals that a handler can be set for there.
SIGNALS = (2, 4, 8, 11, 15, 22, 6)

_SIGKILL = real.signal.SIGKILL


def _kill(pid: int, sig: int) -> None:
    """Windows ends the process, whatever the signal: there are none between processes. And
    zero is Control-C, for a group of processes."""
    if sig == 0:
        raise OSError(22, "os.kill(pid, 0) does not look for a process on Windows")
    real.os.kill(pid, _SIGKILL)


def _handle(number: int, handler: t.Any) -> t.Any:
    if int(number) not in SIGNALS:
        raise ValueError("invalid signal value")
    return real.signal.signal(number, handler)


class Popen(subprocess.Popen[t.Any]):
    def __init__(self, *args: t.Any, **options: t.Any) -> None:
        if options.get("preexec_fn") is not None:
            raise ValueError("preexec_fn is not supported on Windows platforms")
        assert not options.get("pass_fds"), "pass_fds not supported on Windows."
        options.pop("start_new_session", None)
        super().__init__(*args, **options)

    def send_signal(self, sig: int) -> None:
        if sig != real.signal.SIGTERM:
            raise ValueError(f"Unsupported signal: {sig}")
        super().send_signal(_SIGKILL)

    def terminate(self) -> None:
        super().send_signal(_SIGKILL)

    kill = terminate


def _share_memory(self: t.Any, size: int) -> None:
    """Without a file."""
    self.size = size
    self.buffer = mmap.mmap(-1, size)


def _take_away() -> None:
    # Its own module goes on with Unix.
    subprocess.os, subprocess.signal = real.os, real.signal  # type: ignore[attr-defined]
    files: t.Any = shutil
    files._use_fd_functions = files._USE_CP_SENDFILE = False
    files._copyxattr = lambda *paths, **options: None
    tempfile.TemporaryFile = tempfile.NamedTemporaryFile  # type: ignore
    arena: t.Any = multiprocessing.heap.Arena
    arena.__init__ = _share_memory
    take_names("windows.txt")
    subprocess.Popen = Popen  # type: ignore[misc]
    signal.signal = _handle  # type: ignore[assignment]
    replace("kill", _kill)
    windows_sockets.pretend()
    windows_files.pretend()
    windows_loops.pretend()
    assert asyncio.SelectorEventLoop is windows_loops.SelectorEventLoop


_take_away()
