"""The entry by which a worker starts a hub: an interface between versions.

A worker that began before an upgrade runs the code that it has in memory, and imports this
from the new files. So the path, the name and the arguments stay as they are, and arguments
are only added: ``main(["SOCKET", "--door", "FD", "--lock", "FD"])`` and
``main(["SOCKET", "--replace"])``.
"""

from __future__ import annotations

from ._hub.main import main

__all__ = ["main"]
