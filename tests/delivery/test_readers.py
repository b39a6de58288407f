"""What many readers have missed is made once."""

from __future__ import annotations

from collections import Counter

import pytest
from support.world import fail

from flask_push._delivery import encoder
from flask_push._delivery.event_frame import event_frame
from flask_push._delivery.log import Log
from flask_push._delivery.readers import Readers
from flask_push._delivery.subscription import Subscription
from flask_push._event import Entry
from flask_push._event import Page
from flask_push._event import Position
from flask_push._event import Proof


@pytest.mark.parametrize("max_bytes", [0, 10_000])
def test_frames_that_many_readers_missed_are_made_once(
    max_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, event = Counter[int](), event_frame

    def count(entry: Entry, epoch: str, number: int, limit: int) -> bytes:
        made[number] += 1
        return event(entry, epoch, number, limit)

    monkeypatch.setattr(encoder, "event_frame", count)

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


def test_only_one_long_run_is_kept() -> None:
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
