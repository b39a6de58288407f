"""Two machines with a hub each, on one store: users connect, resume, are disconnected and
read, while hubs are stopped, restarted and replaced, in a random order.

Hubs, feeds, stores and sockets are real. Each hub has a thread of its own, so what happens
at the same time differs from run to run. What was written to each connection is judged
afterwards.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import random
import threading
import time
import typing as t
from collections import Counter
from dataclasses import dataclass

from flask_push import Event
from flask_push import Position
from flask_push._delivery.disconnect import Disconnect
from flask_push._delivery.options import Options
from flask_push._delivery.stream import Stream
from flask_push._hub.hub import Hub
from flask_push._ipc.client import Client
from flask_push._system.polling import new_loop
from flask_push.brokers import DISCONNECT_LOG
from flask_push.brokers import KeepsOwnLogs
from flask_push.brokers import open_broker
from support.checker import Cause
from support.checker import judge
from support.checker import Trace
from support.checker import Truth
from support.disconnects import Connection
from support.disconnects import figures
from support.disconnects import matches
from support.disconnects import written
from support.reader import SocketReader

_OPTIONS = Options(retry=0.5, heartbeat=1000)

PATIENCE = 30


class Machine:
    """A hub in a thread, and the app's process beside it."""

    def __init__(self, url: str) -> None:
        self.broker = open_broker(url)
        #: What the process knows of the store, from the hub and from its own calls.
        self.known = Position("", 0)
        self._going = threading.Event()
        self._going.set()
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.do(self._begin)

    def _begin(self, state: t.Any = None) -> None:
        self.hub = Hub(self.broker, _OPTIONS, self._loop, state, self._note)

    def _note(self, position: Position) -> None:
        self.knows(position)

    def knows(self, position: Position) -> None:
        """Remember the greatest position of an epoch, as a process of the app does."""
        if position.epoch != self.known.epoch or position > self.known:
            self.known = position

    def do(self, what: cabc.Callable[[], t.Any]) -> None:
        """Do it on the hub's loop, later if the hub is stopped."""
        self._loop.call_soon_threadsafe(what)

    def stop(self) -> None:
        """As SIGSTOP does, while all others go on."""
        self._going.clear()
        self.do(lambda: self._going.wait(20))

    def go_on(self) -> None:
        self._going.set()

    def restart(self) -> None:
        self.do(lambda: self.hub.stop())
        self.do(self._begin)

    def replace(self) -> None:
        """Another hub takes over."""
        self.do(lambda: self._begin(self.hub.freeze()))

    def adopt(self, stream: Stream, fd: int) -> None:
        self.do(lambda: self.hub.adopt(stream, Client(fd)))

    def redeem(self, stream: Stream, fd: int) -> None:
        """Adopt a stream that comes with a return ticket, or close it: its browser then
        asks the view."""

        def decide() -> None:
            if self.hub.disconnects.refuses(stream):
                Client(fd).close()
            else:
                self.hub.adopt(stream, Client(fd))

        self.do(decide)

    def close(self) -> None:
        self.go_on()
        self.do(lambda: self.hub.stop())
        self.do(self._loop.stop)
        self._thread.join(20)
        self._loop.close()
        self.broker.close()


@dataclass
class Request:
    """A request whose view has not returned its stream yet."""

    browser: Browser
    stream: Stream
    machine: Machine
    #: When it entered the app.
    step: int


@dataclass
class Entered(Connection):
    #: When its request entered the app.
    step: int


class Browser(SocketReader):
    """Reads one stream, over all of its connections."""

    def __init__(self, name: str, stream: Stream) -> None:
        super().__init__(gzip=stream.gzip)
        self.theirs.close()
        self.ended = True
        self.name = name
        self.stream = stream
        self.connections: list[Entered] = []
        self.times: list[int] = []
        self.waiting = False

    def begin_connection(self, request: Request) -> int:
        """The other end, for the hub."""
        self.sock.close()
        self.connect()
        self.begin()
        self.waiting = False
        self.connections.append(Entered(request.stream, len(self.events), request.step))
        return self.theirs.detach()

    def feed(self, data: bytes) -> list[Event]:
        events = super().feed(data)
        self.times += [time.time_ns() // 1000] * len(events)
        return events


class Ended(t.NamedTuple):
    """A disconnect that has returned, and when it was called."""

    position: Position
    said: Disconnect
    step: int


class Stories:
    """Plays stories, one after the other, on one store."""

    def __init__(self, url: str, rng: random.Random) -> None:
        self.rng = rng
        self.machines = [Machine(url), Machine(url)]
        self.figures: Counter[str] = Counter()

    def close(self) -> None:
        for machine in self.machines:
            machine.close()

    def play(self, number: int, length: int) -> list[str]:
        """Play one story, and return what is wrong."""
        with contextlib.closing(Story(self, number)) as story:
            for _ in range(length):
                story.act()
            wrong = story.finish()
            self.figures += story.figures()
            return wrong


class Story:
    def __init__(self, stories: Stories, number: int) -> None:
        self.rng = stories.rng
        self.machines = stories.machines
        self.channels = [f"{name}{number}" for name in "ab"]
        self.step = 0
        self.requests: list[Request] = []
        #: Requests whose streams came with a return ticket.
        self.tickets: list[Request] = []
        self.published: list[Event] = []
        self.ended: list[Ended] = []
        self.acts: Counter[str] = Counter()
        self.browsers = [self._browser(number, n) for n in range(4)]
        self._acts: list[tuple[int, cabc.Callable[[], t.Any]]] = [
            *((6, self.request), (8, self.hand_over), (3, self.redeem), (8, self.publish)),
            *((3, self.disconnect), (1, self.disconnect_beside), (4, self.read)),
            *((2, self.cut), (1, self.stop), (2, self.go_on), (1, self.restart)),
            *((1, self.replace), (3, self.wait)),
        ]

    def _browser(self, number: int, n: int) -> Browser:
        names = self.rng.choice([self.channels, self.channels[:1], self.channels[1:]])
        user = self.rng.choice([f"u{number}", f"v{number}", None])
        session = self.rng.choice(["", f"s{number}", f"t{number}"])
        stream = Stream(tuple(names), f"c{n}", user=user, session=session)
        poll, gzip = self.rng.random() < 0.2, self.rng.random() < 0.3
        stream = stream._replace(poll=poll, gzip=gzip)
        return Browser(f"{number}.{n}", stream)

    def close(self) -> None:
        for machine in self.machines:
            machine.go_on()
        for browser in self.browsers:
            browser.close()

    def act(self) -> None:
        self.step += 1
        weights, acts = zip(*self._acts, strict=True)
        (act,) = self.rng.choices(acts, weights)
        self.acts[act.__name__] += 1
        act()

    # What browsers do.

    def request(self) -> None:
        """A request enters the app. Its view decides later."""
        if idle := [b for b in self.browsers if b.ended and not b.waiting]:
            self.enter(self.rng.choice(idle))

    def enter(self, browser: Browser) -> None:
        machine = self.rng.choice(self.machines)
        if not machine.known.epoch:
            page = machine.broker.read([], after=0)
            machine.knows(Position(page.epoch, page.end))
        stream = browser.stream._replace(position=browser.last_id, seen=str(machine.known))
        browser.waiting = True
        self.requests.append(Request(browser, stream, machine, self.step))

    def hand_over(self) -> None:
        """A view returns a stream, which reaches the hub; and a return ticket is made."""
        if self.requests:
            request = self.requests.pop(self.rng.randrange(len(self.requests)))
            fd = request.browser.begin_connection(request)
            request.machine.adopt(request.stream, fd)
            self.tickets.append(request)

    def redeem(self) -> None:
        """A browser resumes with its newest return ticket, at either hub."""
        for request in self.tickets[::-1]:
            browser = request.browser
            if browser.ended and not browser.waiting:
                stream = request.stream._replace(position=browser.last_id)
                again = Request(browser, stream, request.machine, request.step)
                fd = browser.begin_connection(again)
                self.rng.choice(self.machines).redeem(stream, fd)
                return

    def read(self) -> None:
        for browser in self.browsers:
            if not browser.ended:
                browser.read(self.rng.choice([10, 100, 1000, 2**20]))

    def cut(self) -> None:
        """A browser loses its connection, and the bytes that it had not read."""
        if open := [b for b in self.browsers if not b.ended and not b.waiting]:
            browser = self.rng.choice(open)
            browser.sock.close()
            browser.ended = True

    # What the app does.

    def publish(self, machine: Machine | None = None) -> None:
        machine = machine or self.rng.choice(self.machines)
        count = self.rng.choice([1, 1, 2, 5])
        channels = [self.rng.choice(self.channels) for _ in range(count)]
        events = [Event(name, f"{self.step} {n}") for n, name in enumerate(channels)]
        for event, position in zip(events, machine.broker.publish(events), strict=True):
            machine.knows(position)
            self.published.append(
                Event(event.channel, event.data, id=f"{position}.{event.channel}")
            )

    def disconnect(self) -> None:
        stream = self.rng.choice(self.browsers).stream
        user, session, channel = stream.user, stream.session or None, stream.channels[0]
        said = self.rng.choice(
            [
                *(Disconnect(user), Disconnect(user, None, channel)),
                *(Disconnect(None, session), Disconnect(None, session, channel)),
                *(Disconnect(user, session), Disconnect(None, None, channel)),
            ]
        )
        if not any(said):
            said = Disconnect(None, None, channel)
        said = said._replace(reason="why")
        machine = self.rng.choice(self.machines)
        store = t.cast(KeepsOwnLogs, machine.broker)
        step = self.step
        position = store.append(DISCONNECT_LOG, said.to_bytes(), 3600)
        machine.knows(position)
        self.ended.append(Ended(position, said, step))

    def disconnect_beside(self) -> None:
        """Disconnect while another process publishes."""
        machine = self.rng.choice(self.machines)

        def publish() -> None:
            for _ in range(3):
                self.publish(machine)

        other = threading.Thread(target=publish)
        other.start()
        self.disconnect()
        other.join()

    # What happens to the hubs.

    def stop(self) -> None:
        self.rng.choice(self.machines).stop()

    def go_on(self) -> None:
        for machine in self.machines:
            machine.go_on()

    def restart(self) -> None:
        self.rng.choice(self.machines).restart()

    def replace(self) -> None:
        self.rng.choice(self.machines).replace()

    def wait(self) -> None:
        time.sleep(self.rng.choice([0, 0.0005, 0.002, 0.005]))

    # The end.

    def finish(self) -> list[str]:
        """Let each browser resume until it has all, and judge."""
        self.step += 1
        self.go_on()
        while self.requests:
            self.hand_over()
        last = {name: self._publish_last(name) for name in self.channels}
        deadline = time.monotonic() + PATIENCE
        while late := [b for b in self.browsers if not self._is_done(b, last)]:
            if time.monotonic() > deadline:
                return [f"{b.name} never came to the end: {b.events[-3:]}" for b in late]
            for browser in late:
                if browser.ended:
                    self.enter(browser)
                    self.hand_over()
                browser.read()
            time.sleep(0.0005)
        return self.judge()

    def _publish_last(self, channel: str) -> Position:
        (position,) = self.machines[0].broker.publish([Event(channel, "the end")])
        id = f"{position}.{channel}"
        self.published.append(Event(channel, "the end", id=id))
        return position

    def _is_done(self, browser: Browser, last: dict[str, Position]) -> bool:
        if self._is_out(browser):
            # It got the reason, or was sent back before. It gets the reason when it asks.
            return browser.ended and "push:disconnect" in {e.type for e in browser.events}
        end = max(last[name] for name in browser.stream.channels)
        return bool(browser.events) and Position.parse(browser.last_id) >= end

    def _is_out(self, browser: Browser) -> bool:
        """Whether its session was disconnected as a whole, and so stays disconnected."""
        return any(
            said.session and not said.channel and matches(said, browser.stream)
            for _, said, _ in self.ended
        )

    def judge(self) -> list[str]:
        truth = Truth()
        for event in self.published:
            truth.add(event.id, event.channel, f"{event.id} {event.data}")
        truth.sort()
        causes: list[Cause] = []
        wrong: list[str] = []
        for browser in self.browsers:
            found = Trace([*browser.stream.channels], browser.events, browser.times)
            wrong += [f"{browser.name}: {line}" for line in judge(found, truth, causes)]
            for connection, position in written(browser):
                wrong += [
                    f"{browser.name}: {position} was written after {ended}"
                    for ended in self.ended
                    if matches(ended.said, connection.stream)
                    and connection.step < ended.step
                    and position > ended.position
                ]
        return wrong

    def figures(self) -> Counter[str]:
        return figures(self.browsers, self.ended) + Counter(
            {
                **{f"times {name}": count for name, count in self.acts.items()},
                "stories": 1,
            }
        )
