"""How the hub ends its streams in time when a container is stopped.

Docker and Kubernetes notify only the first process of a container, usually the server or a
small init in front of it. When it ends, the kernel kills the hub. But a server waits for
its workers. So a worker that ends because its server does tells the hub, and waits until
the hub has told each browser when to reconnect. A worker that ends for another reason, such
as a reload, must not do so, because all streams are to stay open.

A server that ends closes its listening sockets before its workers end. So the worker
compares: the sockets on which both it and the main process of the container listened when
the worker began, and those that the main process has now.
"""

from __future__ import annotations

import atexit
import collections.abc as cabc
import logging
import os
import time
import weakref

from .._ipc.files import HubFiles
from .._ipc.files import Tie
from .._ipc.messages import Messages
from .._ipc.protocol import ContainerEnds
from .._ipc.protocol import Refused
from .._system import sockets
from .._system.fork import all_of
from .._system.fork import PerProcess
from .._system.namespace import main_process
from .._system.namespace import namespace
from .._system.namespace import sockets_of

logger = logging.getLogger("flask_push")

#: Seconds that all hubs together may take. Docker kills a container after ten.
MOST_SECONDS = 5.0


class ContainerEnd(PerProcess):
    """Ends the hubs of an app if this process ends with its container.

    :param ties: To the hubs that the workers of the app start.
    """

    def __init__(self, ties: cabc.Sequence[Tie]) -> None:
        self._ties = ties
        self.abandon()
        _apps.add(self)
        super().__init__()

    def abandon(self) -> None:
        self._main = main_process()
        self._shared: set[object] = set()
        if self._main not in (None, os.getpid()):
            self._shared = _listeners() & self._sockets_of_main()

    def finish(self) -> None:
        """Called when the process ends."""
        self.here()
        if self._ends():
            end_hubs([tie.files for tie in self._ties])

    def _ends(self) -> bool:
        """Whether the container ends now."""
        if self._main == os.getpid():
            return True
        return bool(self._shared) and not self._shared & self._sockets_of_main()

    def _sockets_of_main(self) -> set[object]:
        assert self._main is not None
        try:
            return sockets_of(self._main)
        except OSError:
            # It runs as another user. Streams rather end without a `retry` than too early.
            return self._shared


def _listeners() -> set[object]:
    """The sockets on which this process listens."""
    found = {fd: sockets.identity(fd) for fd in sockets.open_numbers()}
    return {each for fd, each in found.items() if each and sockets.is_listening(fd)}


def end_hubs(hubs: cabc.Iterable[HubFiles], seconds: float = MOST_SECONDS) -> None:
    """Tell the hubs of this container that it ends, and wait until they have ended."""
    until = time.monotonic() + seconds
    told: list[tuple[HubFiles, Messages]] = []
    for files in hubs:
        try:
            messages = Messages(files.connect())
        except OSError:
            continue
        told.append((files, messages))
        try:
            messages.send(ContainerEnds(namespace()).to_json())
        except OSError:
            # It has ended, or reads nothing: the wait finds out.
            continue
    for files, messages in told:
        try:
            _wait(messages, until)
        except TimeoutError:
            logger.warning(
                "The container ends, and the hub at %s has not ended its streams within %g"
                " seconds. Their browsers reconnect all at once.",
                *(files.sock, seconds),
            )
        finally:
            messages.close()


def _wait(messages: Messages, until: float) -> None:
    """Wait until the other end has closed the connection, or refuses.

    :raises TimeoutError: If it does neither in time.
    """
    while True:
        messages.sock.settimeout(max(until - time.monotonic(), 0.001))
        try:
            if any(Refused.key in answer for answer, _ in messages.receive()):
                return
        except TimeoutError:
            raise
        except (EOFError, OSError):
            return


_apps: weakref.WeakSet[ContainerEnd] = weakref.WeakSet()


@atexit.register
def _at_exit() -> None:
    for end in all_of(_apps):
        end.finish()
