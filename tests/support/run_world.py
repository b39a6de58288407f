"""Every interleaving of processes that concern one run, on a store that may not say whether
it has stored, and may lose what it stored last.

Two processes write it, one of them because the task was delivered again. One process stops
the run; and one takes it for lost, by a record that it has read before.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

from flask_push._delivery import run_record
from flask_push._delivery.run_holder import Holder
from flask_push._delivery.run_holder import Look
from flask_push._delivery.run_record import Record
from flask_push._delivery.run_record import Refusal
from flask_push._delivery.run_record import Transition
from flask_push._delivery.run_rows import Change
from flask_push._delivery.run_rows import expects
from flask_push._delivery.run_rows import NOW
from flask_push._delivery.run_rows import RUN
from flask_push._delivery.run_rows import STATUS
from flask_push._event import ItemRow
from flask_push._event import Position

CHANNEL, WRITES = "a", 2


class Conflict(Exception):
    pass


class Store(t.NamedTuple):
    """The rows of the run, in the order of numbers."""

    rows: tuple[ItemRow, ...] = ()
    last: int = 0
    #: The same, with those that newer ones have replaced.
    log: tuple[ItemRow, ...] = ()

    def find(self, items: cabc.Collection[str]) -> list[ItemRow]:
        return [row for row in self.rows if row.item in items]

    @property
    def record(self) -> Record:
        (row,) = self.find([NOW])
        return Record.read(row.data, row.version, row.position)

    def change(self, changes: cabc.Sequence[Change]) -> tuple[Store, list[str]]:
        """Make the changes that concern the run. Returns the ids, too."""
        changes = [change for change in changes if change.kind == RUN]
        for change in changes:
            found = [str(row.position) for row in self.find([change.item])]
            if change.expect is not None and [change.expect] != (found or [""]):
                raise Conflict
        rows, last, ids = list(self.rows), self.last, []
        for change in changes:
            if change.due:
                ids.append("")
                continue
            assert change.data is not None
            last += 1
            position = Position("epoch", last)
            about = change.item, change.type, change.data.encode(), change.version
            rows = [row for row in rows if row.item != change.item]
            rows.append(ItemRow(position, CHANNEL, *about, change.owner))
            ids.append(str(position))
        new = tuple(row for row in rows if row.number > self.last)
        return Store(tuple(rows), last, self.log + new), ids


class Process(t.NamedTuple):
    #: ``new``, ``writing``, ``dead``, or how its last call ended.
    state: str = "new"
    holder: Holder | None = None
    #: The events of which a call has returned.
    acked: tuple[str, ...] = ()


class World(t.NamedTuple):
    store: Store
    #: As it was before the last transaction.
    before: Store
    p: Process = Process()
    q: Process = Process()
    #: The store's last number when the run had been stopped.
    stopped: int = 0
    #: The record that the process has read which takes the run for lost.
    seen: Record | None = None
    judged: bool = False
    #: How often the store may not answer, and may lose a transaction.
    unsure: int = 2
    failovers: int = 0
    failed: bool = False


class Rules:
    """How processes behave. Mutants break one rule each."""

    def enter(self, record: Record, name: str) -> Transition | Refusal:
        return run_record.enter(CHANNEL, record, 1, name)

    def write(self, holder: Holder, text: str) -> list[Change]:
        return holder.write([text])

    def end(self, holder: Holder) -> Transition | None:
        return holder.end("done")

    def look(self, holder: Holder, rows: list[ItemRow]) -> tuple[Look, str]:
        return holder.look(rows)

    def lose(self, seen: Record, now: Record) -> Transition | None:
        return run_record.end(CHANNEL, seen, "lost")


def begin(unsure: int, failovers: int) -> World:
    made = run_record.make(CHANNEL, None, "id", "key", 600)
    assert isinstance(made, Transition)
    store, _ = Store().change(made.changes)
    return World(store, store, unsure=unsure, failovers=failovers)


def _stored(record: Record, id: str) -> Record:
    return record._replace(position=Position.parse(id))


def steps(world: World, rules: Rules) -> cabc.Iterator[World]:
    """Each next world."""
    for name in "pq":
        yield from _act(world, name, rules)
    record = world.store.record
    if not world.stopped and (stopping := run_record.stop(CHANNEL, record)):
        after = _commit(world, stopping.changes)[0]
        yield after._replace(stopped=after.store.last)
    if world.seen is None and record.is_active:
        yield world._replace(seen=record)
    elif world.seen is not None and not world.judged:
        after = world
        if ending := rules.lose(world.seen, record):
            try:
                after, _ = _commit(world, ending.changes)
            except Conflict:
                pass
        yield after._replace(judged=True)
    if world.failovers:
        # Numbers are of the time, so none is given again.
        store = world.before._replace(last=world.store.last)
        lost = world._replace(store=store, before=store, failed=True)
        yield lost._replace(failovers=world.failovers - 1)


def _commit(world: World, changes: cabc.Sequence[Change]) -> tuple[World, list[str]]:
    store, ids = world.store.change(changes)
    return world._replace(store=store, before=world.store), ids


def _act(world: World, name: str, rules: Rules) -> cabc.Iterator[World]:
    me: Process = getattr(world, name)

    def put(world: World, **fields: t.Any) -> World:
        return world._replace(**{name: getattr(world, name)._replace(**fields)})

    if me.state == "new":
        entering = rules.enter(world.store.record, name)
        if isinstance(entering, Refusal):
            yield put(world, state=entering.value)
            return
        after, ids = _commit(world, entering.changes)
        record = _stored(entering.record, ids[0])
        holder = Holder(CHANNEL, record, entering.event, ids[1])
        yield put(after, state="writing", holder=holder)
    elif me.state == "writing":
        yield put(world, state="dead")
        assert me.holder is not None
        if me.holder.stored == WRITES:
            yield from _end(world, me.holder, put, rules)
        else:
            yield from _write(world, name, me.holder, put, rules)


_Put = cabc.Callable[..., World]


def _write(
    world: World, name: str, holder: Holder, put: _Put, rules: Rules
) -> cabc.Iterator[World]:
    me: Process = getattr(world, name)
    text = f"{name}{holder.record.attempt}{holder.stored}"

    def acked(world: World, id: str) -> World:
        return put(world, holder=holder.written(id, 1), acked=(*me.acked, text))

    try:
        after, ids = _commit(world, rules.write(holder, text))
    except Conflict:
        look, id = rules.look(holder, world.store.find(holder.wanted))
        if look is Look.STORED:
            yield acked(world, id)
        elif look is Look.AGAIN:
            yield put(world, state="dead")  # It would conflict for ever.
        elif look is Look.TORN:
            ending = run_record.end(CHANNEL, holder.record, "lost")
            assert ending is not None
            yield put(_commit(world, ending.changes)[0], state="torn")
        else:
            yield from _over(world, name, put)
        return
    yield acked(after, ids[-1])
    if world.unsure:
        yield after._replace(unsure=world.unsure - 1)


def _over(world: World, name: str, put: _Put) -> cabc.Iterator[World]:
    """The record has changed. If the run is stopping, its own block ends it."""
    record = world.store.record
    if record.status == "stopping" and record.process == name:
        ending = run_record.end(CHANNEL, record, "failed")
        assert ending is not None
        world, _ = _commit(world, ending.changes)
    yield put(world, state="over")


def _end(world: World, holder: Holder, put: _Put, rules: Rules) -> cabc.Iterator[World]:
    ending = rules.end(holder)
    assert ending is not None
    try:
        after, _ = _commit(world, ending.changes)
    except Conflict:
        record = world.store.record
        if record.id == holder.record.id:
            torn = run_record.end(CHANNEL, record, "lost")
            assert torn is not None
            yield put(_commit(world, torn.changes)[0], state="torn")
        elif (record.tag, record.status) == (holder.record.tag, "done"):
            yield put(world, state="done")
        else:
            yield from _over(world, holder.record.process, put)
        return
    yield put(after, state="done")
    if world.unsure:
        yield after._replace(unsure=world.unsure - 1)


def wrong(world: World) -> str:
    """What is wrong with a world. Empty if nothing is."""
    over, ends, running = False, 0, 0
    texts: list[str] = []
    for row in world.store.log:
        text = row.data.decode().partition("\n")[2]
        if row.type == STATUS:
            status = next(s for s in _STATUSES if f'"status":"{s}"' in row.data.decode())
            if status == "running":
                if running and not over:
                    return "two holders at once"
                over, ends, running, texts = False, 0, running + 1, []
            elif status not in run_record.ACTIVE:
                ends += 1
                over = True
                if ends > 1:
                    return "two ends"
                if status == "done" and len(texts) != WRITES:
                    return "done, and not whole"
        elif row.item != NOW:
            if over:
                return "written behind the end"
            if not world.failed and 0 < world.stopped < row.number and running < 2:
                return "written after it was stopped"
            if text in texts:
                return "stored twice"
            texts.append(text)
            if texts != sorted(texts):
                return "out of order"
    return _wrong_calls(world, texts)


_STATUSES = ("queued", "running", "stopping", "done", "failed", "stopped", "lost")


def _wrong_calls(world: World, texts: list[str]) -> str:
    if world.failed:
        return ""
    stored = [row.data.decode().partition("\n")[2] for row in world.store.rows]
    for name in "pq":
        me: Process = getattr(world, name)
        if not set(me.acked) <= set(stored):
            return "acknowledged, and not there"
        if me.state == "over" and me.holder is not None:
            mine = f"{name}{me.holder.record.attempt}{me.holder.stored}"
            record = world.store.record
            if record.status == "running" and record.id == me.holder.record.id:
                return "it takes the run for over, and it is not"
            if mine in stored and record.status == "running":
                return "its own word is stored, and it takes the run for over"
    return ""


def search(rules: Rules, unsure: int = 2, failovers: int = 0) -> tuple[str, int]:
    """What is found wrong in any world, and how many there are."""
    first = begin(unsure, failovers)
    seen, todo = {first}, [first]
    while todo:
        world = todo.pop()
        if found := wrong(world):
            return found, len(seen)
        for each in steps(world, rules):
            if each not in seen:
                seen.add(each)
                todo.append(each)
    return "", len(seen)


# Mutants.


class NoRecord(Rules):
    def write(self, holder: Holder, text: str) -> list[Change]:
        return [each for each in holder.write([text]) if each.item != NOW]


class NoPlace(Rules):
    def write(self, holder: Holder, text: str) -> list[Change]:
        *fence, row = holder.write([text])
        return [*fence, row._replace(expect=None)]


class NoLast(Rules):
    def write(self, holder: Holder, text: str) -> list[Change]:
        return [expects(CHANNEL, NOW, holder.record.id), holder.write([text])[-1]]

    def end(self, holder: Holder) -> Transition | None:
        return run_record.end(CHANNEL, holder.record, "done")


class NoLook(Rules):
    def look(self, holder: Holder, rows: list[ItemRow]) -> tuple[Look, str]:
        return Look.OVER, ""


class NoId(Rules):
    """Takes the run for lost that is there, and not the one that was seen."""

    def lose(self, seen: Record, now: Record) -> Transition | None:
        ending = run_record.end(CHANNEL, seen, "lost")
        assert ending is not None
        changes = [change._replace(expect=None) for change in ending.changes]
        return ending._replace(changes=changes)


class EntersWhatRuns(Rules):
    def enter(self, record: Record, name: str) -> Transition | Refusal:
        if record.status == "running":
            record = record._replace(status="queued")
        return run_record.enter(CHANNEL, record, 1, name)
