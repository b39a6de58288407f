"""What a process of the hub's own asks the system for: its title, and its signals."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import os
import signal
from pathlib import Path


def unblock_signals() -> None:
    """Receive all signals, also those that the process that started this one blocked."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def call_on_signals(
    loop: asyncio.AbstractEventLoop, callback: cabc.Callable[[str], object], reason: str
) -> None:
    """Have the loop call it with the reason when the process has to end."""
    for number in signal.SIGTERM, signal.SIGINT:
        loop.add_signal_handler(number, callback, reason)


def interrupt_no_others() -> None:
    """While another process computes on the same processor, let it finish its turn, also
    if this one has been sent something. Threads that start later do the same.

    Otherwise the system switches to and fro for each thing that is sent, and each time the
    processor's caches have to be filled again.
    """
    with contextlib.suppress(AttributeError, OSError):
        # If it was started with another policy, it keeps that.
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def cpu_seconds() -> float:
    """How long this process has computed."""
    used = os.times()
    return used.user + used.system


def set_name(name: str) -> None:
    """Show the name in place of the program's, in ``top`` and the like."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)


def set_title(title: str) -> None:
    """Show the title in place of the command, in ``ps`` and the like."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        # Where the kernel keeps the arguments: fields 48 and 49 of proc_pid_stat(5). The
        # first two fields end at the last bracket. This process may write to that memory.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        size = end - start
        if start <= 0 or size <= 0:
            return
        text = os.fsencode(title)[: size - 1].ljust(size, b"\0")
        memory = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(memory, text, start)
        finally:
            os.close(memory)
