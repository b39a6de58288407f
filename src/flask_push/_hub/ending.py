"""How a hub ends streams: one of them, or all."""

from __future__ import annotations

import collections.abc as cabc
import contextlib

from .._delivery.options import Options
from .._delivery.subscription import ReaderGroup
from .connection import Connection
from .counts import Counts
from .hub_presence import HubPresence
from .limits import Limits
from .poller import Poller


class StreamEnds:
    """What the end of a stream needs to know of all streams."""

    def __init__(self, options: Options) -> None:
        #: Of their users.
        self.presence: HubPresence
        self.limits = Limits(options)
        #: What the hub counts.
        self.counts = Counts()
        self.connections: dict[int, Connection] = {}
        self.poller = Poller()
        #: Groups of which a member may have got half a frame that is not noted yet.
        self.doubtful: cabc.Sequence[ReaderGroup] = ()

    def drop(self, connection: Connection, retry: float = 0, why: str = "left") -> None:
        """Close a connection. Its browser has left, or reconnects after so many seconds.

        :param why: As the metric ``streams_ended`` has it.
        """
        raise NotImplementedError

    def end(
        self,
        connection: Connection,
        streams: int = 0,
        own: bytes = b"",
        why: str = "finished",
    ) -> None:
        """End the stream from the hub's side.

        :param streams: How many other streams end with it.
        :param own: What it receives before its last word.
        :param why: As for :meth:`drop`.
        """
        # Before it begins, a connection has no frame, but perhaps its first bytes.
        retry = self.limits.options.jittered_retry(streams)
        if not connection.rest or not connection.begun:
            word = connection.last_word(retry, own)
            last = b"".join([connection.rest, word])
            with contextlib.suppress(OSError):
                if connection.write(last) == len(last) and word:
                    connection.keep_whole()
        self.drop(connection, retry / 1000, why)

    def finish(self, connection: Connection) -> None:
        """End a stream whose client has been sent all of its run."""
        with contextlib.suppress(OSError):
            connection.keep_whole()
        self.drop(connection, why="finished")

    def finish_all(self, group: ReaderGroup) -> None:
        """The same for all live streams of a run that has ended."""
        for connection in list(group.live.values()):
            self.finish(connection)

    def cut(self, connection: Connection) -> None:
        with contextlib.suppress(OSError, ValueError):
            # A connection that is closed, or was not admitted, is not polled.
            self.poller.remove(connection.fd)
        connection.close()

    def end_all(self, why: str = "failed") -> int:
        """
        :param why: As for :meth:`drop`.
        """
        streams, doubtful = len(self.connections), {*self.doubtful}
        for connection in self.connections.values():
            with contextlib.suppress(OSError):
                if not connection.rest and connection.group not in doubtful:
                    retry = self.limits.options.jittered_retry(streams)
                    connection.write(connection.last_word(retry))
            self.cut(connection)
        self.connections.clear()
        self.counts.add(f"streams_ended:{why}", streams)
        self.limits.forget()
        self.presence.leave_all(self.limits.options.longest_retry(streams))
        return streams
