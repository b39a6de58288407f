"""A store with the rows of one channel, on which runs have been."""

from __future__ import annotations

import json
import typing as t

from flask_push._delivery.chunks import LAST
from flask_push._delivery.chunks import Unchunker
from flask_push._delivery.run_rows import pack
from flask_push._delivery.run_rows import PROGRESS
from flask_push._delivery.run_rows import RUN
from flask_push._delivery.run_rows import STATUS
from flask_push._delivery.run_rows import tag_of
from flask_push._delivery.run_wires import Row
from flask_push._delivery.run_wires import WIRES
from flask_push._event import Entry
from flask_push._event import ItemRow
from flask_push._event import ItemsPage
from flask_push._event import OwnChannel
from flask_push._event import Position

CHANNEL = "chat:1"
OWN = OwnChannel(RUN, CHANNEL)
TAG = tag_of(2, 1)
#: What the holder writes before it fails by itself, in the words of AG-UI.
RUN_ERROR = '{"type":"RUN_ERROR","message":"no"}'


class Stored(t.NamedTuple):
    number: int
    prev: int
    item: str
    type: str
    data: bytes

    @property
    def entry(self) -> Entry:
        return Entry(self.number, self.prev, OWN, self.type, self.data, item=self.item)


class RunStore:
    """The rows of a channel with a run that has ended, and one that can be written."""

    def __init__(self) -> None:
        self.epoch, self.number = "epoch", 10
        self.horizon = 5
        self.rows: dict[str, Stored] = {}
        #: Every row there ever was.
        self.ever: list[Stored] = []
        self.texts: list[str] = []
        self.count = 0
        self.ended = ""
        self.feeds: list[list[Stored]] = []
        self.store("1.1.0", "message", pack(["of another run"]))
        self.status(1, "done", tag_of(1, 1))
        self.record()
        #: The number before the run's first event.
        self.first = self.number
        self.status(2, "running")

    def store(self, item: str, type: str, data: str) -> Stored:
        prev = self.ever[-1].number if self.ever else self.horizon
        self.number += 1
        row = Stored(self.number, prev, item, type, data.encode())
        self.rows.pop(item, None)
        self.rows[item] = row
        self.ever.append(row)
        for feed in self.feeds:
            feed.append(row)
        return row

    def record(self) -> None:
        self.store("now", "message", "{}")

    def status(self, version: int, status: str, tag: str = TAG, text: str = "") -> None:
        said = {"run": "r", "key": "", "status": status, "attempt": 1, "text": text}
        self.store(f"{tag}.t{version}", STATUS, json.dumps(said))

    def write(self, count: int) -> None:
        """Write events, packed into one row."""
        if not self.ended:
            texts = [str(len(self.texts) + n) for n in range(count)]
            self.put(texts)

    def put(self, texts: list[str]) -> None:
        self.store(f"{TAG}.{len(self.texts)}", "message", pack(texts))
        self.texts += texts

    def progress(self) -> None:
        if not self.ended:
            self.count += 1
            said = {"done": self.count, "total": None, "text": ""}
            self.store(f"{TAG}.p", PROGRESS, json.dumps(said))

    def end(self, status: str) -> None:
        if not self.ended:
            if status == "failed":
                self.put([RUN_ERROR])
            self.ended = status
            self.record()
            self.status(3, status, text="for the user")

    def elsewhere(self) -> None:
        """An event of another channel is published."""
        self.number += 1

    def forget(self, count: int) -> None:
        """Forget the oldest rows, but never the newest one."""
        oldest = sorted(self.rows.values())[:-1][:count]
        for row in oldest:
            del self.rows[row.item]
            self.horizon = row.number

    def page(self, after: int, limit: int) -> ItemsPage:
        rows = [row for row in sorted(self.rows.values()) if row.number > after]
        full = len(rows) > limit
        rows = rows[:limit]
        reach = rows[-1].number if full else self.number
        found = [
            ItemRow(Position(self.epoch, row.number), OWN, row.item, row.type, row.data)
            for row in rows
        ]
        return ItemsPage(self.epoch, after, reach, self.number, found, {OWN: self.horizon})

    def body(self, wire: str, *, knows_last: bool = True) -> bytes:
        """All that a plain wire sends of the run, with its end if it has ended.

        :param knows_last: Whether the end depends on the event before it.
        """
        sent, last = b"", b""
        for row in self.ever:
            if row.item.startswith(f"{TAG}.") and row.type == "message":
                texts = row.data.split(b"\n", 1)
                sizes = [int(size) for size in texts[0].split()]
                events = [
                    texts[1][sum(sizes[:n]) : sum(sizes[: n + 1])]
                    for n in range(len(sizes))
                ]
                about = self.epoch, row.number, CHANNEL, "message"
                sent += WIRES[wire].row(Row(*about, events))
                last = events[-1]
        if self.ended:
            end = Row(self.epoch, 0, CHANNEL, STATUS, [b"{}"])
            before = last if knows_last else b""
            sent += WIRES[wire].end(end, self.ended, "for the user", before)
        return sent

    @property
    def has_forgotten_events(self) -> bool:
        """Whether all events of the run are forgotten, though perhaps not its end."""
        rows = self.rows.items()
        return not any(i.startswith(TAG) and r.type == "message" for i, r in rows)


def whole(data: bytes) -> bytes:
    """The body of a chunked response, which is complete."""
    assert data.endswith(LAST)
    chunks = Unchunker()
    body = chunks.feed(data)
    assert chunks.is_whole
    return body
