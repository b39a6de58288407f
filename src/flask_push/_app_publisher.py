"""The publisher of an app."""

from __future__ import annotations

import typing as t
import weakref
from functools import partial

from flask import Flask
from flask import json

from ._config import Config
from ._delivery.figure_rows import ReadFigures
from ._event import Position
from ._event_checks import Dumps
from ._ipc.stored_figures import read_figures
from ._publisher import KEEP_DISCONNECTS
from ._publisher import Publisher
from ._revoked import Revoked
from .brokers import Broker
from .brokers import KeepsOwnLogs
from .brokers import open_broker

#: Seconds for which a disconnect is kept at most, and so the longest time for which a
#: signed address is valid. A return ticket may be valid for longer. Then the view is asked.
MOST_KEPT = 86400


class AppPublisher(Publisher):
    """It keeps disconnects for as long as the app's return tickets and signed addresses are
    valid, and knows a position of the store from each call."""

    def __init__(self, broker: Broker, config: Config, dumps: Dumps) -> None:
        super().__init__(
            broker,
            max_event_bytes=config.max_event_bytes,
            dumps=dumps,
            lost_after=config.lost_after,
            max_run_bytes=config.max_run_bytes,
            after_commit_error=config.after_commit_error,
        )
        if broker.url != "memory:":
            about = broker.url, None, config.given_retention, config.publish_timeout
            self._broker_of_thread = partial(open_broker, *about)
        self._run_times = config.lost_after, config.retention
        self._ends_streams = config.disconnect
        self._measures = config.metrics
        longest = MOST_KEPT if config.stream_url else config.return_ticket
        self._keep_seconds = max(KEEP_DISCONNECTS, min(longest, MOST_KEPT))
        #: What has been disconnected, for the addresses that this process gets back.
        self.revoked = Revoked(self._keeper_of_logs)
        #: The newest position that a call has returned.
        self.known: Position | None = None

    def figures(self) -> ReadFigures:
        """What the hubs of all machines measure.

        :raises RuntimeError: If they don't.
        :raises NotRead: If the store can't be read now.
        """
        if not self._measures:
            raise RuntimeError("Hubs measure nothing. Set PUSH_METRICS to True.")
        return read_figures(self._broker)

    def _keeper_of_logs(self) -> KeepsOwnLogs:
        if not self._ends_streams:
            raise RuntimeError(
                "PUSH_DISCONNECT is False, so hubs don't end streams. Remove that key."
            )
        return super()._keeper_of_logs()

    def _note(self, position: Position) -> None:
        # If two threads do this at once, the older position may remain. It is right, too.
        known = self.known
        if known is None or known.epoch != position.epoch or known < position:
            self.known = position


def dumps_of(app: Flask) -> Dumps:
    """The app's own JSON."""
    reference = weakref.ref(app)

    def dumps(data: t.Any) -> str:
        app = reference()
        return json.dumps(data) if app is None else app.json.dumps(data)

    return dumps
