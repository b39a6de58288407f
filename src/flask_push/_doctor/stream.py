"""Examines a stream as a browser gets it, through all proxies in between.

The doctor requests the stream, publishes events, reconnects as a browser that lost its
connection, and waits for a heartbeat. Its events are not stored, and no page gets them.
"""

from __future__ import annotations

import secrets
import ssl
import time
from pathlib import Path

from .._delivery import wire
from .._event import Entry
from .._event import Position
from .._system.terminal import shown
from ..brokers import Broker
from ..brokers._urls import hide_password
from ..brokers.base import TROUBLE
from ..client.address import Address
from .browser import BrowserRequest
from .events import channels_of
from .events import fields_of
from .events import has_probe
from .events import is_open
from .events import position_in
from .events import positions_of
from .finding import Finding
from .finding import Findings
from .finding import ok
from .finding import problem
from .head import greet
from .head import is_relayed
from .head import judge_head
from .machine import AppFacts
from .problem import ANY
from .problem import ERROR

# Seconds to wait for what normally arrives at once.
_ANSWER_SECONDS = 5.0
# Seconds after which an event is late, and a first byte slow. HAProxy delays each event by
# 0.2 seconds if it waits for more to send.
_LATE = 0.1
_SLOW = 1.0
# Seconds that a heartbeat may be late, and seconds to wait for one at most.
_GRACE = 2.0
_LONGEST = 60.0
# How many events the doctor publishes.
_PROBES = 3
# The kernel spreads requests unevenly over workers. This many reach most of them.
_POLLS = 8


class StreamCheckup:
    """
    :param quick: Don't wait for a heartbeat.
    """

    def __init__(self, address: Address, app: AppFacts, quick: bool = False) -> None:
        self.address = address
        self.app = app
        self.quick = quick
        self.proxy = ANY
        self._relayed = False
        #: The position at which the first stream began, before the probes.
        self._start = Position("", 0)
        self._channels: list[str] = []

    def examine(self) -> Findings:
        try:
            yield from self._examine()
        except ssl.SSLCertVerificationError as error:
            yield problem("certificate", error=error.verify_message)
        except ssl.SSLError as error:
            yield problem("tls", where=self.address.url, error=error.reason or error)
        except OSError as error:
            yield problem(
                "unreachable", where=self.address.url, error=error.strerror or error
            )
        except TROUBLE as error:
            assert self.app.broker is not None
            url = self.app.broker.url
            text = str(error).replace(url, hide_password(url))
            yield problem("store", url=hide_password(url), error=text)

    def _examine(self) -> Findings:
        self.proxy, greeted = greet(self.address, _ANSWER_SECONDS)
        yield from greeted
        with BrowserRequest(self.address) as stream:
            if not stream.read(lambda: stream.status, _ANSWER_SECONDS):
                yield from self._explain_no_answer(stream)
                return
            refused = list(judge_head(stream, self.proxy, self.app.gzip))
            yield from refused
            if any(finding.level == ERROR for finding in refused):
                return
            self._relayed = is_relayed(stream)
            if not stream.read(lambda: is_open(stream), _ANSWER_SECONDS):
                yield from self._explain_no_opening(stream)
                return
            # A stream that begins without a position has it in its gap.
            stream.read(lambda: stream.parser.last_event_id, _ANSWER_SECONDS)
            self._channels = channels_of(stream)
            if not self._channels:
                yield problem("foreign")
                return
            yield self._judge_opening(stream)
            yield from self._judge_events(stream)
        if not self._relayed:
            yield from self._judge_resumed()
            yield from self._count_stores()
        elif self.app.broker is not None and _exists(self.app.broker):
            self._end_relay(self.app.broker)
            yield from self._judge_resumed()

    # The first bytes.

    def _explain_no_answer(self, stream: BrowserRequest) -> Findings:
        if stream.ended:
            yield problem("no-http", where=self.address.url, why=stream.why)
        else:
            yield from self._explain_silence()

    def _explain_silence(self) -> Findings:
        """Not a byte came. Try a finite answer, which nothing can hold back for ever."""
        with BrowserRequest(self.address, query={"poll": "1"}) as finite:
            if not finite.read(lambda: finite.status, _ANSWER_SECONDS):
                yield problem("silent", seconds=_ANSWER_SECONDS)
                return
            refused = list(judge_head(finite, self.proxy))
            if any(finding.level == ERROR for finding in refused):
                yield from refused
                return
        with BrowserRequest(self.address, encoding="identity") as plain:
            if plain.read(lambda: is_open(plain), _ANSWER_SECONDS):
                yield problem("gzip", self.proxy)
                return
        yield problem(
            "buffered",
            self.proxy,
            what="a finite answer arrives, and the start of a stream does not",
        )

    def _explain_no_opening(self, stream: BrowserRequest) -> Findings:
        if stream.parser.retry and stream.ended and not stream.events:
            yield problem("turned-away")
        elif stream.broken:
            yield problem("unreadable", why=stream.why)
        elif stream.ended or stream.events:
            yield problem("foreign")
        else:
            yield from self._explain_silence()

    def _judge_opening(self, stream: BrowserRequest) -> Finding:
        self._start = Position.parse(stream.parser.last_event_id)
        seconds = stream.first_byte - stream.began
        if seconds > _SLOW:
            return problem("slow", seconds=seconds)
        names = shown(", ".join(self._channels), 300)
        return ok("stream", f"Of {names}; its first byte came in {seconds:.3f} s.")

    # The events.

    def _judge_events(self, stream: BrowserRequest) -> Findings:
        broker = self.app.broker
        if broker is None:
            return
        if not _exists(broker) or broker.read([], after=0).epoch != self._start.epoch:
            yield problem("other-store", url=hide_password(broker.url))
            return
        if self.app.log and not self.app.status().get("streams"):
            yield problem("elsewhere", log=self.app.log)
        try:
            delays = [self._probe(stream, broker) for _ in range(_PROBES)]
        except _NotArrived as probe:
            yield from self._explain_missing(probe)
        else:
            late = min(delays)
            if late > _LATE:
                yield problem("late", self.proxy, seconds=late)
            else:
                yield ok("events", f"Published here, they arrived within {late:.3f} s.")

    def _probe(self, stream: BrowserRequest, broker: Broker) -> float:
        word = secrets.token_urlsafe(8)
        began = time.monotonic()
        (position,) = broker.publish([wire.probe(self._channels[0], word)])
        arrived = stream.read(lambda: has_probe(stream, word), _ANSWER_SECONDS)
        if not arrived:
            raise _NotArrived(position)
        return time.monotonic() - began

    def _explain_missing(self, probe: _NotArrived) -> Findings:
        hub = Position.parse(str(self.app.status().get("position", "")))
        if hub.number < probe.position.number if hub.epoch else not self.proxy:
            yield problem("unheard", seconds=_ANSWER_SECONDS)
            return
        with BrowserRequest(self.address, encoding="identity") as plain:
            plain.read(lambda: is_open(plain), _ANSWER_SECONDS)
            try:
                assert self.app.broker is not None
                self._probe(plain, self.app.broker)
            except _NotArrived:
                what = f"an event did not arrive within {_ANSWER_SECONDS:g} seconds"
                yield problem("buffered", self.proxy, what=what)
            else:
                yield problem("gzip", self.proxy)

    # Reconnecting.

    def _end_relay(self, broker: Broker) -> None:
        """Make the relay of the first stream write: only its second write shows it that
        the browser has disconnected, and until then it occupies a worker."""
        for _ in range(3):
            broker.publish([wire.probe(self._channels[0], "")])
            time.sleep(0.1)

    def _judge_resumed(self) -> Findings:
        position, expected = self._start, list[Entry]()
        broker = self.app.broker
        if broker is not None and _exists(broker):
            page = broker.read(self._channels, last=_PROBES)
            if page.epoch == position.epoch:
                after = min(page.after, position.number)
                page = broker.read(self._channels, after=after)
                position, expected = Position(page.epoch, after), list(page.entries)
        ids = [str(Position(position.epoch, entry.number)) for entry in expected]
        with BrowserRequest(self.address, position=str(position)) as stream:
            if not stream.read(lambda: is_open(stream), _ANSWER_SECONDS):
                yield from self._explain_no_opening(stream)
                return
            stream.read(lambda: {*ids} <= positions_of(stream), _ANSWER_SECONDS)
            yield self._compare(stream, position, ids)
            if not self.quick:
                yield from self._judge_heartbeat(stream)

    def _compare(
        self, stream: BrowserRequest, position: Position, ids: list[str]
    ) -> Finding:
        (opening, *_) = stream.of_type("push:open")
        for gap in stream.of_type("push:gap"):
            return problem("gap", reason=fields_of(gap).get("reason", "no reason given"))
        if Position.parse(opening.id) != position:
            return problem("not-resumed", self.proxy)
        came = [position_in(e.id) for e in stream.events if not e.type.startswith("push:")]
        if came[: len(ids)] != ids:
            return problem("wrong", expected=" ".join(ids), found=" ".join(came) or "none")
        what = f"Reconnected at {position}, it had the {len(ids)} events after it."
        return ok("resume", what)

    # A stream without events.

    def _judge_heartbeat(self, stream: BrowserRequest) -> Findings:
        heartbeat, before = self.app.heartbeat, stream.last_byte
        seconds = min(heartbeat, _LONGEST) + _GRACE
        if stream.read(lambda: stream.last_byte > before, seconds):
            silent = stream.last_byte - before
            yield ok("heartbeat", f"After {silent:.1f} s of silence, the next byte came.")
            return
        silent = time.monotonic() - before
        if stream.ended:
            wait, less = max(60, round(4 * heartbeat)), max(0.1, round(silent / 2, 1))
            yield problem(
                "cut",
                self.proxy,
                silent=silent,
                heartbeat=heartbeat,
                seconds=wait,
                less=less,
            )
        elif heartbeat <= _LONGEST:
            yield problem("no-heartbeat", seconds=silent)

    # The stores.

    def _count_stores(self) -> Findings:
        query = {"poll": "1"}
        requests = [BrowserRequest(self.address, query=query) for _ in range(_POLLS)]
        try:
            epochs = set()
            for request in requests:
                request.read(lambda v=request: is_open(v), _ANSWER_SECONDS)  # type: ignore[misc]
                epochs |= {Position.parse(e.id).epoch for e in request.of_type("push:open")}
        finally:
            for request in requests:
                request.close()
        epochs.add(self._start.epoch)
        if len(epochs) > 1:
            yield problem("stores", count=len(epochs))


class _NotArrived(Exception):
    def __init__(self, position: Position) -> None:
        self.position = position


def _exists(broker: Broker) -> bool:
    """Whether the store exists. Reading a store would create it."""
    path: Path | None = getattr(broker, "path", None)
    return path is None or path.exists()
