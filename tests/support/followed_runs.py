"""Runs that a test writes, and a hub with streams that follow them."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from functools import partial

import pytest

from flask_push._delivery import run_record
from flask_push._delivery.chunks import Unchunker
from flask_push._delivery.follow import Follow
from flask_push._delivery.follow import Framing
from flask_push._delivery.options import Options
from flask_push._delivery.run_holder import Holder
from flask_push._delivery.run_record import Record
from flask_push._delivery.run_record import Status
from flask_push._delivery.run_record import Transition
from flask_push._delivery.run_rows import Change
from flask_push._delivery.run_rows import NOW
from flask_push._delivery.run_rows import PROGRESS
from flask_push._delivery.run_rows import progress
from flask_push._delivery.run_rows import RUN
from flask_push._delivery.stream import Stream
from flask_push._event import Position
from flask_push._ipc.client import Client
from flask_push.brokers import Broker
from flask_push.brokers import ItemChange
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.runs import KeepsRuns
from support.disconnects import Scene
from support.hubs import Run
from support.hubs import run_scene
from support.hubs import run_with_url
from support.reader import SocketReader

Scenario = cabc.Callable[["FollowScene"], cabc.Coroutine[t.Any, t.Any, None]]


PLAIN = ["ai-sdk", "ag-ui", "openai"]


class StoredRun:
    """A run on a channel, which this stores as its holder does."""

    def __init__(
        self, broker: MemoryBroker, channel: str, before: Record | None = None
    ) -> None:
        self.broker = broker
        self.channel = channel
        self.serial = 1 if before is None else before.serial + 1
        made = run_record.make(channel, before, f"run{self.serial}", "", 600)
        assert isinstance(made, Transition)
        self.record = self._store(made)
        self.holder: Holder | None = None

    @property
    def tag(self) -> str:
        return self.record.tag

    @property
    def start(self) -> int:
        """The number before the first event of the attempt."""
        return self.record.start

    @property
    def epoch(self) -> str:
        return self.record.position.epoch

    def enter(self) -> StoredRun:
        entered = run_record.enter(self.channel, self.record, self.serial, "process")
        assert isinstance(entered, Transition)
        self.record = self._store(entered)
        self.holder = Holder(self.channel, self.record, entered.event, self._last)
        return self

    def write(self, *texts: str, type: str = "message") -> Position:
        """Store events as one row. Returns its position."""
        assert self.holder is not None
        position = self._change(self.holder.write(texts, type))[-1]
        self.holder = self.holder.written(str(position), len(texts))
        return position

    def forget(self, upto: Position) -> None:
        """Drop the oldest events, as if the run were too long."""
        assert self.holder is not None
        # The record would be forgotten, too.
        after = self.record._replace(
            first=self.start, version=self.record.version + 1, position=Position("", 0)
        )
        row = Change(
            *(RUN, self.channel, NOW, after.to_json()),
            owner="process",
            version=after.version,
            expect=self.record.id,
        )
        (position,) = self._change([row])
        self.record = after._replace(position=position)
        self.holder = self.holder._replace(record=self.record)
        broker = t.cast(KeepsRuns, self.broker)
        assert not broker.forget(self.channel, upto.number, kind=RUN)

    def progress(self, data: str) -> None:
        row = Change(RUN, self.channel, progress(self.tag), data, PROGRESS)
        self._change([row])

    def end(self, status: Status = "done", text: str = "") -> None:
        ended = run_record.end(self.channel, self.record, status, text)
        assert ended is not None
        self.record = self._store(ended)

    def _store(self, transition: Transition) -> Record:
        positions = self._change(transition.changes)
        self._last = str(positions[1])
        return transition.record._replace(position=positions[0])

    def _change(self, changes: cabc.Iterable[Change]) -> list[Position]:
        return self.broker.change([ItemChange(**change._asdict()) for change in changes])


class FollowReader(SocketReader):
    """A client of a run, on any wire."""

    def __init__(self, *, chunked: bool = False) -> None:
        self.chunks = Unchunker() if chunked else None
        super().__init__()

    def feed(self, data: bytes) -> list[t.Any]:
        return super().feed(data if self.chunks is None else self.chunks.feed(data))

    @property
    def is_whole(self) -> bool:
        """Whether it has got the last chunk."""
        return self.chunks is not None and self.chunks.is_whole

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]

    @property
    def statuses(self) -> list[str]:
        return [e.json["status"] for e in self.events if e.type == "push:run"]


def received(reader: FollowReader) -> bytes:
    """What it has received, without comments."""
    lines = bytes(reader.body).splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b":"))


def data(reader: FollowReader) -> list[str]:
    """The events of the run that it has received, without last words."""
    return [text for text in reader.data if text != "[DONE]"]


class FollowScene(Scene):
    def begin(self, channel: str = "a", before: Record | None = None) -> StoredRun:
        return StoredRun(self.broker, channel, before).enter()

    def follow(
        self,
        run: StoredRun,
        wire: str = "push",
        after: int | None = None,
        skip: int = 0,
        epoch: str | None = None,
        framing: Framing | None = None,
        **how: t.Any,
    ) -> FollowReader:
        """Follow a run from its first event on, if nothing else is said."""
        if framing is None:
            framing = "none" if wire == "push" else "chunked"
        follow = Follow(
            *(run.channel, run.tag, wire, run.epoch if epoch is None else epoch),
            *(run.start if after is None else after, skip, framing),
        )
        reader = FollowReader(chunked=framing == "chunked")
        self.readers.append(reader)
        name = f"reader {len(self.readers)}"
        stream = Stream((run.channel,), name, follow=follow, **how)
        self.hub.adopt(stream, Client(reader.theirs.detach()))
        return reader


def run_with(test: Scenario, broker: Broker, **options: t.Any) -> None:
    run_scene(lambda: FollowScene(t.cast(MemoryBroker, broker), Options(**options)), test)


@pytest.fixture
def run(url: str) -> Run:
    """Runs a scenario with each store."""
    return partial(run_with_url, run_with, url)
