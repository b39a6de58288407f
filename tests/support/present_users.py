"""Users with several tabs, which show that they are present, and what such tabs know.

A tab connects again as a browser does: after the ``retry`` that it was sent, with its last
id and the word of its last ``push:whole``.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import random
import re
import selectors
import socket
import time
import typing as t
from collections import Counter
from urllib.parse import urlencode

from flask_push import Event
from flask_push import Position
from flask_push import sse
from support.presence_judge import Change
from support.presence_judge import Key
from support.presence_judge import Shown

#: The last bytes of a stream that a hub has ended.
_LAST_WORD = re.compile(rb"\nretry: (\d+)\n+\Z")
#: Before a browser has got a ``retry``.
_RETRY_SECONDS = 1.0


class Members:
    """Who is present, as a page knows it from all of its connections."""

    def __init__(self) -> None:
        #: By channel, the info of each user.
        self.users: dict[str, dict[str, t.Any]] = {}
        self.counts: dict[str, int] = {}
        #: The word with which the page says that it still has them.
        self.holds = ""
        self.whole = False
        self.changes: list[Change] = []
        self.wrong: list[str] = []
        self.figures: Counter[str] = Counter()
        self._live = False
        # While all are sent again, those that were sent already.
        self._new: dict[str, dict[str, t.Any]] | None = None
        self._newest: dict[tuple[str, str, str], int] = {}

    def begin(self) -> None:
        """Expect another connection."""
        self._live, self._new = False, None

    def has(self, key: Key) -> bool:
        channel, user = key
        return user in self.users.get(channel, ())

    def take(self, event: Event) -> None:
        self.figures[event.type] += 1
        data = json.loads(event.data) if event.type.startswith("push:") else {}
        if event.type == "push:items":
            self._live = self.whole = False
            self.holds = ""
            self._new = {name: {} for name in data.get("watch", ())}
        elif event.type == "push:whole":
            self._end_of_all(data)
        elif event.type == "push:count":
            self.counts[data["channel"]] = data["count"]
        elif event.type == "push:joined":
            self._join(event, data["channel"], data["user"], data["info"])
        elif event.type == "push:left":
            self._leave(event, data["channel"], data["user"])

    def _end_of_all(self, data: dict[str, t.Any]) -> None:
        self._live = self.whole = True
        self.holds = data["holds"]
        if self._new is not None:
            for name, new in self._new.items():
                old = self.users.get(name, {})
                self._note(name, *((user, False) for user in old if user not in new))
                self._note(name, *((user, True) for user in new if user not in old))
            self.users, self._new = self._new, None

    def _join(self, event: Event, channel: str, user: str, info: t.Any) -> None:
        self._look_at_number(event, channel, user)
        if self._new is not None:
            self._new[channel][user] = info
            return
        there = self.users[channel]
        if user not in there:
            self._note(channel, (user, True))
        elif self._live and there[user] == info:
            self.wrong.append(f"{user} has joined {channel} already: {event}")
        there[user] = info

    def _leave(self, event: Event, channel: str, user: str) -> None:
        self._look_at_number(event, channel, user)
        there = self.users[channel] if self._new is None else self._new[channel]
        was_there = there.pop(user, None) is not None
        if self._new is None and was_there:
            self._note(channel, (user, False))
        elif self._live:
            self.wrong.append(f"{user} has left {channel} already: {event}")

    def _note(self, channel: str, *users: tuple[str, bool]) -> None:
        now = time.monotonic()
        self.changes += [Change(now, channel, user, joined) for user, joined in users]

    def _look_at_number(self, event: Event, channel: str, user: str) -> None:
        """Law 32: no member becomes older. One that is sent with all has another number."""
        if event.id.count(".") == 2:
            position = Position.parse(event.id)
            key = position.epoch, channel, user
            if position.number < self._newest.get(key, 0):
                self.wrong.append(f"{user} of {channel} became older with {event}")
            self._newest[key] = position.number


class Surroundings(t.Protocol):
    """What a tab needs of the run that it is part of."""

    selector: selectors.BaseSelector
    ports: cabc.Sequence[int]
    rng: random.Random
    shown: list[Shown]
    #: When it last looked at all connections.
    looked: float

    def later(self, seconds: float, call: cabc.Callable[[], object]) -> None: ...


class Tab:
    """One page, which reconnects until it is closed.

    :param members: What it knows of the channels that it watches. None if it watches none.
    """

    def __init__(
        self,
        run: Surroundings,
        server: int,
        query: cabc.Mapping[str, t.Any],
        members: Members | None = None,
    ) -> None:
        self.run = run
        self.server = server
        self.query = query
        self.members = members
        self.closed = False
        self.shown: Shown | None = None
        self.sock: socket.socket | None = None
        self._parser = sse.Parser()
        self.connect()

    @property
    def open(self) -> bool:
        return self.shown is not None and self.shown.opened < self.shown.closed

    def connect(self) -> None:
        if self.closed:
            return
        self._parser.reset()
        self._head = self._tail = b""
        channels = tuple(self.query.get("present", ()))
        user = self.query.get("user", "")
        self.shown = Shown(user, channels, self.server, time.monotonic())
        self.run.shown.append(self.shown)
        self.sock = socket.socket()
        self.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self.sock.connect(("127.0.0.1", self.run.ports[self.server]))
        self.run.selector.register(self.sock, selectors.EVENT_WRITE, self)

    def ready(self, mask: int) -> None:
        """Called when the socket is readable, or writable at first."""
        assert self.sock is not None
        try:
            if mask & selectors.EVENT_WRITE:
                self.sock.send(self._request())
                self.run.selector.modify(self.sock, selectors.EVENT_READ, self)
            else:
                self._read(self.sock.recv(2**18))
        except BlockingIOError:
            pass
        except OSError:
            self._ended()

    def _request(self) -> bytes:
        query: dict[str, t.Any] = dict(self.query)
        if self.members is not None:
            self.members.begin()
            query |= {"items": "1", "holds": self.members.holds}
        if self._parser.last_event_id:
            query["last_event_id"] = self._parser.last_event_id
        # So there are no chunks, and a connection ends with its stream.
        line = f"GET /stream?{urlencode(query, doseq=True)} HTTP/1.0"
        return f"{line}\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode()

    def _read(self, data: bytes) -> None:
        if not data:
            self._ended()
            return
        self._tail = (self._tail + data)[-100:]
        if not self._head.endswith(b"\r\n\r\n"):
            head, end, data = (self._head + data).partition(b"\r\n\r\n")
            self._head = head + end
        for event in self._parser.feed(data):
            if event.type == "push:open" and self.shown is not None:
                self.shown.opened = min(self.shown.opened, time.monotonic())
            if self.members is not None:
                self.members.take(event)

    def _ended(self) -> None:
        """Reconnect later, as a browser does."""
        word = _LAST_WORD.search(self._tail)
        wait = _RETRY_SECONDS if self._parser.retry is None else self._parser.retry / 1000
        if self.shown is not None:
            # It ended after it was seen the last time, and the hub counts from there.
            self._disconnect(self.run.looked, wait if word else 0.0)
        self.run.later(wait, self.connect)

    def close(self) -> None:
        self.closed = True
        if self.shown is not None:
            self._disconnect(time.monotonic(), 0.0)

    def _disconnect(self, now: float, retry: float) -> None:
        assert self.sock is not None and self.shown is not None
        self.shown.closed, self.shown.retry = max(now, self.shown.requested), retry
        self.shown = None
        self.run.selector.unregister(self.sock)
        self.sock.close()
        self.sock = None


class User:
    """Opens, reloads and closes tabs, and is away for a moment or for long.

    :param most: How many tabs it has at most.
    :param careful: Whether it joins and leaves for long only when each watcher knows what
        it did before. Then each of its stays has to be shown, and not only those that last.
    """

    def __init__(self, run: Crowd, name: str, careful: bool, most: int) -> None:
        self.run = run
        self.rng = random.Random(run.rng.random())
        self.name = name
        self.careful, self.most = careful, most
        self.channels = sorted(self.rng.sample(run.channels, self.rng.choice([1, 1, 2])))
        self.tabs: list[Tab] = []
        #: Whether it is there, perhaps without a tab for a moment.
        self.there = False
        #: Whether each watcher knows that, and whether each has known it there since it
        #: was shown as left.
        self.known, self.shown = True, False

    @property
    def keys(self) -> list[Key]:
        return [(channel, self.name) for channel in self.channels]

    def look(self) -> bool:
        """Whether each watcher knows by now what it did last."""
        if not self.known and self.run.is_shown(self.keys, self.there):
            self.known = True
            if self.shown and not self.there:
                self.run.confirmed.update(self.keys)
            self.shown = self.there
        return self.known

    def act(self) -> None:
        known = self.look()
        if known or not self.careful:
            if not self.there:
                self.come()
            elif self.rng.random() < 0.25:
                self.leave()
            else:
                self.change()
        elif self.there:
            self.change()
        self.run.later(self.rng.uniform(0, 2) * self.run.pause, self.act)

    def come(self) -> None:
        self.there, self.known = True, False
        self.open(self.rng.randint(1, self.most))

    def leave(self) -> None:
        self.there, self.known = False, False
        self.close(len(self.tabs))

    def change(self) -> None:
        """Do something that no watcher may notice."""
        count = len(self.tabs)
        action = self.rng.choice(["more", "fewer", "reload", "reload", "away"])
        if action == "more" and count < self.most:
            self.open(1)
        elif action == "fewer" and count > 1:
            self.close(1)
        elif action == "reload" and count:
            self.close(1)
            self.open(1)
        elif action == "away":
            self.close(count)
            seconds = self.rng.uniform(0, self.run.longest_absence)
            self.run.later(seconds, lambda: self.return_(count))

    def return_(self, count: int) -> None:
        if self.there and not self.tabs:
            self.open(count or 1)

    def open(self, count: int) -> None:
        for _ in range(count):
            few = self.careful or self.rng.random() < 0.5
            shown = self.channels if few else self.rng.sample(self.channels, 1)
            query: dict[str, t.Any] = {"user": self.name, "info": f"I am {self.name}"}
            query |= {"present": shown, "counted": [self.run.counted]}
            members = None
            if self.rng.random() < self.run.watching:
                query["watch"], members = shown, Members()
            server = self.rng.randrange(len(self.run.ports))
            self.tabs.append(Tab(self.run, server, query, members))

    def close(self, count: int) -> None:
        self.rng.shuffle(self.tabs)
        for _ in range(count):
            self.tabs.pop().close()


class Crowd(Surroundings, t.Protocol):
    """What a user needs of the run."""

    channels: cabc.Sequence[str]
    #: A channel whose users are counted.
    counted: str
    #: Seconds between two acts of a user, on average.
    pause: float
    #: The longest absence that no watcher may notice, in seconds.
    longest_absence: float
    #: Which part of the tabs watch their channels.
    watching: float
    #: How often each user left until all watchers had shown it.
    confirmed: Counter[Key]

    def is_shown(self, keys: cabc.Iterable[Key], there: bool) -> bool: ...
