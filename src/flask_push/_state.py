"""What one app has in one process: its configuration, and the parts made of it."""

from __future__ import annotations

import collections.abc as cabc
import os
import sys
import threading
import time
import typing as t
import weakref
from dataclasses import asdict
from dataclasses import astuple
from pathlib import Path

from flask import Flask
from flask import json

from ._app_directory import has_hub
from ._app_directory import Place
from ._config import Config
from ._delivery import wire
from ._delivery.stream import Stream
from ._delivery.tickets import derive_key
from ._delivery.tickets import ReturnTickets
from ._event import escape
from ._handoff.door import Door
from ._handoff.process_door import ProcessDoor
from ._handoff.shared_doors import SharedDoors
from ._handoff.transplant import Relays
from ._hub.thread import ThreadDoor
from ._ipc.files import HubFiles
from ._ipc.files import Tie
from ._ipc.protocol import bridges_to_json
from ._publisher import Publisher
from ._system.fork import PerProcess
from ._system.logs import QuietLogger
from ._system.rundir import claim
from .brokers import Bridge
from .brokers import Bridging
from .brokers import open_broker
from .brokers._urls import hide_password


class State(PerProcess):
    """An app's parts, made when they are first used, in each process anew.

    Until then, the process is only tied to a hub that may be there already, which goes
    on for as long as anybody might need it.

    :raises ValueError: If the configuration can't be right.
    """

    def __init__(self, app: Flask, bridges: cabc.Iterable[Bridge]) -> None:
        config = Config.read(app.config)
        # Imported here, for a fork in the middle of an import leaves its child a lock
        # that nobody releases.
        open_broker(config.broker_url or "sqlite:", Path("/"))
        self._app = weakref.ref(app)
        self._parts: Parts | None = None
        self._making = threading.RLock()
        self._bridges = list(bridges)
        #: Where the app serves the browser's half, if anywhere.
        self.url_prefix = config.url_prefix
        self.place = Place.of(app)
        self._user = os.geteuid()
        self._look_at = 0.0
        self.ties: list[Tie] = []
        self._hubs = config.hub_processes
        if config.hub in (None, "process") and not app.testing:
            directories = [self.place.directory(config)]
            if self._user == 0:
                # A server that root starts may run its workers as another user.
                directories += self.place.others(config)
            self._place_ties(directories)
            self.hold_ties(make=False)
        weakref.finalize(app, _release, self.ties).atexit = False
        super().__init__()

    def parts(self) -> Parts:
        self.here()
        parts = self._parts
        if parts is None or time.monotonic() >= self._look_at:
            return self._look()
        return parts

    def _look(self) -> Parts:
        """Make the parts at first use, and see once a second that they are right."""
        with self._making:
            app = self._found()
            if self._user != os.geteuid():
                # They were made before the process became another user's.
                self._parts, self._user = None, os.geteuid()
            if self._parts is None:
                self._parts = Parts(app, self._bridges, self.place)
                weakref.finalize(app, self._parts.close).atexit = False
                self._place_ties(self._parts.tied_to)
            elif self._parts.directory is not None:
                claim(self._parts.directory)
            self.hold_ties(make=True)
            self._look_at = time.monotonic() + 1
            return self._parts

    def apart(self) -> str:
        """Why no stream receives what this process publishes: those of another user have
        another run directory. Empty if that is not so."""
        app = self._found()
        config = Config.read(app.config)
        if choose(app, config)[0] != "sqlite:" or any(
            s.is_open() for s in files_of(app, config)
        ):
            return ""
        if self.place.directory(config).exists():
            # In /tmp, every user could make one.
            instance, found = Path(self.place.instance), self.place.others(config)
            if not any(has_hub(path) for path in found if path.parent == instance):
                return ""
        return " ".join(self.place.apart(config))

    def _found(self) -> Flask:
        app = self._app()
        if app is None:
            raise RuntimeError("The app of this Push is gone.")
        return app

    def bridge(self, bridge: Bridge) -> None:
        if self._parts is not None:
            raise RuntimeError(
                "The hub may be running already, and knows its bridges. Call"
                " 'push.bridge' where the app is made."
            )
        if bridge not in self._bridges:
            self._bridges.append(bridge)

    def hold_ties(self, make: bool) -> None:
        for tie in self.ties:
            tie.hold(make)

    def abandon(self) -> None:
        """The parts begin again by themselves."""
        # In the parent, a thread may have held it that is not here.
        self._making = threading.RLock()
        self._look_at = 0.0
        self.hold_ties(make=False)

    def _place_ties(self, directories: cabc.Collection[Path]) -> None:
        numbers = range(self._hubs)
        wanted = [HubFiles.of(path, number) for path in directories for number in numbers]
        before = {tie.files: tie for tie in self.ties}
        self.ties[:] = [before.pop(f) if f in before else Tie(f) for f in wanted]
        _release(before.values())


class Parts:
    """Chosen at first use: an app that is being tested touches nothing outside.

    :raises RuntimeError: If the run directory is not to be had.
    """

    def __init__(self, app: Flask, bridges: list[Bridge], place: Place) -> None:
        self.config = config = Config.read(app.config)
        self.testing = app.testing
        self.quiet = QuietLogger()
        url, kind = choose(app, config)
        directory = None
        if url == "sqlite:" or kind == "process" or config.accel or config.return_ticket:
            directory = claim(place.directory(config))
            if url == "sqlite:":
                place.introduce(config)
        self.directory = directory
        #: The directories whose hubs go on for as long as this process is there.
        self.tied_to = [directory] if directory is not None and kind == "process" else []
        self.broker = open_broker(
            url, directory, config.given_retention, config.publish_timeout
        )
        self.bridges = bridges if isinstance(self.broker, Bridging) else []
        if bridges and not self.bridges and not (app.testing and not config.broker_url):
            raise RuntimeError(
                f"{hide_password(url)!r} has no bridges: {bridges[0].source!r} is of a"
                " Redis that is no Cluster. Set PUSH_BROKER_URL to that Redis, or don't"
                " call 'push.bridge'."
            )
        self.publisher = Publisher(
            self.broker, max_event_bytes=config.max_event_bytes, dumps=_dumps(app)
        )
        # A thread of one process of several isn't there for all who come back.
        wanted = config.return_ticket and kind != "thread"
        keys = _keys(app, self.broker.url) if wanted else []
        self.returns = ReturnTickets(keys) if keys else None
        self.ticket_cookie = _ticket_cookie(app)
        self.hub = self._choose_hub(kind, directory, keys)
        most = 1000 if app.testing else config.relay_max
        self.relays = Relays(most, config.relay_lifetime)

    def _choose_hub(self, kind: str, directory: Path | None, keys: list[bytes]) -> Door:
        config, broker = self.config, self.broker
        accel = None
        if directory is not None and (config.accel or keys):
            accel = directory / "accel.sock"

        def thread() -> ThreadDoor:
            return ThreadDoor(lambda: broker, config.options, accel, self.bridges)

        if kind == "thread":
            return thread()
        hello = {
            "url": broker.url,
            "retention": astuple(config.given_retention),
            "timeout": config.publish_timeout,
            "options": asdict(config.options),
            "linger": config.hub_linger,
            "accel": None if accel is None else str(accel),
            "bridges": bridges_to_json(self.bridges),
            "return_keys": [key.hex() for key in keys],
        }
        if kind != "process":
            return ProcessDoor(HubFiles(Path(kind)), hello, starts=False)
        assert directory is not None
        first = ProcessDoor(HubFiles.of(directory), hello, instead=thread)
        if config.hub_processes == 1:
            return first
        hello = {**hello, "accel": None}
        all_files = files_in(directory, config)[1:]
        return SharedDoors([first, *(ProcessDoor(files, hello) for files in all_files)])

    def close(self) -> None:
        self.hub.stop()
        self.broker.close()

    def later(self, stream: Stream) -> list[bytes]:
        """A stream that only says to come back. Any status but 200 would be final."""
        return [stream.first_bytes(self.config.options.jittered_retry())]


def _release(ties: cabc.Iterable[Tie]) -> None:
    for tie in ties:
        tie.release()


def _keys(app: Flask, store: str) -> list[bytes]:
    """What return tickets are signed with, which is good for nothing else."""
    secrets = [app.secret_key, *(app.config.get("SECRET_KEY_FALLBACKS") or [])]
    if not app.secret_key:
        raise RuntimeError(
            "PUSH_RETURN_TICKET needs a SECRET_KEY, to sign tickets with. Set it to a long"
            " random text, the same in every process."
        )
    given = [key.encode() if isinstance(key, str) else key for key in secrets if key]
    return [derive_key(key, app.name, store) for key in given]


def _ticket_cookie(app: Flask) -> dict[str, t.Any]:
    """How the cookie of return tickets is protected: at least as that of the session is."""
    session = app.session_interface
    found: dict[str, t.Any] = {
        "secure": session.get_cookie_secure(app),
        "httponly": True,
        "samesite": session.get_cookie_samesite(app) or "Lax",
    }
    # Flask has it since 3.1.
    partitioned = getattr(session, "get_cookie_partitioned", None)
    if partitioned is not None and partitioned(app):
        found["partitioned"] = True
    return found


def choose(app: Flask, config: Config) -> tuple[str, str]:
    """The store's URL, and what the hub is: a process, a thread, or a path."""
    url = config.broker_url or ("memory:" if app.testing else "sqlite:")
    if url == "memory:":
        # What is in this process's memory, another one can't tell of.
        return url, "thread"
    # A frozen app has no interpreter that a process of its own could be run by.
    alone = app.testing or getattr(sys, "frozen", False)
    return url, config.hub or ("thread" if alone else "process")


def files_of(app: Flask, config: Config) -> list[HubFiles]:
    """Where the app's hubs are to be found; nowhere, if they are threads. Makes nothing."""
    _, kind = choose(app, config)
    if kind == "process":
        return files_in(Place.of(app).directory(config), config)
    return [] if kind == "thread" else [HubFiles(Path(kind))]


def files_in(directory: Path, config: Config) -> list[HubFiles]:
    """The files of all hubs of a run directory."""
    return [HubFiles.of(directory, number) for number in range(config.hub_processes)]


def _dumps(app: Flask) -> t.Callable[[t.Any], str]:
    reference = weakref.ref(app)

    def dumps(data: t.Any) -> str:
        app = reference()
        return json.dumps(data) if app is None else app.json.dumps(data)

    return dumps


def make_bridge(source: str, channel: str, type: str) -> Bridge:
    """
    :raises ValueError: If nothing can be brought from there to there.
    """
    kind, _, name = source.partition(":") if isinstance(source, str) else ("", "", "")
    if kind != "redis" or not name:
        raise ValueError(
            "A bridge is from what others publish in the Redis of PUSH_BROKER_URL, such as"
            f" 'redis:chat', and not from {source!r}."
        )
    escape(channel)
    wire.check_type(type)
    return Bridge(source, channel, type)
