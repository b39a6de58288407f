"""Which signed addresses are revoked, because the app has disconnected their streams.

The hub looks for itself, when a stream begins. But when it has a stream, the status of the
response is 200, and the browser would try the address again and again. So the process that
gets the request looks first.
"""

from __future__ import annotations

import collections.abc as cabc
import threading

from ._delivery.stream import Stream
from ._hub.disconnect_list import DisconnectList
from ._system.fork import PerProcess
from .brokers import DISCONNECT_LOG
from .brokers import KeepsOwnLogs
from .brokers import NotRead


class Revoked(PerProcess):
    """From any thread. It keeps no more than a store does.

    :param logs: Returns the store.
    """

    def __init__(self, logs: cabc.Callable[[], KeepsOwnLogs]) -> None:
        self._logs = logs
        self.abandon()
        super().__init__()

    def names(self, stream: Stream) -> bool:
        """Whether the stream may have been disconnected since its address was signed, or
        its session at any time."""
        self.here()
        with self._using:
            try:
                self._read()
            except NotRead:
                # The hub knows.
                return False
            found = self._list
            return bool(found.index.session_of(stream)) or found.is_late(stream)

    def _read(self) -> None:
        """Read what is new.

        :raises NotRead: If the store can't be read now.
        """
        store, known = self._logs(), self._list
        page = store.read_own(DISCONNECT_LOG, known.end if known.known else 0)
        if known.known and page.epoch != known.epoch:
            page = store.read_own(DISCONNECT_LOG)
        known.take(page)

    def abandon(self) -> None:
        # A thread of the parent may have been using both.
        self._using, self._list = threading.Lock(), DisconnectList()
