"""The positions that a process knows: from its hubs, its calls, or from the store."""

from __future__ import annotations

import logging
import os
import signal
import threading
import typing as t
from types import SimpleNamespace

import pytest

from flask_push import NotRead
from flask_push import Position
from flask_push._app_publisher import AppPublisher
from flask_push._config import Config
from flask_push._delivery.stream import Stream
from flask_push._ipc.client import Client
from flask_push._known_positions import KnownPositions
from flask_push._known_positions import UNKNOWN
from flask_push.brokers import Page
from flask_push.brokers.memory import MemoryBroker

STREAM = Stream(("a",), "connection")


class Hubs:
    """A door whose hubs have these positions."""

    def __init__(self, *found: Position) -> None:
        self.found = list(found)

    def positions(self, stream: Stream | None = None) -> list[Position]:
        return [*self.found]

    def adopt(self, stream: Stream, client: Client) -> None: ...

    def token(self, stream: Stream) -> str:
        return ""

    def answers(self, until: float) -> str | None:
        return None

    def stop(self) -> None: ...

    def here(self) -> None: ...


class Store(MemoryBroker):
    """Counts how often it is read, and fails at will."""

    reads = 0
    error: Exception | None = None

    def read(self, *args: t.Any, **more: t.Any) -> Page:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return super().read(*args, **more)


class Process:
    def __init__(self, *found: Position) -> None:
        self.hubs, self.store = Hubs(*found), Store()
        self.publisher = AppPublisher(self.store, Config(), str)
        self.known = KnownPositions(self.hubs, self.publisher)

    def seen(self) -> str:
        return self.known.seen(self.known.now(), STREAM)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> t.Callable[[float], None]:
    """Sets the clock forward."""
    now = [1000.0]
    fake = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("flask_push._known_positions.time", fake)

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


Forward = t.Callable[[float], None]


def test_a_process_that_knows_nothing_asks_the_store_once(clock: Forward) -> None:
    process = Process()
    position = Position.parse(process.seen())
    assert position.epoch and process.store.reads == 1
    clock(50)
    assert Position.parse(process.seen()) == position and process.store.reads == 1


def test_without_a_hub_that_writes_the_store_is_asked_again(clock: Forward) -> None:
    """Else its position would become older than the disconnects that hubs keep."""
    process = Process()
    before = Position.parse(process.seen())
    other = AppPublisher(process.store, Config(), str)
    other.publish("a", "x")
    assert Position.parse(process.seen()) == before
    clock(60)
    assert process.seen() == str(other.known) and process.store.reads == 2


def test_a_process_that_knows_the_position_of_a_hub_asks_no_store(clock: Forward) -> None:
    process = Process(Position("aaaaa", 7))
    for _ in range(3):
        assert process.seen() == str(Position("aaaaa", 7))
        clock(100)
    assert process.store.reads == 0


def test_a_store_that_can_not_be_read_is_asked_ever_more_rarely(
    clock: Forward, caplog: pytest.LogCaptureFixture
) -> None:
    process = Process()
    process.store.error = NotRead("it is away")
    with caplog.at_level(logging.WARNING):
        for wait in 1, 2, 4, 8, 16, 32, 60, 60:
            reads = process.store.reads
            assert process.seen() == process.seen() == UNKNOWN
            assert process.store.reads == reads + 1, "the next request does not wait"
            clock(wait - 0.01)
            assert process.seen() == UNKNOWN and process.store.reads == reads + 1
            clock(0.02)
    assert "Could not read the store's position" in caplog.text and "away" in caplog.text
    assert Position.parse(UNKNOWN).epoch == ""
    process.store.error = None
    assert Position.parse(process.seen()).epoch
    clock(59)
    process.seen()
    assert process.store.reads == reads + 2


def test_a_hub_that_begins_to_write_ends_the_wait_for_the_store(clock: Forward) -> None:
    process = Process()
    process.store.error = NotRead("it is away")
    assert process.seen() == UNKNOWN
    process.hubs.found = [Position("aaaaa", 7)]
    assert process.seen() == str(Position("aaaaa", 7))


def test_the_greatest_position_of_all_counts() -> None:
    process = Process(Position("aaaaa", 7), Position("aaaaa", 9), Position("aaaaa", 8))
    assert process.seen() == str(Position("aaaaa", 9))
    process.publisher.known = Position("aaaaa", 12)
    assert process.seen() == str(Position("aaaaa", 12))
    process.publisher.known = Position("aaaaa", 5)
    assert process.seen() == str(Position("aaaaa", 9))


def test_of_several_epochs_that_of_the_streams_hub_is_taken() -> None:
    """A hub that has ended leaves a file with its last position, of another epoch."""
    process = Process(Position("bbbbb", 3), Position("aaaaa", 9), Position("bbbbb", 4))
    process.publisher.known = Position("ccccc", 1)
    known = process.known.now()
    for epoch, number in ("bbbbb", 4), ("aaaaa", 9):
        process.hubs.found.sort(key=lambda found, epoch=epoch: found.epoch != epoch)  # type: ignore[misc]
        assert process.known.seen(known, STREAM) == str(Position(epoch, number))


def test_what_is_learned_after_the_request_arrived_is_not_taken() -> None:
    process = Process(Position("aaaaa", 7))
    known = process.known.now()
    process.hubs.found = [Position("aaaaa", 8)]
    process.publisher.known = Position("aaaaa", 9)
    assert process.known.seen(known, STREAM) == str(Position("aaaaa", 7))
    process.hubs.found = [Position("bbbbb", 1)]
    assert process.known.seen(known, STREAM) == str(Position("aaaaa", 7))


def test_requests_that_arrive_together_ask_the_store_once() -> None:
    process, seen = Process(), list[str]()
    threads = [
        threading.Thread(target=lambda: seen.append(process.seen())) for _ in range(8)
    ]

    class Slow(Store):
        def read(self, *args: t.Any, **more: t.Any) -> Page:
            if self.reads == 0:
                for thread in threads:
                    thread.start()
                # They wait, or one of them is here as well.
                threads[0].join(0.2)
            return super().read(*args, **more)

    process.publisher._broker = process.store = Slow()
    seen.append(process.seen())
    for thread in threads:
        thread.join()
    assert len({*seen}) == 1 and Position.parse(seen[0]).epoch
    assert len(seen) == 9 and process.store.reads == 1


def test_a_process_that_was_forked_while_a_thread_asked_does_not_wait_for_it() -> None:
    process = Process()
    process.known._asking.acquire()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if Position.parse(process.seen()).epoch else 1)
    assert os.waitpid(child, 0)[1] == 0
