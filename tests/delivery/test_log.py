"""Laws 5 to 14, held by Hypothesis against :mod:`world`."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import types
import typing as t
from collections import Counter
from unittest import mock

import pytest
from hypothesis import Phase
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize
from hypothesis.stateful import precondition
from hypothesis.stateful import rule
from hypothesis.stateful import RuleBasedStateMachine
from hypothesis.stateful import run_state_machine_as_test
from support.world import CHANNELS
from support.world import Client
from support.world import fail
from support.world import Reader
from support.world import Store
from support.world import World

from flask_push._delivery import wire
from flask_push._delivery.channel import Channel
from flask_push._delivery.channel import MOST_LOST
from flask_push._delivery.log import Log
from flask_push._delivery.readers import Readers
from flask_push._delivery.subscription import Subscription
from flask_push._event import Entry
from flask_push._event import Page
from flask_push._event import Position
from flask_push._event import Proof

channels = st.sampled_from(CHANNELS)
indices = st.integers(0, 7)
limits = st.integers(1, 3)
hubs = st.integers(0, 1)
# What clients are called, so that events can exclude them.
called = st.sampled_from(["A", "B"])
# What a socket takes: all, nothing, or it stops within a frame.
ALL = 100_000
rooms = st.one_of(st.just(ALL), st.integers(0, 100))


class Laws(RuleBasedStateMachine):
    """Any interleaving of what can happen to two hubs, their store and their readers."""

    log: types.ModuleType | None = None

    @initialize(max_bytes=st.sampled_from([0, 600, 10_000]))
    def start(self, max_bytes: int) -> None:
        self.store = Store()
        self.hubs = [World(self.store, self.log, max_bytes) for _ in range(2)]
        self.clients: list[Client] = []
        for hub in self.hubs:
            hub.feed(0)

    @rule(channel=channels, step=st.integers(1, 3), exclude=st.just("") | called)
    def publish(self, channel: str, step: int, exclude: str = "") -> None:
        self.store.publish(channel, step, exclude=exclude)

    @rule(channel=channels, exclude=st.just("") | called)
    def publish_transient(self, channel: str, exclude: str = "") -> None:
        self.store.publish(channel, 0, store=False, exclude=exclude)

    @rule()
    def publish_elsewhere(self) -> None:
        self.store.elsewhere(12)

    @rule(hub=hubs, count=st.integers(1, 4))
    def feed(self, hub: int, count: int) -> None:
        self.hubs[hub].feed(count)

    @rule(hub=hubs, skip=limits, count=limits)
    def feed_loses(self, hub: int, skip: int, count: int) -> None:
        self.hubs[hub].feed(count, skip)

    @rule(hub=hubs, count=limits)
    def watch(self, hub: int, count: int) -> None:
        self.hubs[hub].watch(count)

    @precondition(lambda self: any(hub.log.hole for hub in self.hubs))
    @rule(limit=limits)
    def fill(self, limit: int) -> None:
        next(hub for hub in self.hubs if hub.log.hole).fill(limit)

    @rule(hub=hubs)
    def replace(self, hub: int) -> None:
        if self.hubs[hub].log.is_whole():
            self.hubs[hub].replace()

    @rule(channel=channels, count=limits)
    def trim(self, channel: str, count: int) -> None:
        self.store.trim(channel, count)

    @rule()
    def new_epoch(self) -> None:
        self.store.begin()
        for hub in self.hubs:
            hub.unnoticed.clear()

    @rule(
        hub=hubs,
        names=st.sets(channels, min_size=1),
        came_by=st.sampled_from(["nothing", "page", "earlier", "future", "garbage"]),
        back=st.integers(1, 9),
        room=rooms,
        name=called,
        gzip=st.booleans(),
    )
    def connect(
        self,
        hub: int,
        names: set[str],
        came_by: str,
        back: int,
        room: int,
        name: str,
        gzip: bool,
    ) -> None:
        store = self.store
        client = Client(store, frozenset(names), name, gzip)
        position = None
        if came_by == "page":
            position = Position(store.epoch, store.number)
        elif came_by == "earlier":
            position = Position(store.epoch, max(store.birth, store.number - back))
        elif came_by == "future":
            client.lost = True
            position = Position(store.epoch, store.number + back)
        elif came_by == "garbage":
            client.lost = True
            position = Position("", 0)
        if position is not None:
            client.last_id = str(position)
            client.reset(position)
        self.clients.append(client)
        self.hubs[hub].connect(Reader(client, position), room)

    def readers(self) -> list[tuple[World, Reader]]:
        return [(hub, reader) for hub in self.hubs for reader in hub.readers]

    def away(self) -> list[Client]:
        connected = [id(reader.client) for _, reader in self.readers()]
        return [client for client in self.clients if id(client) not in connected]

    @precondition(lambda self: self.away())
    @rule(hub=hubs, index=indices, room=rooms)
    def come_back(self, hub: int, index: int, room: int) -> None:
        away = self.away()
        client = away[index % len(away)]
        position = Position.parse(client.last_id) if client.last_id else None
        self.hubs[hub].connect(Reader(client, position), room)

    @precondition(lambda self: self.readers())
    @rule(index=indices, room=rooms)
    def grant(self, index: int, room: int) -> None:
        readers = self.readers()
        hub, reader = readers[index % len(readers)]
        hub.grant(reader, room)

    @precondition(lambda self: self.readers())
    @rule(index=indices)
    def cut(self, index: int) -> None:
        readers = self.readers()
        hub, reader = readers[index % len(readers)]
        hub.cut(reader)

    @precondition(lambda self: any(r.wants_page for _, r in self.readers()))
    @rule(index=indices, limit=limits)
    def answer(self, index: int, limit: int) -> None:
        readers = [(hub, reader) for hub, reader in self.readers() if reader.wants_page]
        hub, reader = readers[index % len(readers)]
        hub.answer(reader, limit)

    def teardown(self) -> None:
        for hub in getattr(self, "hubs", ()):
            hub.settle()


def hold(log: types.ModuleType | None, examples: int) -> None:
    run_state_machine_as_test(
        type("Mutated", (Laws,), {"log": log}),
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            # Explaining a failure takes longer than all the rest.
            phases=set(Phase) - {Phase.explain},
            report_multiple_bugs=False,
        ),
    )


def test_every_interleaving_keeps_the_promise() -> None:
    hold(None, examples=1000)


@pytest.mark.slow
def test_very_many_interleavings_keep_the_promise() -> None:
    hold(None, examples=50_000)


class Mutant(t.NamedTuple):
    """A law taken out of the source, and the shortest story that misses it."""

    law: str
    story: str
    old: str
    new: str


MUTANTS = [
    Mutant(
        "5 channels are merged by number",
        "start 0; connect 0 a nothing; watch 0 1; publish a; publish a",
        "self.turn.append(piece)",
        "self.turn.insert(0, piece)",
    ),
    Mutant(
        "5 replay is merged by number",
        "start 0; publish a; publish b; connect 0 ab earlier 2; trim b 1",
        "groupby(merge(*sources, key=number_of), key=number_of)",
        "groupby((p for s in sources for p in s), key=number_of)",
    ),
    Mutant(
        "5 replay reads no further than the end",
        "start 600; connect 1 a page; publish a; watch 1 1; publish a; answer 0 2",
        "reach = min(reach, page.reach)",
        "reach = page.reach",
    ),
    Mutant(
        "5 live begins at the end",
        "start 0; connect 0 a nothing; watch 0 1; elsewhere; feed 0 1; publish a; "
        "lose 0 1 1; publish b",
        "return [] if reach == log.end else None",
        "return []",
    ),
    Mutant(
        "6 nothing before all channels are held",
        "start 0; connect 1 ab nothing; watch 1 1; publish b",
        "if not group.missing:",
        "if group.missing >= 0:",
    ),
    Mutant(
        "6 a hole in the feed shows",
        "start 0; connect 0 a nothing; watch 0 1; publish a; lose 0 1 1; watch 0 1",
        "if prev > channel.last and prev > self.proved:",
        "if False:",
    ),
    Mutant(
        "6 no end passes a hole",
        "start 0; connect 1 ab nothing; watch 1 2; publish b; publish b; "
        "lose 1 1 1; publish a",
        "if self.hole and entry.prev is not None:",
        "if False:",
    ),
    Mutant(
        "6 what is behind a reader is told, not filled in",
        "start 0; connect 1 a nothing; watch 1 1; publish a; lose 1 1 1; publish b",
        "channel.lose(number)\n                frame = None",
        "frame = self.encode(entry, self.epoch, number)",
    ),
    Mutant(
        "6 also to a reader whom the log does not reach",
        "start 0; connect 0 a nothing; watch 0 1; transient a; publish a; "
        "transient a; publish b; lose 0 3 1",
        "if after < cursor < upto <= self.floor:",
        "if False:",
    ),
    Mutant(
        "6 a reader is told at the first of two gaps, not at the second",
        "start 0; replace 0; connect 0 ab nothing; watch 0 2; publish b; publish a; "
        "lose 0 1 1; publish a; publish b; replace 0; replace 0; lose 0 1 1; publish b; "
        "replace 0; lose 0 1 1",
        "                return upto\n        return 0",
        "                return self.lost[-1][1]\n        return 0",
    ),
    Mutant(
        "7 a position that the store has is honoured",
        "start 0; publish a; connect 0 a nothing; lose 0 1 1; watch 0 1; "
        "connect 0 a page; answer 0 1",
        "end = max(end, page.end)",
        "pass",
    ),
    Mutant(
        "7 a position that it has not is nowhere",
        "start 0; connect 0 a future",
        "elif position.epoch == log.epoch and position.number <= end:",
        "elif position.epoch == log.epoch:",
    ),
    Mutant(
        "8 a log begins at the end at which it was joined",
        "start 0; connect 0 a page; publish a",
        "channel.hold(self.end)\n            for group",
        "channel.hold(0)\n            for group",
    ),
    Mutant(
        "9 half a frame is followed by its rest",
        "start 0; connect 0 a nothing 1 0; watch 0 1; epoch",
        "self.rest = memoryview(frame)[written:]",
        "self.rest = b''",
    ),
    Mutant(
        "9 the rest is of one frame, and the cursor behind it",
        "start 0; connect 0 a nothing 1 0; grant 0 83; watch 0 1; publish a; watch 0 1",
        "self.rest = memoryview(frame)[written:]\n                    self.cursor = number",
        "self.rest = memoryview(frame)[written:]",
    ),
    Mutant(
        "10 the successor begins where the other ended",
        "start 0; replace 0; lose 0 1 1; connect 0 a page",
        "log.epoch, log.birth, log.end, channels = self",
        "log.epoch, log.birth, log.end, channels = self; log.end += 1",
    ),
    Mutant(
        "10 nobody is replaced whose end is in doubt",
        "start 0; connect 0 ab nothing; watch 0 2; publish b; lose 0 1 1; "
        "connect 0 a nothing; publish a; watch 0 1; replace 0; lose 0 1 1; publish b; "
        "watch 0 1",
        "return self.proved == self.end and not self.hole",
        "return True",
    ),
    Mutant(
        "10 a reader in an older epoch is told of the new one",
        "start 0; connect 1 a nothing; watch 1 1; epoch; connect 1 a nothing 1 0; "
        "lose 1 1 1; replace 1",
        "return cls(log.epoch, log.birth,",
        "return cls(log.epoch, 0,",
    ),
    Mutant(
        "11 the opening has the position that replay starts from",
        "start 0; connect 0 a page; cut 0; publish a; back 0 0",
        "wire.opening(connection_id, names, Position(log.epoch, sub.cursor))",
        "wire.opening(connection_id, names, Position(log.epoch, log.end))",
    ),
    Mutant(
        "12 a gap has the number since which the channel is whole",
        "start 0; connect 0 a page; publish a; elsewhere; elsewhere; elsewhere; "
        "publish a; elsewhere",
        "(since, Gap((name,), reason))\n        for",
        "(reach, Gap((name,), reason))\n        for",
    ),
    Mutant(
        "12 gaps that share a number are one frame",
        "start 0; connect 0 ab page; publish b; trim b 1",
        "gaps = [piece for piece in pieces if isinstance(piece, Gap)]",
        "gaps = [piece for piece in pieces if isinstance(piece, Gap)][:1]",
    ),
    Mutant(
        "12 a new epoch is told",
        "start 0; connect 0 a nothing; watch 0 1; epoch; publish a",
        'self._send_gap(sub, "restarted", log.birth)',
        "sub.cursor = log.birth",
    ),
    Mutant(
        "12 an opening before a gap for all has no position",
        "start 0; connect 0 a garbage",
        "sub.send_first(wire.opening(connection_id, names, None))",
        "sub.send_first(wire.opening(connection_id, names, Position(log.epoch, end)))",
    ),
    Mutant(
        "12 only the store knows what was not told elsewhere",
        "start 600; connect 0 ab page; publish a; watch 0 2; connect 0 a nothing; "
        "publish a; cut 0; back 0 0; publish a; elsewhere; elsewhere; elsewhere; "
        "publish b; trim b 1; elsewhere",
        "if since > max(channel.floor, sub.cursor):",
        "if False:",
    ),
    Mutant(
        "13 idle readers are given newer ids",
        "start 0; connect 1 a nothing; watch 1 1; elsewhere; feed 1 1; cut 0",
        "if group.last_id_number < oldest",
        "if False",
    ),
    Mutant(
        "14 a transient event has the end for its position",
        "start 600; connect 0 a nothing; watch 0 1; publish a; transient a",
        "if frame := self.encode(entry, self.epoch, self.end):",
        "if frame := self.encode(entry, self.epoch, self.end - 1):",
    ),
    Mutant(
        "14 a reader that is behind skips it",
        "start 600; connect 0 ab nothing; watch 0 2; transient a; transient a; "
        "transient a; transient a; publish b; publish b; lose 0 3 2; publish a; "
        "transient b; lose 0 1 1",
        "self._show(channel, (self.end, frame), touched)",
        "self._put(channel, (self.end, frame), touched)",
    ),
    Mutant(
        "a page that does not reach the log is not put before it",
        "start 10000; publish a; publish a; connect 0 a earlier 9; watch 0 1; answer 0 1",
        "if since < channel.floor <= page.reach:",
        "if since < channel.floor:",
    ),
    Mutant(
        "what excludes one reader is sent to the next",
        "start 10000; connect 0 a nothing 1 100000 B; watch 0 1; connect 0 a page; "
        "answer 0 1; connect 0 a page 1 100000 B; answer 0 1; cut 1; cut 1; publish a; "
        "spare A a; feed 0 9; back 0 0; answer 0 3; back 0 0; answer 0 3",
        "type(pieces[0]) is bytes",
        "True",
    ),
    Mutant(
        "what is read once is read for one set",
        "start 10000; publish a; publish b; connect 0 a nothing; connect 0 a earlier 9; "
        "connect 0 ab earlier 9; connect 0 a earlier 9; connect 0 ab earlier 9; watch 0 2; "
        "answer 0 3; answer 0 3; answer 0 3; answer 0 3",
        "if group is not sub.group or epoch != sub.epoch:",
        "if epoch != sub.epoch:",
    ),
    Mutant(
        "6 who is past what is missing is told, though others have read it",
        "start 0; connect 0 ab nothing 1 0 A; connect 0 ab nothing 1 100 B; watch 0 2; "
        "publish a; publish b; lose 0 1 1; publish a; feed 0 9; grant 0 100000; "
        "answer 0 3; grant 1 100000; answer 0 3",
        "if not gaps(proofs, sub.cursor, reach) and (known",
        "if (known",
    ),
    Mutant(
        "replay excludes as well",
        "start 0; spare A a; connect 0 a earlier 2",
        "frame = sub.unless_excluded(self._render(number, pieces))",
        "frame = self._render(number, pieces)",
    ),
    Mutant(
        "the excluded receive nothing while they are live",
        "start 0; connect 0 a nothing; watch 0 1; spare A a",
        "elif isinstance(piece[1], ExcludingFrame):",
        "elif False:",
    ),
    Mutant(
        "who reads gzip is one of those who do",
        "start 0; connect 0 a nothing; connect 0 a nothing 1 100000 A gzip",
        'return "gzip", frozenset(names)',
        "return frozenset(names)",
    ),
    Mutant(
        "what one is told alone is compressed",
        "start 0; connect 0 a nothing 1 100000 A gzip",
        "return gzip.block(data)",
        "return data",
    ),
    Mutant(
        "a rest is not compressed again",
        "start 0; connect 0 a nothing 1 100000 A gzip; watch 0 1; publish a",
        "return frames if self.rest else self.group.pack(frames)",
        "return self.group.pack(frames)",
    ),
    Mutant(
        "9 a block that is out is all of its frames",
        "start 0; connect 0 a nothing 1 100 A gzip; watch 0 1; publish a; publish a; "
        "feed 0 9",
        "size, last = size + len(frame), number",
        "size, last = size + len(frame), last or number",
    ),
    Mutant(
        "9 half a block is followed by its rest",
        "start 0; connect 0 a nothing 1 0 A gzip; grant 0 75; watch 0 1; publish a; "
        "watch 0 1; grant 0 20",
        "self.rest = memoryview(frame)[written:]\n                    self.cursor = number",
        "self.cursor = number",
    ),
    Mutant(
        "13 a block has the number of an event, and of none that follows",
        "start 10000; publish a; elsewhere; elsewhere; "
        "connect 0 a earlier 25 100000 A gzip; watch 0 1; answer 0 3; cut 0",
        "            if frame:\n                data.append(frame)",
        "            if True:\n                data.append(frame)",
    ),
]


def mutated(mutant: Mutant) -> types.ModuleType:
    """The log with one law taken out, as a module of its own."""
    modules = {}
    found = 0
    for part in "channel", "subscription", "replay", "log", "readers", "snapshot":
        name = f"flask_push._delivery.{part}"
        source = inspect.getsource(importlib.import_module(name))
        found += source.count(mutant.old)
        modules[name] = module = types.ModuleType(name)
        module.__package__ = "flask_push._delivery"
        with mock.patch.dict(sys.modules, modules):
            exec(source.replace(mutant.old, mutant.new), module.__dict__)
    assert found == 1, f"the source has {mutant.old!r} {found} times"
    # All that a hub is made of, in one.
    readers = modules["flask_push._delivery.readers"]
    vars(readers)["LogState"] = modules["flask_push._delivery.snapshot"].LogState
    return readers


def tell(story: str, log: types.ModuleType | None) -> None:
    """Play a story: steps of :class:`Laws`, in short. It ends in any case well."""
    laws = type("Mutated", (Laws,), {"log": log})()
    steps: dict[str, t.Callable[..., object]] = {
        "connect": lambda hub, names, came_by, back=1, room=ALL, name="A", gzip="": (
            laws.connect(hub, set(names), came_by, back, room, name, gzip == "gzip")
        ),
        "back": lambda hub, index: laws.come_back(hub, index, ALL),
        "publish": lambda channel: laws.publish(channel, 1),
        "spare": lambda name, channel: laws.publish(channel, 1, name),
        "transient": laws.publish_transient,
        "elsewhere": laws.publish_elsewhere,
        "epoch": laws.new_epoch,
        "lose": laws.feed_loses,
    }
    for step in story.split("; "):
        verb, *words = step.split()
        args = [int(word) if word.isdigit() else word for word in words]
        steps.get(verb, getattr(laws, verb, None))(*args)  # type: ignore[misc]
    laws.teardown()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.law))
def test_each_law_taken_out_is_missed(mutant: Mutant) -> None:
    tell(mutant.story, None)
    log = mutated(mutant)
    with pytest.raises(AssertionError):
        tell(mutant.story, log)


@pytest.mark.parametrize("most", [1, 2])
def test_a_channel_that_lost_something_many_times_tells_each_reader(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above a number of times the ends of the gaps are forgotten."""
    monkeypatch.setattr("flask_push._delivery.channel.MOST_LOST", most)
    story = "start 0; replace 0; connect 0 ab nothing; watch 0 2"
    for _ in range(3):
        story += "; publish b; publish a; lose 0 1 1; publish a; publish b; replace 0"
    tell(f"{story}; replace 0; lose 0 1 1", None)


def test_ranges_of_what_was_lost_are_kept_over_a_take_over() -> None:
    before, after, older = (Channel[t.Any](name) for name in "abc")
    for number in range(10, 10 * MOST_LOST + 20, 10):
        before.lose(number)
        before.last = number
    assert len(before.lost) == MOST_LOST and before.blurred == 20
    for channel in before, after, older:
        channel.floor = 1000
    after.restore_lost(json.loads(json.dumps(before.lost)))
    assert (after.lost, after.blurred) == (before.lost, before.blurred)
    assert [after.is_blurred(cursor) for cursor in (0, 5, 15, 20)] == [
        False,
        True,
        True,
        False,
    ]
    assert [after.lost_until(cursor) for cursor in (20, 25, 35, 95)] == [0, 30, 40, 0]
    # One range of an older version may be several in one.
    older.restore_lost([10, 30])
    assert [older.is_blurred(cursor) for cursor in (10, 15, 30)] == [False, True, False]
    older.restore_lost([0, 0])
    assert older.lost == () and not older.is_blurred(5)


def test_a_hub_that_filled_a_hole_may_tell_a_gap_where_the_store_forgot() -> None:
    """The store names what it forgot of another channel as the predecessor."""
    tell(
        "start 0; replace 0; publish a; trim a 1; publish a; replace 0;"
        " connect 0 a nothing; publish b; trim b 1; cut 0; connect 0 a nothing;"
        " watch 0 1; fill 1; trim a 1; publish a; connect 0 a nothing",
        None,
    )


@pytest.mark.parametrize("max_bytes", [0, 10_000])
def test_what_many_have_missed_is_made_once(
    max_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, event = Counter[int](), wire.event

    def count(entry: Entry, epoch: str, number: int, limit: int) -> bytes:
        made[number] += 1
        return event(entry, epoch, number, limit)

    monkeypatch.setattr(wire, "event", count)

    log = Log(report=fail, max_bytes=max_bytes)
    readers = Readers(log, lambda: 0.5)
    log.turn("e", (), 3)
    entries = [Entry(number, number - 1, "a", "message", b"x") for number in (1, 2, 3)]
    page = Page("e", 0, 3, 3, entries, {"a": Proof(0)})
    three = [Subscription() for _ in range(3)]
    for reader in three:
        readers.join(reader, ["a"])
    log.hold(["a"])
    read = []
    for reader in three:
        assert readers.begin(reader, "r", Position("e", 0), page)
        reader.advance_all(readers.read(reader, 1000, page) or [])
        read.append(readers.read(reader, 1000, page))
    assert read[0] and read[0] == read[1] == read[2]
    assert made == {1: 1, 2: 1, 3: 1}


def test_a_log_forgets_the_order_of_what_it_has_forgotten() -> None:
    log = Log(report=fail, max_bytes=3000)
    readers = Readers(log, lambda: 0.5)
    log.turn("e", (), 0)
    for name in "xyz":
        readers.join(Subscription(), [name])
    log.hold("xyz")

    def publish(channel: str) -> None:
        number = log.end + 1
        log.turn("e", [Entry(number, log.end, channel, "message", b"x")], number)

    for name in "xyzxyz":
        publish(name)
    for n in range(1000):
        comes = Subscription()
        readers.join(comes, [f"c{n}"])
        log.hold([f"c{n}"])
        publish(f"c{n}")
        readers.leave(comes)
        assert len(log.budget._order) <= 2 * len(log.budget) + 64
    # What is left is in the order of its age still.
    assert [len(log.channels[name]) for name in "xyz"] == [2, 2, 2]
    readers.join(Subscription(), ["new"])
    log.hold(["new"])
    while len(log.budget) == 6 + len(log.channels["new"]):
        publish("new")
    publish("new")
    publish("new")
    assert [len(log.channels[name]) for name in "xyz"] == [1, 1, 1]
    assert log.budget._size <= 3000


def test_of_what_many_have_missed_little_is_kept_if_it_is_long() -> None:
    log = Log(report=fail, max_bytes=0)
    readers = Readers(log, lambda: 0.5)
    log.turn("e", (), 20)
    reader, other = Subscription(), Subscription()
    readers.join(reader, ["a"])
    readers.join(other, ["a"])
    log.hold(["a"])
    proofs = {"a": Proof(0)}
    for number in range(1, 20):
        entries = [Entry(number, number - 1, "a", "message", bytes(1_000_000))]
        page = Page("e", number - 1, number, 20, entries, proofs)
        position = Position("e", number - 1)
        assert readers.begin(reader, "r", position, page)
        reader.advance_all(readers.read(reader, 1000, page) or [])
        assert readers.read(reader, 1000, page) == readers.read(reader, 1000, page)
    kept = [*readers._runs._runs, *readers._runs._long]
    assert sum(len(frame) for run in kept for _, frame in run.frames) < 1_100_000


def test_a_successor_may_tell_of_what_was_forgotten_before_it_came() -> None:
    """It knows no predecessor of what its feed begins with, and tells too much."""
    story = "start 0; connect 0 abc nothing; watch 0 3; publish a; " + "elsewhere; " * 3
    tell(story + "publish b; publish a; elsewhere; replace 0", None)


def test_who_was_here_may_be_told_of_what_was_forgotten_on_another_channel() -> None:
    """That the store has forgotten up to there, a hub can't tell from an event lost."""
    story = "start 600; connect 1 ab nothing; watch 1 2; publish a; trim a 1; publish b"
    tell(story, None)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.law))
def test_each_law_taken_out_is_missed_without_a_story(mutant: Mutant) -> None:
    with pytest.raises(AssertionError):
        hold(mutated(mutant), examples=30_000)
