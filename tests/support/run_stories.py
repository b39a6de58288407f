"""What several processes do to the runs of a channel, with a store that fails.

A process here is a name, and what it holds. It is killed by forgetting both.
"""

from __future__ import annotations

import collections.abc as cabc
import json
import typing as t
from contextlib import suppress

from hypothesis import strategies as st

from flask_push import Event
from flask_push import NotPublished
from flask_push import NotRead
from flask_push import Position
from flask_push import PublishUncertain
from flask_push._delivery import run_record
from flask_push._delivery.run_record import Record
from flask_push._delivery.run_record import Transition
from flask_push._delivery.run_rows import Change
from flask_push._delivery.run_rows import HOLDERS
from flask_push._delivery.run_rows import NOW
from flask_push._delivery.run_rows import RUN
from flask_push._delivery.run_rows import STATUS
from flask_push._delivery.run_rows import unpack
from flask_push._holder.entering import begin
from flask_push._holder.entering import Refused
from flask_push._holder.held import HeldRun
from flask_push._holder.held import Over
from flask_push._holder.store import RunStore
from flask_push.brokers import Conflict
from flask_push.brokers import ItemChange
from flask_push.brokers import KeepsRuns
from flask_push.brokers.base import TROUBLE

#: What becomes of a call: it may be refused, or get no answer, after it was stored or not.
FAULTS = ["", "", "", "refused", "lost", "stored"]
STEPS = ["write"] * 6 + ["enter", "done", "fail", "kill", "stop", "look", "lose"]

Step = tuple[str, int, list[str], bool]


def steps() -> st.SearchStrategy[list[Step]]:
    """A step, the process that takes it, what becomes of its next calls of the store, and
    whether the process waits for a store in trouble."""
    faults = st.lists(st.sampled_from(FAULTS), max_size=3)
    process = st.sampled_from([0, 0, 0, 0, 1, 2])
    step = st.tuples(st.sampled_from(STEPS), process, faults, st.booleans())
    return st.lists(step, min_size=15, max_size=30)


class Faulty:
    """A broker of which calls fail."""

    def __init__(self, broker: KeepsRuns) -> None:
        self.broker = broker
        #: What becomes of the next calls.
        self.faults: list[str] = []
        #: All rows of runs that were stored, by their numbers.
        self.log: dict[int, ItemChange] = {}

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self.broker, name)

    def change(self, changes: cabc.Sequence[Event | ItemChange]) -> list[Position]:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "refused":
            raise NotPublished("The store refuses.")
        if fault == "lost":
            raise PublishUncertain("No answer.")
        positions = self.broker.change(changes)
        for each, position in zip(changes, positions, strict=True):
            if isinstance(each, ItemChange) and each.kind == RUN and each.data is not None:
                self.log[position.number] = each
        if fault == "stored":
            raise PublishUncertain("No answer.")
        return positions

    def forget(self, channel: str, upto: int, *, kind: str, limit: int = 2) -> bool:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "refused":
            raise NotPublished("The store refuses.")
        more = fault != "lost" and self.broker.forget(channel, upto, kind=kind, limit=limit)
        if fault in ("lost", "stored"):
            raise PublishUncertain("No answer.")
        return more

    def find(self, channel: str, items: cabc.Sequence[str], *, kind: str = "") -> t.Any:
        if self.faults and self.faults.pop(0) == "refused":
            raise NotRead("The store is away.")
        return self.broker.find(channel, items, kind=kind)


class Process:
    def __init__(self, name: str) -> None:
        self.name = name
        self.held: HeldRun | None = None
        #: Of the attempt that it holds: events of which a call has returned, and those of
        #: which a call has raised that they may be stored or not.
        self.acked: list[str] = []
        self.uncertain: set[str] = set()


class Story:
    """
    :param channel: One that no other story has used.
    :param most: How many bytes a run may have.
    """

    def __init__(self, broker: KeepsRuns, channel: str, most: int) -> None:
        self.broker, self.channel = broker, channel
        self.faulty = Faulty(broker)
        faulty = t.cast(KeepsRuns, self.faulty)
        self.store = RunStore(faulty, lambda position: None, most)
        self.processes = [Process(f"p{n}") for n in range(3)]
        self.names = 3
        #: Each event has another text.
        self.texts = 0
        #: The number of the store when a stop had returned, by the tag of the attempt.
        self.stopped: dict[str, int] = {}
        #: The same by the tag of the attempt.
        self.acked: dict[str, list[str]] = {}
        self.uncertain: dict[str, set[str]] = {}
        self.done: set[str] = set()
        #: A record that a process has seen which takes runs for lost.
        self.seen: Record | None = None

    def take(self, step: Step) -> None:
        name, number, self.faulty.faults, waits = step
        process = self.processes[number]
        if process.held is not None:
            process.held._until = lambda: float("inf") if waits else 0.0
        with suppress(Conflict, Refused, Over, *TROUBLE):
            getattr(self, f"_{name}")(process)
        self.faulty.faults = []

    def _make(self, process: Process) -> None:
        record = self.store.record(self.channel)
        made = run_record.make(self.channel, record, f"run{self.texts}", "", 600)
        self.texts += 1
        if isinstance(made, Transition):
            self.store.commit(self.channel, made)

    def _enter(self, process: Process) -> None:
        if process.held is not None and not process.held.has_ended:
            return
        record = self.store.record(self.channel)
        if record is None or record.status in run_record.FINAL:
            self._make(process)
            record = self.store.record(self.channel)
        if record is None:
            return
        beat = Change(HOLDERS, HOLDERS, f"{self.channel}{process.name}", "{}")
        holder, _ = begin(self.store, self.channel, record, process.name, beat)
        process.held = HeldRun(self.store, holder, lambda: 0.0)
        self.acked[holder.record.tag] = process.acked = []
        self.uncertain[holder.record.tag] = process.uncertain = set()

    def _write(self, process: Process) -> None:
        held = process.held
        if held is None or held.has_ended:
            self._enter(process)
            return
        text = f"text{self.texts}"
        self.texts += 1
        try:
            held.write([text], "message")
        except PublishUncertain:
            process.uncertain.add(text)
            raise
        process.acked.append(text)

    def _done(self, process: Process) -> None:
        held = process.held
        if held is not None:
            held.end("done")
            if held.status == "done":
                self.done.add(held.holder.record.tag)

    def _fail(self, process: Process) -> None:
        if process.held is not None:
            process.held.end("failed", "text")

    def _kill(self, process: Process) -> None:
        self.processes[self.processes.index(process)] = Process(f"p{self.names}")
        self.names += 1

    def _stop(self, process: Process) -> None:
        record = self.store.record(self.channel)
        if record is None:
            return
        stopping = run_record.stop(self.channel, record)
        if stopping is not None:
            self.store.commit(self.channel, stopping)
            self.stopped[record.tag] = self.broker.read([], after=0).end

    def _look(self, process: Process) -> None:
        self.seen = self.store.record(self.channel)

    def _lose(self, process: Process) -> None:
        if self.seen is not None:
            lost = run_record.end(self.channel, self.seen, "lost")
            if lost is not None:
                self.store.commit(self.channel, lost)

    # What has to be true.

    def judge(self) -> None:
        """Each attempt has one beginning, its events once and in order, and at most one
        end, with nothing behind it."""
        attempts: dict[str, list[tuple[int, str]]] = {}
        for number, row in sorted(self.faulty.log.items()):
            if row.item == NOW:
                continue
            tag = ".".join(row.item.split(".")[:2])
            data = row.data or ""
            if row.type == STATUS:
                found = [f"[{json.loads(data)['status']}]"]
            else:
                found = [each.decode() for each in unpack(data.encode())]
            attempts.setdefault(tag, []).extend((number, each) for each in found)
        for tag, events in attempts.items():
            self._judge(tag, events)
        self._judge_record(attempts)

    def _judge(self, tag: str, events: list[tuple[int, str]]) -> None:
        names = [name for _, name in events]
        statuses = [name[1:-1] for name in names if name[0] == "["]
        ends = [name for name in statuses if name not in run_record.ACTIVE]
        assert len(ends) <= 1 and len(set(statuses)) == len(statuses), names
        assert not ends or names[-1] == f"[{ends[0]}]", names
        texts = [name for name in names if name[0] != "["]
        acked, uncertain = self.acked.get(tag, []), self.uncertain.get(tag, set())
        assert [text for text in texts if text not in uncertain] == acked, (tag, texts)
        assert len(set(texts)) == len(texts) and {*texts} <= {*acked} | uncertain
        if (stopped := self.stopped.get(tag)) is not None:
            late = [name for number, name in events if number > stopped]
            assert late in ([], ["[stopped]"]), (names, late)
        if tag in self.done:
            assert ends == ["done"]

    def _judge_record(self, attempts: dict[str, list[tuple[int, str]]]) -> None:
        record = self.store.record(self.channel)
        if record is None:
            assert not attempts
            return
        names = [name for _, name in attempts[record.tag]]
        statuses = [name for name in names if name[0] == "["]
        assert statuses[-1] == f"[{record.status}]"
        assert record.start < attempts[record.tag][0][0]
        for past in record.past:
            first, *_, last = [number for number, _ in attempts[f"{past[0]}.{past[4]}"]]
            assert past.first < first and last == past.last + 1 or last > past.last
        holders = [p for p in self.processes if p.name == record.process]
        if record.status == "running" and holders and holders[0].held is not None:
            held = holders[0].held
            if held.holder.record.tag == record.tag:
                assert not held.is_over, "a run is active, and its holder takes it for over"
