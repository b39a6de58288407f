"""Which store a hub reads, in the file ``hub.store``.

A process that only publishes is not connected to the hub. By this file it notices that the
hub reads another store, as after a change of ``PUSH_BROKER_URL``: streams would stay open
there, and never get what it publishes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os

from .._system.inodes import open_own
from .files import HubFiles
from .messages import Messages
from .protocol import Hello
from .protocol import Refused

_LENGTH = 64


def note_store(files: HubFiles, url: str) -> None:
    """Write which store the hub reads. Without the file, only streams find out."""
    with contextlib.suppress(OSError):
        fd = open_own(files.store, os.O_WRONLY | os.O_CREAT)
        try:
            os.write(fd, _digest(url))
        finally:
            os.close(fd)


def reads_another(files: HubFiles, url: str) -> bool:
    """Whether the hub that was last there reads another store. Never raises."""
    try:
        fd = open_own(files.store, os.O_RDONLY)
    except OSError:
        return False
    try:
        found = os.read(fd, _LENGTH + 1)
    except OSError:
        return False
    finally:
        os.close(fd)
    return len(found) == _LENGTH and found != _digest(url)


def say_hello(files: HubFiles, hello: Hello) -> str:
    """Tell a hub which store this process uses. A hub of another store ends, unless
    processes that use that one are connected to it.

    :return: Why the hub refuses this process. Empty if it does not, or if there is none.
    """
    try:
        messages = Messages(files.connect())
    except OSError:
        return ""
    with contextlib.closing(messages), contextlib.suppress(OSError, EOFError):
        return str(messages.ask(hello.to_json()).get(Refused.key, ""))
    return ""


def _digest(url: str) -> bytes:
    # The URL may have a password.
    return hashlib.sha256(url.encode()).hexdigest().encode()
