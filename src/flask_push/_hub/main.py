"""How a hub process starts: its arguments, its surroundings, and its log."""

from __future__ import annotations

import argparse
import collections.abc as cabc
import contextlib
import io
import logging
import logging.handlers
import os
import socket
import sys
import typing as t
from pathlib import Path

from .._ipc.files import HubFiles
from .._ipc.messages import Messages
from .._ipc.protocol import LogLine
from .._system.descriptors import raise_limit
from .._system.inodes import identity
from .._system.inodes import identity_of
from .._system.inodes import open_own
from .._system.process import interrupt_no_others
from .._system.process import set_name
from .._system.process import set_title
from .._system.process import unblock_signals
from .process import HubProcess
from .takeover import take

logger = logging.getLogger("flask_push")

_LOG_BYTES = 1_000_000
#: Of a line in the log.
FORMAT = "%(asctime)s %(process)d %(levelname)s %(message)s"


class _ToWorker(logging.Handler):
    def __init__(self, process: HubProcess) -> None:
        super().__init__(logging.INFO)
        self.process = process

    def handle(self, record: logging.LogRecord) -> bool:
        text = f"hub {os.getpid()}: {self.format(record)}"
        self.process.peers.log(LogLine(record.levelno, text))
        return True


def main(arguments: cabc.Sequence[str]) -> None:
    """Run a hub: ``SOCKET --door FD --lock FD`` or ``SOCKET --replace``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("socket", type=Path)
    parser.add_argument("--door", type=int)
    parser.add_argument("--lock", type=int)
    parser.add_argument("--replace", action="store_true")
    parser.add_argument("--force", action="store_true")
    given = parser.parse_args(arguments)
    files = HubFiles(given.socket)
    set_title(f"flask-push hub: {files.sock}")
    set_up(files)
    if given.replace:
        replace(files, stays=False, forced=given.force)
    else:
        listener = socket.socket(fileno=given.door)
        os.set_inheritable(given.door, False)
        os.set_inheritable(given.lock, False)
        go(HubProcess(files, listener, given.lock, stays=False))


def replace(files: HubFiles, stays: bool, forced: bool = False) -> None:
    """Take the place of a running hub, with all its streams.

    :raises OSError: If no hub runs there, or it refuses.
    """
    messages = Messages(files.connect())
    things = take(messages, forced)
    listener, lock, *_ = things.fds
    process = HubProcess(files, socket.socket(fileno=listener), lock, stays)
    process.take_over(things)
    go(process)


def go(process: HubProcess) -> None:
    handler = _ToWorker(process)
    logger.addHandler(handler)
    try:
        process.run()
    finally:
        logger.removeHandler(handler)


def set_up(files: HubFiles, log: logging.Handler | None = None) -> None:
    """Set this process up as a hub. It logs to a file, unless it is given a handler."""
    unblock_signals()
    os.umask(0o077)
    raise_limit()
    interrupt_no_others()
    logging.raiseExceptions = False
    logger.setLevel(logging.INFO)
    with contextlib.suppress(OSError):
        log = log or _log_file(files)
        log.setFormatter(logging.Formatter(FORMAT))
        # All libraries of this process log there too.
        logging.getLogger().addHandler(log)
    set_name("flask-push hub")
    sys.excepthook = _last_words


class _LogFile(logging.handlers.RotatingFileHandler):
    """Makes the file again if it was removed, and follows no link."""

    def shouldRollover(self, record: logging.LogRecord) -> bool | int:
        if self.stream is not None:
            opened = identity_of(self.stream.fileno())
            if identity(self.baseFilename) != opened:
                self.stream.close()
                self.stream = None
        return super().shouldRollover(record)

    def _open(self) -> io.TextIOWrapper:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        fd = open_own(self.baseFilename, flags)
        return io.TextIOWrapper(os.fdopen(fd, "ab"), "utf-8")


def _log_file(files: HubFiles) -> logging.Handler:
    return _LogFile(files.log, maxBytes=_LOG_BYTES, backupCount=1)


def _last_words(*error: t.Any) -> None:
    logger.critical("The hub failed, and this process ends.", exc_info=error)
