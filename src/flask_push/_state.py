"""What one app has in one process: its configuration, its broker, and its door to the hub.

:class:`AppState` exists from ``init_app`` on. It creates :class:`Services` at first use.
"""

from __future__ import annotations

import collections.abc as cabc
import os
import threading
import time
import typing as t
import weakref
from dataclasses import asdict
from dataclasses import astuple
from dataclasses import replace
from pathlib import Path

from flask import Flask

from ._app_bridges import AppBridges
from ._app_directory import Place
from ._app_hub import check
from ._app_hub import choose
from ._app_hub import files_in
from ._app_hub import files_of
from ._app_hub import introduce
from ._app_hub import why_development
from ._app_outboxes import AppOutboxes
from ._app_outboxes import Opens
from ._app_publisher import dumps_of
from ._config import Config
from ._delivery.stream import Stream
from ._handoff.container_end import ContainerEnd
from ._handoff.door import Door
from ._handoff.listeners_hub import ListenersHub
from ._handoff.other_store import OtherStore
from ._handoff.process_door import ProcessDoor
from ._handoff.relay import Relays
from ._handoff.shared_doors import SharedDoors
from ._hub.thread import ThreadDoor
from ._ipc.files import HubFiles
from ._ipc.files import Tie
from ._known_positions import Known
from ._known_positions import KnownPositions
from ._measured_publisher import counts_of
from ._measured_publisher import publisher_of
from ._system.fork import PerProcess
from ._system.logs import QuietLogger
from ._system.rundir import claim
from ._system.unix import hub_listens_in
from ._system.users import current_user
from ._ticket_cookie import TicketCookie
from .brokers import Broker
from .brokers import KeepsOwnLogs
from .brokers import open_broker

# Relays at once in tests, and of runs where an app is developed: there, each page that
# follows keeps one until the run ends, and each has a thread of its own.
_MOST_IN_DEVELOPMENT = 1000


class AppState(PerProcess):
    """Creates an app's services at first use, in each process.

    Before that, the process only holds a tie to the hub, if one is running: a hub runs for
    as long as a process holds a tie.

    :raises ValueError: If the configuration is invalid.
    :raises RuntimeError: If it needs something that this system lacks.
    """

    def __init__(
        self, app: Flask, bridges: AppBridges, outboxes: cabc.Sequence[Opens] = ()
    ) -> None:
        config = Config.read(app.config)
        # This imports the broker. If the process forked in the middle of a later import,
        # the child would have a lock that is never released.
        open_broker(config.broker_url or "sqlite:", Path("/"))
        check(config)
        self._app = weakref.ref(app)
        self._services: Services | None = None
        self._making = threading.RLock()
        self.bridges = bridges
        self._outboxes = outboxes
        #: Where the app serves the scripts; ``None`` if it serves none.
        self.url_prefix = config.url_prefix
        self.place = Place.of(app)
        self._user = current_user()
        self._look_at = 0.0
        self.ties: list[Tie] = []
        self._hubs = config.hub_processes
        if not app.testing and choose(app, config)[1] == "process":
            directories = [self.place.directory(config)]
            if self._user == 0:
                # A server that root starts may run its workers as another user.
                directories += self.place.others(config)
            self._place_ties(directories)
            self.hold_ties(make=False)
            self._container_end = ContainerEnd(self.ties)
        weakref.finalize(app, _release, self.ties).atexit = False
        super().__init__()

    def services(self) -> Services:
        self.here()
        services = self._services
        if services is None or time.monotonic() >= self._look_at:
            return self._look()
        return services

    def _look(self) -> Services:
        """Create the services at first use, and check the run directory once a second."""
        with self._making:
            app = self._found()
            if self._user != current_user():
                # The process has changed its user since they were created.
                if self._services is not None:
                    self._services.outboxes.stop()
                self._services, self._user = None, current_user()
            if self._services is None:
                self._services = Services(app, self.bridges, self.place)
                weakref.finalize(app, self._services.close).atexit = False
                self._place_ties(self._services.tied_to)
            elif self._services.directory is not None:
                claim(self._services.directory)
            self.hold_ties(make=True)
            self._services.other_store.look()
            self._services.outboxes.open(app, self._outboxes)
            self._look_at = time.monotonic() + 1
            return self._services

    @property
    def unsent(self) -> int:
        services = self._services
        return 0 if services is None else services.publisher.unsent

    def known_now(self) -> Known | None:
        """The positions that the process knows when a request arrives. ``None`` if streams
        need none. Never raises: most requests are not for streams."""
        try:
            known = self.services().known
        except Exception:
            # The request that needs the services raises it again.
            return {}
        return None if known is None else known.now()

    def apart(self) -> str:
        """Why no stream receives the events of this process: the app's other processes run
        as another user, and so have another run directory. Empty if they don't."""
        app = self._found()
        config = Config.read(app.config)
        if choose(app, config)[0] != "sqlite:" or any(
            s.is_open() for s in files_of(app, config)
        ):
            return ""
        if self.place.directory(config).exists():
            # In /tmp, every user could make one.
            instance, found = Path(self.place.instance), self.place.others(config)
            if not any(hub_listens_in(path) for path in found if path.parent == instance):
                return ""
        return " ".join(self.place.apart(config))

    def _found(self) -> Flask:
        app = self._app()
        if app is None:
            raise RuntimeError("The app of this Push no longer exists.")
        return app

    def hold_ties(self, make: bool) -> None:
        for tie in self.ties:
            tie.renew(make)

    def abandon(self) -> None:
        # The services are reset by the fork themselves. A thread of the parent, which the
        # child does not have, may have held the lock.
        self._making = threading.RLock()
        self._look_at = 0.0
        self.hold_ties(make=False)

    def _place_ties(self, directories: cabc.Collection[Path]) -> None:
        numbers = range(self._hubs)
        wanted = [HubFiles.of(path, number) for path in directories for number in numbers]
        before = {tie.files: tie for tie in self.ties}
        self.ties[:] = [before.pop(f) if f in before else Tie(f) for f in wanted]
        _release(before.values())


class Services:
    """What publishing and streaming need. An app that is being tested gets services that
    use nothing outside of its process.

    :raises RuntimeError: If the run directory can't be used.
    """

    def __init__(self, app: Flask, bridges: AppBridges, place: Place) -> None:
        config = Config.read(app.config)
        if app.testing and "PUSH_PRESENCE_GRACE" not in app.config:
            # Tests don't reload pages, and don't wait.
            config = replace(config, presence_grace=0)
        self.config = config
        self.testing = app.testing
        self.quiet = QuietLogger()
        check(config)
        url, kind = choose(app, config)
        directory = None
        if url == "sqlite:" or kind == "process" or config.accel or config.return_ticket:
            directory = claim(place.directory(config))
            if url == "sqlite:":
                place.introduce(config)
        self.directory = directory
        #: The directories whose hubs run for as long as this process does.
        self.tied_to = [directory] if directory is not None and kind == "process" else []
        self.broker = open_broker(
            url, directory, config.given_retention, config.publish_timeout
        )
        is_fake = app.testing and not config.broker_url
        self.bridges = bridges.take(self.broker, url, optional=is_fake)
        counts = self._counts = counts_of(config, kind, directory)
        self.publisher = publisher_of(self.broker, config, dumps_of(app), counts)
        self.outboxes = AppOutboxes(self.publisher, config.outbox_thread, app.testing)
        self.ticket_cookie: TicketCookie | None = None
        # With hubs in threads, nginx could reach only the hub of one process.
        if config.return_ticket and kind != "thread":
            self.ticket_cookie = TicketCookie(app, self.broker.url, config.return_ticket)
        #: The ways to hubs that start no process, for listeners.
        self._doors: list[Door] = []
        self.hub = self._choose_hub(kind, directory, why_development(app, config))
        self.other_store = OtherStore(self._doors)
        self.known: KnownPositions | None = None
        if config.disconnect and isinstance(self.broker, KeepsOwnLogs):
            self.known = KnownPositions(self.hub, self.publisher)
        self.relays = self._relays()
        #: The hub of the app's own listeners.
        self.listeners = ListenersHub(
            self._doors, self._thread, self.publisher.position, self._seen, config.heartbeat
        )

    def _relays(self) -> Relays:
        config, testing, counts = self.config, self.testing, self._counts
        is_flask_run = os.environ.get("FLASK_RUN_FROM_CLI") == "true"
        most = _MOST_IN_DEVELOPMENT if testing else config.relay_max
        follows = _MOST_IN_DEVELOPMENT if testing or is_flask_run else None
        count = None if counts is None else counts.count
        return Relays(most, config.relay_lifetime, follows, config.heartbeat, count)

    def _choose_hub(self, kind: str, directory: Path | None, development: str) -> Door:
        config, accel = self.config, None
        keys = [] if self.ticket_cookie is None else self.ticket_cookie.keys
        if directory is not None and (config.accel or keys):
            accel = directory / "accel.sock"

        reasons = [development] if development else []

        def opened() -> Broker:
            if reasons:
                introduce(config, reasons.pop())
            return self.publisher._broker_of_thread()

        def thread() -> ThreadDoor:
            take = self._counts.take if self._counts and kind == "thread" else None
            return ThreadDoor(opened, config.options, accel, self.bridges, take)

        self._thread: cabc.Callable[[], Door] = thread
        if kind == "thread":
            # It is one hub, and has all streams of this process.
            config = replace(config, hub_processes=1)
            self._doors.append(door := thread())
            return door
        hello = self._hello(accel, keys)
        if kind != "process":
            by_hand = HubFiles(Path(kind))
            self._doors.append(ProcessDoor(by_hand, hello, starts=False))
            return ProcessDoor(by_hand, hello, starts=False)
        assert directory is not None
        others = {**hello, "accel": None}
        first, *more = files_in(directory, config)
        self._doors.append(ProcessDoor(first, hello, starts=False))
        self._doors += [ProcessDoor(files, others, starts=False) for files in more]
        door_to_first = ProcessDoor(first, hello, instead=thread)
        if not more:
            return door_to_first
        return SharedDoors([door_to_first, *(ProcessDoor(f, others) for f in more)])

    def _hello(self, accel: Path | None, keys: list[bytes]) -> dict[str, t.Any]:
        """What this process tells a hub process first."""
        config = self.config
        return {
            "url": self.broker.url,
            # Older hubs take three values, and no more.
            "retention": astuple(config.given_retention)[:3],
            "items": astuple(config.given_retention)[3:],
            "timeout": config.publish_timeout,
            "options": asdict(config.options),
            "linger": config.hub_linger,
            "accel": None if accel is None else str(accel),
            "bridges": [bridge._asdict() for bridge in self.bridges],
            "return_keys": [key.hex() for key in keys],
        }

    def close(self) -> None:
        self.outboxes.stop()
        self.listeners.stop()
        self.hub.stop()
        # With the thread of its runs.
        self.publisher.close()

    def _seen(self, stream: Stream) -> str:
        """The position that a listener's stream carries, for hubs of older versions, which
        may disconnect it."""
        return "" if self.known is None else self.known.seen(self.known.now(), stream)

    def retry_later(self, stream: Stream) -> list[bytes]:
        """The body of a stream that ends at once and tells the browser when to reconnect.
        After any status but 200, the browser would not reconnect."""
        return [stream.first_bytes(self.config.options.jittered_retry())]


def _release(ties: cabc.Iterable[Tie]) -> None:
    for tie in ties:
        tie.release()
