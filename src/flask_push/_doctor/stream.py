"""What stands between a browser and the hub, found out by being a browser.

The doctor opens the stream as browsers do, publishes an event that no page listens to,
comes back as a browser that lost its connection, and listens for a heartbeat. What it
publishes is not kept, and its type is one of our own.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import secrets
import ssl
import time
import typing as t
from pathlib import Path

from .._delivery import wire
from .._event import Entry
from .._event import escape
from .._event import Event
from .._event import Position
from .._system.terminal import shown
from ..brokers import Broker
from ..brokers import NotPublished
from ..brokers import NotRead
from ..brokers import PublishUncertain
from ..brokers._urls import hide_password
from ..client.address import Address
from .browser import Visit
from .facts import Finding
from .facts import good
from .facts import trouble
from .findings import ANY
from .findings import ERROR
from .head import Findings
from .head import greet
from .head import is_relayed
from .head import judge_head

# Seconds for what comes at once where all is well; and what a proxy adds that waits for
# more to send (HAProxy: 0.2).
_PATIENCE = 5.0
_LATE = 0.1
_SLOW = 1.0
# Seconds for which a heartbeat may be late, and the longest that one is waited for.
_GRACE = 2.0
_LONGEST = 60.0
_PROBES = 3
# Processes that answer are not chosen evenly; so many finite answers show most of them.
_POLLS = 8
# Channels that the configuration lets a stream have.
_MAX_CHANNELS = 10_000


class Trusted(t.NamedTuple):
    """What is known on this side of the way."""

    #: Publishes where the app does, if that is possible from here.
    broker: Broker | None
    heartbeat: float
    #: Whether the app compresses its streams.
    gzip: bool
    #: The log of the hub process; ``None`` if the hub is a thread.
    log: Path | None
    #: What the hub says of itself; nothing, if it can't be asked.
    status: cabc.Callable[[], dict[str, t.Any]]


class Doctor:
    """
    :param quick: Whether not to wait for a heartbeat.
    """

    def __init__(self, address: Address, known: Trusted, quick: bool = False) -> None:
        self.address = address
        self.known = known
        self.quick = quick
        self.proxy = ANY
        self._relayed = False
        #: Where a stream can be resumed from: before all that was published meanwhile.
        self._start = Position("", 0)
        self._channels: list[str] = []

    def examine(self) -> Findings:
        try:
            self.proxy, greeted = greet(self.address, _PATIENCE)
            yield from greeted
            with self._visit() as stream:
                if not stream.read(lambda: stream.status, _PATIENCE):
                    yield from self._explain_no_answer(stream)
                    return
                refused = list(judge_head(stream, self.proxy, self.known.gzip))
                yield from refused
                if any(finding.level == ERROR for finding in refused):
                    return
                self._relayed = is_relayed(stream)
                if not stream.read(lambda: _opening(stream), _PATIENCE):
                    yield from self._explain_no_opening(stream)
                    return
                # Without a position, it is a gap that has it.
                stream.read(lambda: stream.parser.last_event_id, _PATIENCE)
                self._channels = _channels_of(stream)
                if not self._channels:
                    yield trouble("foreign")
                    return
                yield self._judge_opening(stream)
                yield from self._judge_events(stream)
            if not self._relayed:
                yield from self._judge_resumed()
                yield from self._count_stores()
            elif self.known.broker is not None and _is_there(self.known.broker):
                self._let_go(self.known.broker)
                yield from self._judge_resumed()
        except ssl.SSLCertVerificationError as error:
            yield trouble("certificate", error=error.verify_message)
        except ssl.SSLError as error:
            yield trouble("tls", where=self.address.url, error=error.reason or error)
        except OSError as error:
            yield trouble(
                "unreachable", where=self.address.url, error=error.strerror or error
            )
        except (NotRead, NotPublished, PublishUncertain) as error:
            assert self.known.broker is not None
            url = self.known.broker.url
            said = str(error).replace(url, hide_password(url))
            yield trouble("store", url=hide_password(url), error=said)

    def _visit(self, **more: t.Any) -> Visit:
        return Visit(self.address, **more)

    # The first bytes.

    def _explain_no_answer(self, stream: Visit) -> Findings:
        if stream.ended:
            yield trouble("no-http", where=self.address.url, why=stream.why)
        else:
            yield from self._explain_silence()

    def _explain_silence(self) -> Findings:
        """Not a byte came. A finite answer is one that nothing can hold back for ever."""
        with self._visit(query={"poll": "1"}) as finite:
            if not finite.read(lambda: finite.status, _PATIENCE):
                yield trouble("silent", seconds=_PATIENCE)
                return
            refused = list(judge_head(finite, self.proxy))
            if any(finding.level == ERROR for finding in refused):
                yield from refused
                return
        with self._visit(encoding="identity") as plain:
            if plain.read(lambda: _opening(plain), _PATIENCE):
                yield trouble("gzip", self.proxy)
                return
        yield trouble(
            "buffered",
            self.proxy,
            what="a finite answer arrives, and the start of a stream does not",
        )

    def _explain_no_opening(self, stream: Visit) -> Findings:
        if stream.parser.retry and stream.ended and not stream.events:
            yield trouble("turned-away")
        elif stream.broken:
            yield trouble("unreadable", why=stream.why)
        elif stream.ended or stream.events:
            yield trouble("foreign")
        else:
            yield from self._explain_silence()

    def _judge_opening(self, stream: Visit) -> Finding:
        self._start = Position.parse(stream.parser.last_event_id)
        seconds = stream.first_byte - stream.began
        if seconds > _SLOW:
            return trouble("slow", seconds=seconds)
        names = shown(", ".join(self._channels), 300)
        return good("stream", f"Of {names}; its first byte came in {seconds:.3f} s.")

    # The events.

    def _judge_events(self, stream: Visit) -> Findings:
        broker = self.known.broker
        if broker is None:
            return
        if not _is_there(broker) or broker.read([], after=0).epoch != self._start.epoch:
            yield trouble("other-store", url=hide_password(broker.url))
            return
        if self.known.log and not self.known.status().get("streams"):
            yield trouble("elsewhere", log=self.known.log)
        try:
            delays = [self._probe(stream, broker) for _ in range(_PROBES)]
        except _Unheard as unheard:
            yield from self._explain_unheard(unheard)
        else:
            late = min(delays)
            if late > _LATE:
                yield trouble("late", self.proxy, seconds=late)
            else:
                yield good("events", f"Published here, they arrived within {late:.3f} s.")

    def _probe(self, stream: Visit, broker: Broker) -> float:
        word = secrets.token_urlsafe(8)
        began = time.monotonic()
        (position,) = broker.publish([wire.probe(self._channels[0], word)])
        heard = stream.read(lambda: _has(stream, word), _PATIENCE)
        if not heard:
            raise _Unheard(position)
        return time.monotonic() - began

    def _explain_unheard(self, unheard: _Unheard) -> Findings:
        hub = Position.parse(str(self.known.status().get("position", "")))
        if hub.number < unheard.position.number if hub.epoch else not self.proxy:
            yield trouble("unheard", seconds=_PATIENCE)
            return
        with self._visit(encoding="identity") as plain:
            plain.read(lambda: _opening(plain), _PATIENCE)
            try:
                assert self.known.broker is not None
                self._probe(plain, self.known.broker)
            except _Unheard:
                what = f"an event did not arrive within {_PATIENCE:g} seconds"
                yield trouble("buffered", self.proxy, what=what)
            else:
                yield trouble("gzip", self.proxy)

    # Coming back.

    def _let_go(self, broker: Broker) -> None:
        """A relay does not see that its browser has left before it has written twice."""
        for _ in range(3):
            broker.publish([wire.probe(self._channels[0], "")])
            time.sleep(0.1)

    def _judge_resumed(self) -> Findings:
        position, expected = self._start, list[Entry]()
        broker = self.known.broker
        if broker is not None and _is_there(broker):
            page = broker.read(self._channels, last=_PROBES)
            if page.epoch == position.epoch:
                after = min(page.after, position.number)
                page = broker.read(self._channels, after=after)
                position, expected = Position(page.epoch, after), list(page.entries)
        ids = [str(Position(position.epoch, entry.number)) for entry in expected]
        with self._visit(position=str(position)) as stream:
            if not stream.read(lambda: _opening(stream), _PATIENCE):
                yield from self._explain_no_opening(stream)
                return
            stream.read(lambda: {*ids} <= _ids(stream), _PATIENCE)
            yield self._compare(stream, position, ids)
            if not self.quick:
                yield from self._judge_silence(stream)

    def _compare(self, stream: Visit, position: Position, ids: list[str]) -> Finding:
        (opening, *_) = stream.of_type("push:open")
        for gap in stream.of_type("push:gap"):
            return trouble("gap", reason=_facts(gap).get("reason", "no reason given"))
        if Position.parse(opening.id) != position:
            return trouble("not-resumed", self.proxy)
        came = [_position(e.id) for e in stream.events if not e.type.startswith("push:")]
        if came[: len(ids)] != ids:
            return trouble("wrong", expected=" ".join(ids), found=" ".join(came) or "none")
        return good(
            "resume", f"Reconnected at {position}, it had the {len(ids)} events after it."
        )

    # Nothing to say.

    def _judge_silence(self, stream: Visit) -> Findings:
        heartbeat, before = self.known.heartbeat, stream.last_byte
        seconds = min(heartbeat, _LONGEST) + _GRACE
        if stream.read(lambda: stream.last_byte > before, seconds):
            silent = stream.last_byte - before
            yield good("heartbeat", f"After {silent:.1f} s of silence, the next byte came.")
            return
        silent = time.monotonic() - before
        if stream.ended:
            yield self._cut(silent)
        elif heartbeat <= _LONGEST:
            yield trouble("no-heartbeat", seconds=silent)

    def _cut(self, silent: float) -> Finding:
        heartbeat = self.known.heartbeat
        return trouble(
            "cut",
            self.proxy,
            silent=silent,
            heartbeat=heartbeat,
            seconds=max(60, round(4 * heartbeat)),
            less=max(0.1, round(silent / 2, 1)),
        )

    # How many there are.

    def _count_stores(self) -> Findings:
        visits = [self._visit(query={"poll": "1"}) for _ in range(_POLLS)]
        try:
            epochs = set()
            for visit in visits:
                visit.read(lambda v=visit: _opening(v), _PATIENCE)  # type: ignore[misc]
                epochs |= {Position.parse(e.id).epoch for e in visit.of_type("push:open")}
        finally:
            for visit in visits:
                visit.close()
        epochs.add(self._start.epoch)
        if len(epochs) > 1:
            yield trouble("stores", count=len(epochs))


class _Unheard(Exception):
    def __init__(self, position: Position) -> None:
        self.position = position


def _is_there(broker: Broker) -> bool:
    """Whether the store exists. To read it would make it."""
    path: Path | None = getattr(broker, "path", None)
    return path is None or path.exists()


def _opening(stream: Visit) -> bool:
    return bool(stream.of_type("push:open"))


def _has(stream: Visit, word: str) -> bool:
    return any(_facts(e).get("probe") == word for e in stream.of_type("push:doctor"))


def _facts(event: Event) -> dict[str, t.Any]:
    """What an event of ours says; nothing, if somebody else made it."""
    with contextlib.suppress(ValueError, RecursionError):
        said = json.loads(event.data)
        if isinstance(said, dict):
            return said
    return {}


def _channels_of(stream: Visit) -> list[str]:
    """The channels that ``push:open`` names; none, if they are not of our making."""
    (opening, *_) = stream.of_type("push:open")
    channels = _facts(opening).get("channels")
    if not isinstance(channels, list) or len(channels) > _MAX_CHANNELS:
        return []
    try:
        for channel in channels:
            escape(channel)
    except ValueError:
        return []
    return channels


def _position(id: str) -> str:
    return id.partition(".")[0]


def _ids(stream: Visit) -> set[str]:
    return {_position(event.id) for event in stream.events}
