"""The PID namespace of this process: each container has one of its own.

When the first process of a namespace ends, the kernel kills all others of it at once.
"""

from __future__ import annotations

import os
from pathlib import Path

# The namespace of the machine, in each Linux kernel: PROC_PID_INIT_INO.
_MACHINE = 0xEFFFFFFC
# First processes that start one program, and end when it ends. Docker's is tini, by
# another name, and Podman's is catatonit.
_INITS = frozenset(
    {"tini", "tini-static", "docker-init", "dumb-init", "catatonit", "podman-init"}
)


def namespace() -> int:
    """The identity of the PID namespace. 0 if the system has none."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def main_process() -> int | None:
    """The process whose end is that of the container, if this process is in one."""
    if namespace() in (0, _MACHINE):
        return None
    try:
        if Path("/proc/1/comm").read_text().strip() not in _INITS:
            return 1
        # In the order in which it started them. Orphans come last.
        return int(Path("/proc/1/task/1/children").read_text().split()[0])
    except (OSError, IndexError, ValueError):
        return None


def sockets_of(pid: int) -> set[object]:
    """The identities of the sockets of a process, as :func:`.sockets.identity` has them.
    None, if it has ended.

    :raises PermissionError: If this process may not know them.
    """
    found: set[object] = set()
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                try:
                    inode = os.stat(entry.path)
                except FileNotFoundError:
                    continue
                found.add((inode.st_dev, inode.st_ino))
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found
