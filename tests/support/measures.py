"""What a server's processes use: threads, memory, descriptors."""

from __future__ import annotations

import os
import re
from pathlib import Path

from support.servers import Server


def workers(server: Server) -> list[int]:
    """The processes that answer requests."""
    found: list[int] = []
    queue = [server.process.pid]
    while queue:
        pid = queue.pop()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        queue += map(int, children)
        if not children:
            found.append(pid)
    return found


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def memory(pid: int) -> int:
    """The private memory of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"^RssAnon:\s+(\d+) kB", status, re.M)[0]) * 1024
