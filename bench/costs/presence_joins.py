"""How soon all watchers of a channel agree who is there, when many users join at once; and
how soon a newcomer knows all who are there.

Each user has one stream, which shows the user and watches the channel. This process reads
all streams. The reference of joining has as many streams, each of which receives as many
events. They show no users, and the events are published in batches, as a hub stores them.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import itertools
import selectors
import socket
import time
from functools import partial

import servers
from compare import by_figure
from compare import Result
from compare import Row
from compare import Scale
from compare import take_turns
from start.server import HOST
from start.server import Running
from start.server import start

from costs.item_newcomers import publisher_of
from costs.item_newcomers import start_hub
from flask_push import Event
from flask_push import Publisher

#: How many members of a channel are listed. Of more, only the number is known.
LISTED, AT_ONCE = 1000, 50
_BATCH = 499
_SECONDS = 120
_OPEN, _JOINED = b"event: push:open\n", b"event: push:joined\n"
_WHOLE = b"event: push:whole\n"


class _Stream:
    """Counts a text in what is received, and keeps nothing of it."""

    def __init__(self, text: bytes, expected: int, size: int = 0) -> None:
        self._text, self._expected = text, expected
        self._rest = b""
        #: How many bytes were received.
        self.size = size

    def feed(self, data: bytes) -> bool:
        """Whether it has the text as often as expected."""
        self.size += len(data)
        data = self._rest + data
        self._expected -= data.count(self._text)
        self._rest = data[1 - len(self._text) :]
        return self._expected <= 0


class Crowd:
    """Streams of one server."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._selector = selectors.DefaultSelector()
        self._socks: list[socket.socket] = []
        self._late = 0

    def connect(self, query: str, text: bytes = _OPEN, expected: int = 1) -> None:
        """Open a stream that has to receive a text so often."""
        sock = socket.create_connection(("127.0.0.1", self._running.port), _SECONDS)
        self._socks.append(sock)
        sock.sendall(f"GET /stream?channel=c0000&{query} {HOST}\r\n".encode())
        sock.setblocking(False)
        stream = _Stream(text, expected)
        self._selector.register(sock, selectors.EVENT_READ, stream)
        self._late += 1

    def expect(self, text: bytes, expected: int) -> None:
        """From now on, each has to receive this text so often."""
        for key in list(self._selector.get_map().values()):
            stream = _Stream(text, expected, key.data.size)
            self._selector.modify(key.fileobj, selectors.EVENT_READ, stream)
            self._late += 1

    def read(self) -> str:
        """Read until each stream has received that. The error, if one does not."""
        done: set[int] = set()
        while self._late:
            ready = self._selector.select(_SECONDS)
            if not ready:
                return f"{self._late} streams have not received all."
            for key, _ in ready:
                data = key.fileobj.recv(2**18)  # type: ignore[union-attr]
                if not data:
                    return "A stream ended."
                if key.data.feed(data) and key.fd not in done:
                    done.add(key.fd)
                    self._late -= 1
        return ""

    def size(self) -> int:
        """How many bytes were received."""
        return sum(key.data.size for key in self._selector.get_map().values())

    def close(self) -> None:
        self._selector.close()
        for sock in self._socks:
            sock.close()


#: Lets so many streams join a channel, until all have received everything.
_Way = cabc.Callable[[Crowd, Publisher, str, int], str]


def _opened(crowd: Crowd, _: Publisher, channel: str, count: int) -> str:
    for n in range(count):
        crowd.connect(f"user=u{n}")
    return crowd.read()


def _published(crowd: Crowd, publisher: Publisher, channel: str, count: int) -> str:
    for n in range(count):
        crowd.connect(f"channel={channel}&user=u{n}")
    # What is published before a stream is open is not for it.
    if error := crowd.read():
        return error
    crowd.expect(b"event: joined\n", count)
    for n in range(0, count, _BATCH):
        data = ({"user": f"u{m}"} for m in range(n, min(n + _BATCH, count)))
        publisher.publish_many(Event(channel, each, "joined") for each in data)
    return crowd.read()


def _listed(crowd: Crowd, _: Publisher, channel: str, count: int) -> str:
    for n in range(count):
        query = f"user=u{n}&present={channel}&watch={channel}"
        crowd.connect(query, _JOINED, count)
    return crowd.read()


def _counted(crowd: Crowd, _: Publisher, channel: str, count: int) -> str:
    for n in range(count):
        query = f"user=u{n}&counted={channel}&watch={channel}"
        crowd.connect(query, b'"count":%d}' % count)
    return crowd.read()


def _started(stack: contextlib.ExitStack) -> tuple[Running, Publisher]:
    """Without a grace, so that the users of a turn have left before the next one."""
    running = start(servers.FLASK_PUSH, 0, config={"PUSH_PRESENCE_GRACE": 0})
    stack.callback(running.end)
    start_hub(running)
    return running, stack.enter_context(contextlib.closing(publisher_of(running)))


def _wait_until_all_have_left(publisher: Publisher, channel: str) -> None:
    while publisher.presence(channel).count:
        time.sleep(0.05)


def _measure(
    running: Running,
    publisher: Publisher,
    names: cabc.Iterator[int],
    way: _Way,
    count: int,
) -> Result:
    channel, processes = f"joined{next(names)}", running.processes
    hub, pids = processes.hub(), processes.pids()
    of_hub, of_all = processes.cpu(hub), processes.cpu(pids)
    begun = time.perf_counter()
    with contextlib.closing(Crowd(running)) as crowd:
        faults = way(crowd, publisher, channel, count)
        taken = time.perf_counter() - begun
        of_hub, of_all = processes.cpu(hub) - of_hub, processes.cpu(pids) - of_all
        more = {"hub": of_hub, "workers": of_all - of_hub, "bytes": crowd.size()}
    _wait_until_all_have_left(publisher, channel)
    return Result(taken, more, faults)


def presence_joins(scale: Scale) -> list[Row]:
    """As many users as are listed; and more of them, who are only counted."""
    rows = []
    listed = min(scale.small, LISTED)
    ways: list[tuple[int, dict[str, _Way]]] = [
        (listed, {"as many events": _published, "joined": _listed}),
        (scale.large, {"only streams": _opened, "counted": _counted}),
    ]
    with contextlib.ExitStack() as stack:
        running, publisher = _started(stack)
        names = itertools.count()
        for count, by_label in ways:
            name = f"{count:,} users join a channel at once"
            pairs = [
                (
                    Row(name, label, "s until all know it"),
                    partial(_measure, running, publisher, names, way, count),
                )
                for label, way in by_label.items()
            ]
            take_turns(pairs, scale.rounds)
            found = [row for row, _ in pairs]
            rows += [*found, *by_figure(found, "the hub's time", "s of CPU", "hub")]
            rows += by_figure(found, "the workers' time", "s of CPU", "workers")
    return rows


def presence_newcomers(scale: Scale) -> list[Row]:
    """The first newcomer makes the hub read the store. The others find all in it."""
    count = min(scale.small, LISTED)
    with contextlib.ExitStack() as stack:
        running, publisher = _started(stack)
        names = itertools.count()
        channel = ""
        members = stack.enter_context(contextlib.closing(Crowd(running)))

        def newcomers(at_once: int) -> Result:
            hub = running.processes.hub()
            spent, begun = running.processes.cpu(hub), time.perf_counter()
            with contextlib.closing(Crowd(running)) as crowd:
                for _ in range(at_once):
                    crowd.connect(f"watch={channel}&items=1", _WHOLE)
                faults = crowd.read()
                taken = time.perf_counter() - begun
                spent = running.processes.cpu(hub) - spent
                more = {"bytes": crowd.size() / at_once, "hub": 1e3 * spent}
            return Result(1e3 * taken, more, faults)

        def first() -> Result:
            nonlocal channel, members
            members.close()
            channel = f"watched{next(names)}"
            members = stack.enter_context(contextlib.closing(Crowd(running)))
            for n in range(count):
                members.connect(f"user=u{n}&present={channel}")
            members.read()
            while publisher.presence(channel).count < count:
                time.sleep(0.05)
            return newcomers(1)

        name = f"a newcomer to a channel with {count:,} members"
        unit = "ms until it knows all"
        pairs = [
            (Row(name, "the first", unit), first),
            (Row(name, "another", unit), lambda: newcomers(1)),
            (Row(name, f"{AT_ONCE} at once", unit), lambda: newcomers(AT_ONCE)),
        ]
        # In this order, because the first one fills the channel.
        for _ in range(scale.rounds):
            take_turns(pairs, 1)
    found = [row for row, _ in pairs]
    return [*found, *by_figure(found, "the hub's time", "ms of CPU", "hub")]
