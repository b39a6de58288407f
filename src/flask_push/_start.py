"""How a hub becomes a process of its own, that nobody has to start.

Whoever gets the lock opens the door and hands both to the process, which has them for
life: so there is one hub at most, and whoever comes to the door meanwhile waits in its
queue. The process is nobody's child, has a session of its own and nothing else of the
one that started it: no descriptor, no working directory, no terminal.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time

from ._files import open_own
from ._rundir import claim
from ._site import PATIENCE
from ._site import Site

# Forks at once, so that whoever starts it need not wait until it ends. What the app can
# import, it can too, but only after everything else: a module of the app's may be
# called like one of the standard library.
_CODE = """\
import os, sys
if os.fork(): os._exit(0)
sys.path += [p for p in sys.argv.pop().split(os.pathsep) if p not in sys.path]
from flask_push._run import main
main(sys.argv[1:])"""


class NoHub(Exception):
    """There is no hub process, and none can be started."""


def enter(site: Site) -> tuple[socket.socket, bool]:
    """Come to the hub, and start it if there is none.

    :return: The connection, and whether a hub was started for it. It may be used at
        once: what is sent waits until the hub is there.
    :raises NoHub: If that is impossible.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return site.connect(), False
        except PermissionError as error:
            raise NoHub(str(error)) from error
        except OSError as error:
            problem = error
        try:
            lock = _try_lock(site)
            if lock is not None:
                try:
                    return _start(site, lock), True
                finally:
                    os.close(lock)
        except (OSError, subprocess.SubprocessError) as error:
            raise NoHub(f"It can't be started: {error}") from error
        if time.monotonic() > deadline:
            raise NoHub(f"{site.lock} is locked, but nobody answers: {problem}")
        time.sleep(0.01)


def _try_lock(site: Site) -> int | None:
    try:
        return site.try_lock()
    except FileNotFoundError:
        pass
    # The directory was there when this process began, and was removed.
    try:
        claim(site.door.parent)
    except RuntimeError as error:
        raise NoHub(str(error)) from error
    return site.try_lock()


def _start(site: Site, lock: int) -> socket.socket:
    with site.listen() as door:
        start_process(site, "--door", door.fileno(), "--lock", lock)
        # Whatever becomes of the process, the door closes with it, now that we let go.
        return site.connect()


def start_process(site: Site, *arguments: str | int) -> None:
    """Run a hub in the background, with descriptors among its arguments."""
    path = os.pathsep.join(p for p in sys.path if os.path.isabs(p) and os.path.isdir(p))
    # Of systemd's, for the process that it started, and not for this one.
    theirs = "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID"
    env = {name: value for name, value in os.environ.items() if name not in theirs}
    try:
        log = open_own(site.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY)
    words = list(map(str, arguments))
    try:
        process = subprocess.Popen(
            [_interpreter(), "-P", "-c", _CODE, str(site.door), *words, path],
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
        process.wait(PATIENCE)


def _interpreter() -> str:
    """This Python, as a program. Within uWSGI, ``sys.executable`` is uWSGI."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = [sys.executable]
    for prefix in sys.exec_prefix, sys.base_exec_prefix:
        found += [f"{prefix}/bin/{name}", f"{prefix}/bin/python3"]
    found.append(shutil.which(name) or "")
    for path in found:
        if os.path.basename(path or "").startswith("python") and os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(f"no interpreter {name!r} is to be found")
