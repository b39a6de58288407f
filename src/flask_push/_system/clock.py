"""The clock by which stores number their events and measure their age. It can't be set.

The wall clock is wrong before NTP has run, or after a machine was restored, and is then
set forward or back. With numbers made of it, history would expire early, or never. So it is
read once, when a store begins; from then on, the time since boot is added.
"""

from __future__ import annotations

import os
import time
from email.utils import formatdate
from functools import lru_cache
from pathlib import Path

# It counts while the machine sleeps, if the system has such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Seconds by which two times of one start may differ: the wall clock is corrected.
_BOOT_SECONDS = 600
# Microseconds by which two clocks may differ.
_MINUTE = 60_000_000


class Clock:
    """Microseconds since 1970, without jumps.

    :param ahead: By how much it is ahead of the time since boot.
    :param last: A number that was given already. The clock begins at it or later.
    """

    def __init__(self, ahead: int, last: int) -> None:
        self._wrong = _wrong()
        self._ahead = max(ahead, last - since_boot() + self._wrong)

    def now(self, last: int) -> int:
        """The time.

        :param last: The last number that was given.
        """
        time = since_boot() - self._wrong + self._ahead
        if not -_MINUTE < time - last < _MINUTE:
            # The store was idle for long, or this process now gets another time.
            self._wrong = _wrong()
            time = since_boot() - self._wrong + self._ahead
        return time


def uptime() -> int:
    """Microseconds since boot."""
    return since_boot() - _wrong()


def since_boot() -> int:
    """Microseconds since boot, as this process sees them."""
    if _CLOCK is None:
        return time.monotonic_ns() // 1000
    return time.clock_gettime_ns(_CLOCK) // 1000


def boot_id() -> str:
    """Names the time since the machine was started, in one word.

    Where the system has no name for it, the name is when that was, by the wall clock. If
    that is set by minutes, the name is another one, as if the machine had been started.
    """
    try:
        return "-".join(_BOOT_ID.read_text().split())
    except OSError:
        started = time.time() - since_boot() / 1_000_000
        return f"started-{round(started / _BOOT_SECONDS)}"


def _wrong() -> int:
    """By how much the time that this process gets is wrong, as under libfaketime, if the
    kernel also has the right time in a file."""
    try:
        # In a container, the file may be of the container's own boot (LXCFS).
        if os.stat("/proc/uptime").st_dev != os.stat("/proc").st_dev:
            return 0
        with open("/proc/uptime") as file:
            wrong = since_boot() - int(float(file.read().split()[0]) * 1_000_000)
    except (OSError, ValueError, IndexError):
        return 0
    return wrong if abs(wrong) > _MINUTE else 0


def http_date() -> str:
    """Now, in the form of a ``Date`` header."""
    return _date_of(int(time.time()))


@lru_cache(1)
def _date_of(second: int) -> str:
    return formatdate(second, usegmt=True)
