"""As much of a container as this machine allows: namespaces without Docker."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
from pathlib import Path

from support.servers import until


@functools.cache
def namespaces(network: bool = True) -> list[str]:
    """Before a command that is to run in a container. Within another container, it may be
    nothing.

    :param network: Whether it gets a network of its own.
    """
    command = ["unshare", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
    command += ["--net"] if network else []
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    full = [*command, *user, "--mount-proc"]
    with contextlib.suppress(FileNotFoundError):
        if subprocess.run([*full, "true"], capture_output=True).returncode == 0:
            return full
    return []


def children(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(word) for word in words]
    return []


def first_process(unshare: int) -> int:
    """The process with the number 1 in the container that this ``unshare`` has started."""
    (pid,) = until(lambda: children(unshare))
    return int(pid)
