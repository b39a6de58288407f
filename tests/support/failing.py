"""Code that raises at one line of the source, and stores that lose events."""

from __future__ import annotations

import collections.abc as cabc
import importlib
import linecache
import sys
import types
import typing as t

from flask_push._event import Entry
from flask_push.brokers import OwnSink
from flask_push.brokers import Sink
from flask_push.brokers._common import new_epoch
from flask_push.brokers._common import now
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.memory.feed import MemoryFeed

MODULES = [
    *(
        "_hub.hub",
        "_hub.handover",
        "_hub.streams",
        "_hub.ending",
        "_hub.starts",
        "_hub.disconnects",
        "_hub.disconnect_list",
        "_hub.fanout",
        "_hub.timer",
        "_hub.failstop",
        "_hub.feeding",
        "_hub.item_reads",
        "_hub.shared_reads",
        "_hub.pacing",
        "_hub.partial_frames",
        "_hub.connection",
        "_hub.limits",
    ),
    *(
        "_delivery.log",
        "_delivery.readers",
        "_delivery.replay",
        "_delivery.channel",
        "_delivery.all_items",
        "_delivery.item_log",
        "_delivery.item_replay",
        "_delivery.horizons",
        "_delivery.paced",
        "_delivery.gzip",
        "_delivery.wire",
        "_event",
        "sse",
    ),
]


FILES = {
    name: importlib.import_module(f"flask_push.{name}").__file__
    for name in [
        *(*MODULES, "_hub.takeover", "_delivery.snapshot", "_hub.process"),
        *("_hub.deadlines", "_hub.writer", "_hub.planned", "_hub.run_keeper"),
        "_hub.run_reads",
        *("_delivery.followed", "_delivery.following", "_delivery.followed_runs"),
    ]
}


Line = tuple[str, int]


#: A line is recorded only while this function of this file runs.
GUARD = "_hub.failstop", "guard"


class Tracer:
    """Records the lines that run below a function, or raises at one of them, once.

    :param target: Where it raises. Then it records nothing.
    :param below: The function, and its file.
    """

    def __init__(self, target: Line | None = None, below: tuple[str, str] = GUARD) -> None:
        self.lines: dict[Line, None] = {}
        self.raised = False
        self._files = {file: name for name, file in FILES.items()}
        self._target = target
        self._below = below
        self._depth = 0
        self._traced: dict[types.CodeType, bool] = {}

    def __enter__(self) -> Tracer:
        sys.settrace(self._global)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)

    def _global(self, frame: types.FrameType, event: str, arg: object) -> t.Any:
        code = frame.f_code
        if (self._files.get(code.co_filename), code.co_name) == self._below:
            self._depth += 1
            return self._leave
        if self._depth == 0:
            return None
        if code not in self._traced:
            self._traced[code] = self._traces(code)
        return self._local if self._traced[code] else None

    def _traces(self, code: types.CodeType) -> bool:
        """Only what has to be traced is: hundreds of hubs run under tracers."""
        # Functions that borrow a descriptor have lines that only return it and can't fail.
        if code.co_filename not in self._files or code.co_name == "borrowed":
            return False
        if self._target is None:
            return True
        file, number = self._target
        lines = (line for _, _, line in code.co_lines())
        return self._files[code.co_filename] == file and number in lines

    def _leave(self, frame: types.FrameType, event: str, arg: object) -> t.Any:
        self._depth -= event == "return"
        return self._leave

    def _local(self, frame: types.FrameType, event: str, arg: object) -> t.Any:
        if event == "line":
            file, number = frame.f_code.co_filename, frame.f_lineno
            line = self._files[file], number
            if self._target == line and not self.raised:
                self.raised = True
                raise MemoryError("by the tracer")
            # That call does nothing.
            if not self._target and linecache.getline(file, number).strip() != "try:":
                self.lines[line] = None
        return self._local


class Forgetful:
    """Stands between a store and a hub: events that it loses do not reach the hub."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.missed, self.watched = sink.missed, sink.watched
        if isinstance(sink, OwnSink):
            self.own = sink.own

    def deliver(self, epoch: str, entries: cabc.Sequence[Entry], end: int | None) -> None:
        entries = [entry for entry in entries if entry.data != b"lost"]
        self.sink.deliver(epoch, entries, end)


class Store(MemoryBroker):
    """Loses events on their way to the hub, and lets ids become old quickly."""

    @property
    def retention(self) -> int:
        return 100_000

    def feed(self, sink: Sink, *args: t.Any, **more: t.Any) -> MemoryFeed:
        return super().feed(Forgetful(sink), *args, **more)

    def begin_again(self: MemoryBroker) -> None:
        """Begin another epoch, which has no events of this one."""
        with self._lock:
            self._epoch = new_epoch()
            self._log.clear()
            self._channels.clear()
            self._bytes = 0
            self._birth = self._floor = self._last = now()
        for feed in self._feeds:
            feed.ring()
