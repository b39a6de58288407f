"""How a worker starts the hub process, when there is none.

The worker that gets the lock makes the socket, and passes both to the hub, which holds them
as long as it lives. So there is at most one hub, and workers that connect before it is
ready wait in the socket's queue. The hub is no child of the worker. It has a session of its
own, and inherits no other descriptor, no working directory, and no terminal.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from .._ipc.files import HubFiles
from .._ipc.version import version
from .._system.inodes import open_own
from .._system.rundir import claim

logger = logging.getLogger("flask_push")

# Forks at once, so that the worker need not wait for the hub to end. The hub finds the
# modules that the app finds, but after those of the standard library, because a module of
# the app may have the name of one of them. After an upgrade, the files may be newer than
# this text, so ``flask_push._run`` is an interface between versions.
_CODE = """\
import os, sys
if os.fork(): os._exit(0)
import json
import logging
sys.path += [p for p in json.loads(sys.argv.pop()) if p not in sys.path]
from flask_push._run import main
main(sys.argv[1:])"""
# ``-S`` leaves out ``site``, and so ``sitecustomize`` and the code in ``.pth`` files, by
# which tracers, profilers and coverage enter each Python process. The hub gets the path of
# the app, which has the directories that ``site`` found. ``-P`` leaves out the working
# directory.
_FLAGS = "-S", "-P"
# Variables that systemd sets for the process that it started, and not for the hub.
_DROPPED = "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"
# Seconds to wait for a hub that is starting, or busy, to accept a connection.
_ACCEPT_SECONDS = 2.0


class NoHub(Exception):
    """There is no hub process, and none can be started."""


class NotNow(Exception):
    """A hub process may be running, but it can't be reached at the moment."""


# The process has run out of a resource, or one message can't be sent.
_PASSING = frozenset(
    {
        *(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM),
        *(errno.EAGAIN, errno.ETIMEDOUT, errno.ETOOMANYREFS),
        *(errno.EBADF, errno.EMSGSIZE),
    }
)


def is_passing(error: OSError) -> bool:
    """Whether the error says nothing about the hub."""
    return isinstance(error, TimeoutError) or error.errno in _PASSING


def connect_to_hub(files: HubFiles, starts: bool = True) -> tuple[socket.socket, bool]:
    """Connect to the hub, and start it if there is none.

    :param starts: Whether it may be started.
    :return: The connection, and whether a hub was started for it. It may be used at
        once: what is sent waits until the hub is there.
    :raises NoHub: If there is none, and none can be started.
    :raises NotNow: If it is too busy, or this process lacks a resource.
    """
    deadline = time.monotonic() + _ACCEPT_SECONDS
    while True:
        try:
            return files.connect(), False
        except OSError as error:
            problem = error
        # The hub is busy, so the queue of its socket is full.
        busy = isinstance(problem, BlockingIOError)
        if not busy and is_passing(problem):
            raise NotNow(str(problem)) from problem
        if not busy and not starts:
            raise NoHub(
                f"PUSH_HUB names {files.sock}, where no hub answers ({problem}). Start it:"
                f" 'flask push hub --socket {files.sock}'."
            ) from problem
        if isinstance(problem, PermissionError):
            raise NoHub(str(problem)) from problem
        if starts and (sock := _start_unlocked(files)) is not None:
            return sock, True
        if time.monotonic() > deadline:
            if busy:
                raise NotNow(
                    f"It has accepted no connection for {_ACCEPT_SECONDS:g} seconds."
                )
            raise NoHub(f"{files.lock} is locked, but no hub answers: {problem}")
        time.sleep(0.01)


def _start_unlocked(files: HubFiles) -> socket.socket | None:
    """Start a hub, unless another one has the lock."""
    try:
        lock = _try_lock(files)
        if lock is None:
            return None
        try:
            return _start(files, lock)
        finally:
            os.close(lock)
    except (OSError, subprocess.SubprocessError) as error:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            raise NotNow(str(error)) from error
        raise NoHub(f"It can't be started: {error}") from error


def _try_lock(files: HubFiles) -> int | None:
    try:
        return files.try_lock()
    except FileNotFoundError:
        pass
    # The directory was removed after this process started.
    try:
        claim(files.sock.parent)
    except RuntimeError as error:
        raise NoHub(str(error)) from error
    return files.try_lock()


def _start(files: HubFiles, lock: int) -> socket.socket:
    with files.listen() as listener:
        start_process(files, "--door", listener.fileno(), "--lock", lock)
        # From now on only the hub holds the listener. If the hub dies, it is closed.
        return files.connect()


def replace_hub(files: HubFiles, older: str) -> None:
    """Start a hub that takes the place of an older version."""
    logger.info("Replacing version %s of the hub by version %s.", older, version())
    try:
        start_process(files, "--replace")
    except OSError as error:
        logger.error("Could not replace version %s of the hub: %s", older, error)


def start_process(files: HubFiles, *arguments: str | int) -> None:
    """Run a hub in the background, with descriptors among its arguments."""
    env = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    try:
        log = open_own(files.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY)
    words = [str(files.sock), *map(str, arguments), json.dumps(_path())]
    try:
        process = subprocess.Popen(
            [_interpreter(), *_FLAGS, "-c", _CODE, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd="/",
            env=env,
            pass_fds=[fd for fd in arguments if isinstance(fd, int)],
            start_new_session=True,
        )
    finally:
        os.close(log)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_ACCEPT_SECONDS)


def _path() -> list[str]:
    """The directories in which this process finds modules, first that of this package.
    They are absolute, because the hub has another working directory."""
    home = Path(__file__).parents[2]
    found = [os.path.abspath(entry) for entry in sys.path]
    return [str(home), *filter(os.path.exists, found)]


def _interpreter() -> str:
    """This Python, as a program. Within uWSGI, ``sys.executable`` is uWSGI."""
    if getattr(sys, "frozen", False):
        raise FileNotFoundError("a frozen app has no interpreter; set PUSH_HUB to 'thread'")
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = [sys.executable]
    for prefix in sys.exec_prefix, sys.base_exec_prefix:
        found += [f"{prefix}/bin/{name}", f"{prefix}/bin/python3"]
    found.append(shutil.which(name) or "")
    for path in found:
        if os.path.basename(path or "").startswith("python") and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(f"no interpreter {name!r} was found")
