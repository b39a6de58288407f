"""The entry by which a worker starts a hub: an interface between versions.

A worker that started before an upgrade has older code in memory, and imports this function
from the new files. So its path, name and arguments never change, and arguments are only
added: ``main(["SOCKET", "--door", "FD", "--lock", "FD"])`` and
``main(["SOCKET", "--replace"])``.
"""

from __future__ import annotations

from ._hub.main import main

__all__ = ["main"]
