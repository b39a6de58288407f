"""As ``fault_runs.py``, with users who are disconnected all the time: gunicorn behind
nginx with return tickets, and an ASGI server with two hubs, on one store."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import os
import random
import signal
import time
import typing as t
from collections import Counter
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from flask_push import Event
from flask_push import NotPublished
from flask_push import Position
from flask_push import PublishUncertain
from flask_push._delivery.disconnect import Disconnect
from flask_push._delivery.stream import Stream
from flask_push.brokers import DISCONNECT_LOG
from flask_push.brokers import KeepsOwnLogs
from flask_push.brokers import open_broker
from support.asgi_servers import SERVERS
from support.disconnects import Connection
from support.disconnects import figures
from support.disconnects import matches
from support.disconnects import written
from support.fault_runs import CHANNELS
from support.fault_runs import Client
from support.fault_runs import Run
from support.nginx import nginx
from support.reader import HttpReader
from support.redises import Redis
from support.return_tickets import CONFIG
from support.servers import gunicorn
from support.servers import hubs
from support.servers import serve
from support.servers import Server


@dataclass
class Seen(Connection):
    #: The number of disconnects that had been called when its request was seen in the app;
    #: 0 if it was not seen yet.
    seen: int = 0


class User(Client):
    """A client that belongs to a user and a login. Some of its requests are slow."""

    def __init__(self, run: DisconnectRun, number: int) -> None:
        super().__init__(run.server, random.Random(run.rng.random()))
        self.run = run
        self.number = number
        self.user = self.rng.choice(["ann", "bob", None])
        self.logins = 0
        self.cookies: dict[str, str] = {}
        self.connections: list[Seen] = []
        self.held: Path | None = None

    @property
    def session(self) -> str:
        return f"{self.number}.{self.logins}"

    def connect(self) -> HttpReader | None:
        if self.reader is None and time.monotonic() >= self.away_until:
            query: dict[str, t.Any] = {"session": self.session}
            if self.user is not None:
                query["user"] = self.user
            if self.rng.random() < 0.1:
                query["poll"] = "1"
            if self.rng.random() < 0.2 and not self.patient:
                self.held = self.run.directory / f"held {self.number}"
                query["held"] = str(self.held)
            self.server = self.rng.choice(self.run.fronts)
            with contextlib.suppress(OSError):
                # So there are no chunks, and a connection ends with its stream.
                self.reader = HttpReader(
                    self.server.port,
                    *self.channels,
                    version="1.0",
                    headers=self.headers(),
                    last_id=self.last_id,
                    **query,
                )
                self.left = self.rng.choice([50, 500, self.impatience, self.impatience])
                names = tuple(self.channels)
                stream = Stream(names, "c", user=self.user, session=self.session)
                self.connections.append(Seen(stream, len(self.events)))
        return self.reader

    def headers(self) -> dict[str, str]:
        if self.server is not self.run.nginx or not self.cookies:
            return {}
        return {"Cookie": "; ".join(f"{k}={value}" for k, value in self.cookies.items())}

    def read(self) -> None:
        reader = self.reader
        super().read()
        if reader is not None and reader.head.endswith(b"\r\n\r\n"):
            self.note_entry()
            if cookie := reader.headers.get("set-cookie"):
                name, _, value = cookie.partition(";")[0].partition("=")
                self.cookies[name] = value

    def note_entry(self) -> None:
        """Note that the request has entered the app."""
        connection = self.connections[-1]
        connection.seen = connection.seen or self.run.called

    def release(self) -> None:
        """Let the view return its stream, if it is held."""
        if self.held is not None and self.held.exists():
            self.note_entry()
            if self.patient or self.rng.random() < 0.1:
                self.held.unlink()
                self.held = None

    def cut(self) -> None:
        super().cut()
        if self.held is not None:
            self.held.unlink(missing_ok=True)
            self.held = None


class Ended(t.NamedTuple):
    """A disconnect that has returned."""

    #: Its place among all disconnects in the order of their calls, from 1.
    call: int
    number: int
    said: Disconnect


class DisconnectRun(Run):
    """
    :param fronts: The servers that browsers connect to. The last one is nginx.
    """

    def __init__(self, directory: Path, fronts: list[Server], url: str) -> None:
        super().__init__(fronts[0], directory, "", url)
        self.fronts = fronts
        self.nginx = fronts[-1]
        self.broker = open_broker(url, timeout=0.5)
        self.called = 1
        self.said = 0
        self.ended: list[Ended] = []
        self.clients = [User(self, number) for number in range(16)]
        #: Whether users are disconnected.
        self.disconnecting = True

    @property
    def users(self) -> list[User]:
        return t.cast("list[User]", self.clients)

    def close(self) -> None:
        super().close()
        self.broker.close()

    def serve_clients(self, seconds: float) -> None:
        super().serve_clients(seconds)
        for user in self.users:
            user.release()
        if self.disconnecting and self.rng.random() < 0.2:
            self.disconnect()

    def disconnect(self) -> None:
        """Disconnect some, by the app or beside it, and publish to them at once."""
        user = self.rng.choice(self.users)
        channel = self.rng.choice(user.channels)
        said = self.rng.choice(
            [
                *(Disconnect(None, user.session), Disconnect(None, user.session, channel)),
                *(
                    Disconnect(user.user or "ann"),
                    Disconnect(user.user or "bob", None, channel),
                ),
            ]
        )
        if self.rng.random() < 0.1:
            said = Disconnect(None, None, channel)
        said = said._replace(reason="why")
        self.called += 1
        call = self.called
        disconnect = self.rng.choice([self.by_app, self.by_broker])
        if (id := disconnect(said)) is not None:
            self.ended.append(Ended(call, Position.parse(id).number, said))
            self.say()
        if said.session and not said.channel:
            # Its next request comes after another login.
            user.logins += 1

    def by_app(self, said: Disconnect) -> str | None:
        server = self.rng.choice(self.fronts)
        # ``push.disconnect`` raises if a selector is ``None``.
        given = {name: text for name, text in said._asdict().items() if text}
        with contextlib.suppress(OSError, HTTPException):
            words = json.dumps(given).encode()
            status, _, body = server.request("POST", "/disconnect", words)
            return body.decode() if status == 200 else None
        return None

    def by_broker(self, said: Disconnect) -> str | None:
        store = t.cast(KeepsOwnLogs, self.broker)
        with contextlib.suppress(NotPublished, PublishUncertain):
            return str(store.append(DISCONNECT_LOG, said.to_bytes(), 3600))
        return None

    def say(self) -> None:
        """Publish on all channels, in the name of another process."""
        self.said += 1
        events = [Event(name, f"said {self.said} {name}") for name in CHANNELS]
        with contextlib.suppress(NotPublished, PublishUncertain):
            positions = self.broker.publish(events)
            with (self.directory / "notes of the run").open("a") as notes:
                for event, position in zip(events, positions, strict=True):
                    id = f"{position}.{event.channel}"
                    note = {"channel": event.channel, "data": event.data, "id": id}
                    notes.write(json.dumps(note) + "\n")

    def disconnect_until_one_reads_why(self) -> None:
        deadline = time.monotonic() + 30
        while not self.figures()["reasons read"]:
            assert time.monotonic() < deadline, self.server.log[-3000:]
            self.serve_clients(0.02)

    def come_to_the_end(self, patience: float = 30) -> list[str]:
        self.disconnecting = False
        return super().come_to_the_end(patience)

    def judge(self) -> list[str]:
        return super().judge() + [
            f"{user.number}: {position} was written after {ended}"
            for user in self.users
            for connection, position in written(user)
            for ended in self.ended
            if 0 < connection.seen < ended.call
            and position.number > ended.number
            and matches(ended.said, connection.stream)
        ]

    # The faults.

    def stop_hub(self) -> None:
        """Stop a hub as SIGSTOP does, and disconnect and publish meanwhile."""
        pids = hubs(self.directory)
        if pids:
            pid = self.rng.choice(pids)
            try:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
                self.disconnect()
                self.serve_clients(0.1)
                self.disconnect()
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def kill_one_hub(self) -> None:
        if pids := hubs(self.directory):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.rng.choice(pids), signal.SIGKILL)

    def all_faults(self) -> list[cabc.Callable[[], t.Any]]:
        return [
            *(self.stop_hub, self.kill_one_hub, self.kill_hub, self.replace_hub),
            *(self.kill_worker, self.restart_server, self.kill_publisher),
            *(self.stop_publisher, self.lose_all),
        ]

    def lose_all(self) -> None:
        """The store begins another epoch, and loses all disconnects."""
        self.move_store()

    def figures(self) -> Counter[str]:
        return figures(self.users, self.ended)


class RedisDisconnectRun(DisconnectRun):
    redis: Redis

    def lose_all(self) -> None:
        with self.noting("loss"):
            self.redis.do("FLUSHALL")


@contextlib.contextmanager
def running(directory: Path, store: str) -> cabc.Iterator[DisconnectRun]:
    config: dict[str, t.Any] = {"PUSH_KEEP": 1_000_000, "PUSH_RETRY": 0.5}
    tickets: dict[str, t.Any] = {"PUSH_RETURN_TICKET": 60, "SECRET_KEY": "tests"}
    with contextlib.ExitStack() as stack:
        redis = None
        url = f"sqlite://{directory}/push-basic/push.db"
        if store == "Redis":
            (directory / "redis").mkdir()
            redis = stack.enter_context(Redis.started(directory / "redis"))
            url = redis.url
        config["PUSH_BROKER_URL"] = url
        words = "-w", "2", "--threads", "8", "--timeout", "300"
        one = stack.enter_context(
            serve(gunicorn, directory, *words, app="apps.logins", **config, **tickets)
        )
        one.get("/position")
        (other := directory / "two").mkdir()
        config["PUSH_HUB_PROCESSES"] = 2
        two = stack.enter_context(
            serve(SERVERS["uvicorn"], other, app="apps.logins_asgi", **config)
        )
        front = nginx(directory, one, CONFIG)
        stack.callback(front.kill)
        kind = DisconnectRun if redis is None else RedisDisconnectRun
        run = kind(directory, [one, two, front], url)
        if isinstance(run, RedisDisconnectRun):
            assert redis is not None
            run.redis = redis
        yield stack.enter_context(contextlib.closing(run))
