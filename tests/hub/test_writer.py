"""The thread of a hub that writes to the store."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import contextlib
import linecache
import logging
import sys
import threading
import typing as t
from pathlib import Path

import pytest
from support import coroutines
from support.each_store import url as url
from support.redises import Redis
from support.without_linux.real import descriptor_numbers

from flask_push import Event
from flask_push import NotPublished
from flask_push import Position
from flask_push._hub import writer as hub_writer
from flask_push._hub.writer import Answer
from flask_push._hub.writer import MAX_CHANGES
from flask_push._hub.writer import Writer
from flask_push._system import unpatched
from flask_push.brokers import Conflict
from flask_push.brokers import ItemChange
from flask_push.brokers import KeepsItems
from flask_push.brokers import NotRead
from flask_push.brokers import open_broker
from flask_push.brokers.memory import MemoryBroker
from flask_push.brokers.redis import RedisBroker
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.testing._sink import until


class Items:
    """Wants the channel a to have these items and no others."""

    goes_on = True

    def __init__(self, *items: str) -> None:
        self.items = set(items)
        self.answers: list[Answer] = []

    def missing(self, broker: KeepsItems) -> list[ItemChange]:
        found = {row.item for row in broker.read_items(["a"], limit=2**30).rows}
        more = [ItemChange("a", item, None) for item in sorted(found - self.items)]
        more += [ItemChange("a", item, "x") for item in sorted(self.items - found)]
        return more[:MAX_CHANGES]

    def answered(self, answer: Answer) -> None:
        self.answers.append(answer)

    @property
    def is_there(self) -> bool:
        return bool(self.answers) and not self.answers[-1].goes_on


def items(broker: KeepsItems) -> set[str]:
    return {row.item for row in broker.read_items(["a"], limit=2**30).rows}


def threads() -> int:
    return [thread.name for thread in threading.enumerate()].count("flask-push")


def call(answered: cabc.Callable[..., None], *args: t.Any) -> None:
    answered(*args)


Test = cabc.Callable[[Writer], cabc.Awaitable[None]]


def run(broker: t.Any, test: Test) -> None:
    async def main() -> None:
        writer = Writer(broker, asyncio.get_running_loop(), call)
        try:
            await asyncio.wait_for(test(writer), 30)
        finally:
            writer.close()
        assert threads() == 0

    coroutines.run(main())


@pytest.fixture
def broker(url: str) -> cabc.Iterator[t.Any]:
    with contextlib.closing(open_broker(url)) as broker:
        yield broker


def test_changes_are_stored_again_when_they_are_missing_again(broker: t.Any) -> None:
    async def test(writer: Writer) -> None:
        wanted = Items("i", "j")
        writer.want(wanted)
        await until(lambda: wanted.is_there)
        assert items(broker) == {"i", "j"}
        (answer,) = wanted.answers
        assert [change.item for change in answer.changes] == ["i", "j"]
        assert answer.positions == sorted(answer.positions) and answer.error is None
        broker.change([ItemChange("a", "i", None)])
        wanted.answers.clear()
        wanted.items = {"i", "k"}
        writer.want(wanted)
        await until(lambda: wanted.is_there)
        assert items(broker) == {"i", "k"}
        # There is nothing to store.
        wanted.answers.clear()
        writer.want(wanted)
        await until(lambda: wanted.is_there)
        assert wanted.answers == [Answer([], [], None, False)]

    run(broker, test)


def test_a_writer_that_nothing_is_wanted_of_has_no_thread() -> None:
    async def test(writer: Writer) -> None:
        assert threads() == 0 and repr(writer) == "<Writer not started, 0 wanted>"
        writer.want(wanted := Items("i"))
        assert threads() == 1
        await until(lambda: wanted.is_there)
        await until(lambda: repr(writer) == "<Writer busy=False, 0 wanted>")

    run(MemoryBroker(), test)


class Counting(MemoryBroker):
    """Notes the changes of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[tuple[str, bool]]] = []

    def change(self, changes: cabc.Sequence[Event | ItemChange]) -> list[Position]:
        each = [change for change in changes if isinstance(change, ItemChange)]
        self.calls.append([(change.item, change.data is not None) for change in each])
        return super().change(changes)


def test_sets_come_before_unsets() -> None:
    broker = Counting()
    broker.change([ItemChange("a", "old", "x"), ItemChange("a", "older", "x")])
    broker.calls.clear()

    async def test(writer: Writer) -> None:
        writer.want(wanted := Items("new", "newer"))
        await until(lambda: wanted.is_there)
        (call,) = broker.calls
        is_set = [("new", True), ("newer", True)]
        assert call == [*is_set, ("old", False), ("older", False)]

    run(broker, test)


def test_many_changes_are_stored_in_batches_without_a_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_writer, "_PAUSE_SECONDS", 3600)
    broker = Counting()

    async def test(writer: Writer) -> None:
        wanted = Items(*(f"i{n}" for n in range(2 * MAX_CHANGES + 1)))
        writer.want(wanted)
        await until(lambda: wanted.is_there)
        assert list(map(len, broker.calls)) == [MAX_CHANGES, MAX_CHANGES, 1]
        assert [answer.goes_on for answer in wanted.answers] == [True, True, False]
        assert items(broker) == wanted.items

    run(broker, test)


class Repeating(Items):
    """Wants changes that the store has already."""

    def missing(self, broker: KeepsItems) -> list[ItemChange]:
        return [ItemChange("a", f"{n}", None) for n in range(MAX_CHANGES)]


def test_a_batch_of_which_nothing_is_stored_is_the_last() -> None:
    async def test(writer: Writer) -> None:
        writer.want(wanted := Repeating())
        await until(lambda: wanted.answers)
        assert wanted.is_there

    run(MemoryBroker(), test)


class Gate(Counting):
    """Its calls wait until the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.inside = threading.Event(), threading.Event()

    def change(self, changes: cabc.Sequence[Event | ItemChange]) -> list[Position]:
        self.inside.set()
        assert self.open.wait(20)
        return super().change(changes)


def test_changes_that_are_wanted_during_a_batch_are_not_lost() -> None:
    broker = Gate()

    async def test(writer: Writer) -> None:
        writer.want(wanted := Items("i"))
        await until(broker.inside.is_set)
        assert writer.busy
        wanted.items = {"j"}
        writer.want(wanted)
        broker.open.set()
        await until(lambda: len(wanted.answers) == 2)
        assert items(broker) == {"j"}

    run(broker, test)


def test_two_wanted_things_take_turns() -> None:
    broker = Gate()

    class Others(Items):
        def missing(self, broker: KeepsItems) -> list[ItemChange]:
            if self.answers:
                return []
            return [ItemChange("b", "i", "x")]

    async def test(writer: Writer) -> None:
        first = Items(*(f"i{n}" for n in range(3 * MAX_CHANGES)))
        second = Others()
        writer.want(first)
        await until(broker.inside.is_set)
        writer.want(second)
        broker.open.set()
        await until(lambda: first.is_there and second.is_there)
        sizes = [MAX_CHANGES, 1, MAX_CHANGES, MAX_CHANGES]
        assert list(map(len, broker.calls)) == sizes

    run(broker, test)


class Expecting(Items):
    """Its first change expects a row that does not exist, and conflicts. The next ones
    expect that there is no row."""

    expect = "1-1"

    def missing(self, broker: KeepsItems) -> list[ItemChange]:
        return [ItemChange("a", "i", "x", expect=self.expect)] * (not self.is_there)

    def answered(self, answer: Answer) -> None:
        super().answered(answer)
        self.expect = ""


def test_a_conflict_is_answered(broker: t.Any) -> None:
    async def test(writer: Writer) -> None:
        writer.want(wanted := Expecting())
        await until(lambda: wanted.is_there)
        first, *_, last = wanted.answers
        assert isinstance(first.error, Conflict) and first.goes_on
        assert not first.positions and len(first.changes) == 1
        assert last.error is None and items(broker) == {"i"}

    run(broker, test)


def test_a_conflict_is_no_failure_of_the_store(caplog: pytest.LogCaptureFixture) -> None:
    async def test(writer: Writer) -> None:
        # Without its thread.
        assert writer._bring_about(Expecting(), MemoryBroker(), 4.0) == 0.25

    run(MemoryBroker(), test)
    assert not caplog.records


class Asking(Items):
    """The hub asks again, because the next changes depend on the answer."""

    goes_on = False

    def missing(self, broker: KeepsItems) -> list[ItemChange]:
        if len(self.answers) == 2:
            raise NotRead("away")
        return super().missing(broker)


def test_the_hub_asks_again_if_the_next_changes_depend_on_the_answer() -> None:
    async def test(writer: Writer) -> None:
        wanted = Asking(*map(str, range(MAX_CHANGES + 9)))
        for count in 1, 2, 3:
            writer.want(wanted)
            await until(lambda: len(wanted.answers) == count)  # noqa: B023
            assert not wanted.answers[-1].goes_on and not writer._wanted
        counts = [len(answer.positions) for answer in wanted.answers]
        assert counts == [MAX_CHANGES, 9, 0]
        assert isinstance(wanted.answers[2].error, NotRead)

    run(MemoryBroker(), test)


def test_a_store_that_is_away_for_a_while_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Redis.started(tmp_path) as redis:
        broker = RedisBroker(redis.url, timeout=0.2)
        redis.kill()

        async def test(writer: Writer) -> None:
            writer.want(wanted := Items("i"))
            await until(lambda: len(wanted.answers) >= 3)
            assert all(isinstance(each.error, NotRead) for each in wanted.answers)
            redis.start()
            await until(lambda: wanted.is_there)
            assert items(broker) == {"i"}

        run(broker, test)
        broker.close()
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(
        "Could not change items in the store; the hub tries again: Redis can't"
    )


class Away(MemoryBroker):
    """Its next calls fail, as many as a test wants."""

    failures = 0

    def change(self, changes: cabc.Sequence[Event | ItemChange]) -> list[Position]:
        if self.failures:
            self.failures -= 1
            raise NotPublished("away")
        return super().change(changes)


def test_the_pauses_grow_while_the_store_fails() -> None:
    broker = Away()

    async def test(writer: Writer) -> None:
        def pauses(item: str, pause: float, failures: int) -> list[float]:
            broker.failures, found = failures, []
            for _ in range(failures + 1):
                pause = writer._bring_about(Items(item), broker, pause)
                found.append(pause)
            return found

        # Without its thread.
        assert pauses("i", 0.0, 7) == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 0.25]
        assert pauses("j", 0.25, 1) == [0.5, 0.25]

    run(broker, test)


class Broken(Items):
    def missing(self, broker: KeepsItems) -> list[ItemChange]:
        if not self.answers:
            raise ZeroDivisionError("a mistake")
        return super().missing(broker)


def test_any_exception_is_answered_and_the_thread_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test(writer: Writer) -> None:
        writer.want(wanted := Broken("i"))
        await until(lambda: wanted.is_there)
        assert isinstance(wanted.answers[0].error, ZeroDivisionError)

    run(MemoryBroker(), test)
    assert (
        "Could not change items in the store; the hub tries again: a mistake" in caplog.text
    )


def test_an_answer_that_fails_is_handled_by_the_guard() -> None:
    class Failing(Items):
        def answered(self, answer: Answer) -> None:
            raise ZeroDivisionError("a mistake")

    async def main() -> None:
        found: list[Exception] = []

        def guard(answered: cabc.Callable[..., None], *args: t.Any) -> None:
            try:
                answered(*args)
            except ZeroDivisionError as error:
                found.append(error)

        writer = Writer(MemoryBroker(), asyncio.get_running_loop(), guard)
        writer.want(Failing("i"))
        await until(lambda: found)
        writer.close()

    coroutines.run(main())


def test_a_thread_that_can_not_be_started_is_started_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, failures = unpatched.start_thread, [RuntimeError("can't start new thread")] * 2

    def start(target: cabc.Callable[[], None]) -> unpatched.Thread:
        if failures:
            raise failures.pop()
        return real(target)

    monkeypatch.setattr(unpatched, "start_thread", start)
    monkeypatch.setattr(hub_writer, "_MAX_PAUSE_SECONDS", 0.01)

    async def test(writer: Writer) -> None:
        writer.want(wanted := Items("i"))
        await until(lambda: wanted.is_there)
        assert not failures

    run(MemoryBroker(), test)
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "Could not start the thread" in record.getMessage()


def test_closing_waits_for_the_batch_and_nothing_is_answered_later() -> None:
    broker = Gate()

    async def test(writer: Writer) -> None:
        writer.want(wanted := Items("i"))
        await until(broker.inside.is_set)
        opening = threading.Timer(0.1, broker.open.set)
        opening.start()
        writer.close()
        assert threads() == 0 and not writer.busy
        assert items(broker) == {"i"}
        # Because the writer closed, it is the last one.
        writer.want(wanted)
        writer.close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert wanted.answers == [] and threads() == 0
        opening.join()

    run(broker, test)


def waits_for_work() -> bool:
    """Whether the thread waits until something is wanted."""
    frames = [
        sys._current_frames()[thread.ident or 0]
        for thread in threading.enumerate()
        if thread.name == "flask-push"
    ]
    lines = [linecache.getline(f.f_code.co_filename, f.f_lineno).strip() for f in frames]
    return lines == ["self._work.acquire()"]


def test_closing_ends_a_thread_that_waits_for_work() -> None:
    async def test(writer: Writer) -> None:
        writer.want(wanted := Items("i"))
        await until(waits_for_work)
        assert wanted.is_there

    run(MemoryBroker(), test)


def test_closing_does_not_wait_for_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_writer, "_PAUSE_SECONDS", 3600)
    monkeypatch.setattr(hub_writer, "_MAX_PAUSE_SECONDS", 3600)
    # The test would wait for so long.
    monkeypatch.setattr(hub_writer, "_END_SECONDS", 3600)
    broker = Away()
    broker.failures = 1

    async def test(writer: Writer) -> None:
        writer.want(wanted := Items("i"))
        await until(lambda: wanted.answers)

    run(broker, test)
    assert items(broker) == set()


def test_a_call_that_hangs_does_not_keep_a_hub_from_ending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_writer, "_END_SECONDS", 0.01)
    broker = Gate()

    async def main() -> None:
        writer = Writer(broker, asyncio.get_running_loop(), call)
        writer.want(Items("i"))
        await until(broker.inside.is_set)
        writer.close()
        assert threads() == 1

    coroutines.run(main())
    # The call returns after the loop has ended, so its answer is dropped.
    broker.open.set()


def test_the_thread_closes_its_connections(tmp_path: Path) -> None:
    broker = SqliteBroker(tmp_path / "push.db")
    before = descriptor_numbers()

    async def test(writer: Writer) -> None:
        writer.want(wanted := Items("i"))
        await until(lambda: wanted.is_there)

    run(broker, test)
    assert descriptor_numbers() == before


def test_a_broker_that_keeps_no_items_stores_nothing() -> None:
    async def test(writer: Writer) -> None:
        writer.want(Items("i"))
        assert threads() == 0

    run(object(), test)
