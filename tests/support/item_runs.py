"""As ``fault_runs.py`` and ``redis_run.py``, with readers of channels that have items.

Several processes set and unset items and publish, while everything is killed. Whenever they
are quiet, the items of each reader have to be those of the store; and those of the store
have to be what was acknowledged. The log is judged as in all other runs.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import os
import random
import signal
import time
import typing as t
from collections import Counter
from collections import defaultdict

from flask_push import Event
from flask_push import Position
from flask_push import Publisher
from flask_push.brokers.items import MIN_TOMBSTONES
from support.fault_runs import CHANNELS
from support.fault_runs import Client
from support.fault_runs import Run
from support.reader import HttpReader
from support.redis_run import RedisRun
from support.servers import hubs
from support.servers import Server

#: The type that the judge of the log knows, of an event that is only a position for it.
POSITION = "push:whole"

#: After all that happens in a run, in microseconds.
LATER = 2**62


class ItemClient(Client):
    """Keeps the items of its channels, as a page does, over all of its connections."""

    def __init__(self, server: Server, rng: random.Random) -> None:
        super().__init__(server, rng)
        #: By channel, the data of each item.
        self.items: dict[str, dict[str, str]] = {name: {} for name in self.channels}
        #: The word with which it says that it still has them.
        self.holds = ""
        self.whole = False
        #: By epoch, channel and item, the number of the newest value that it had.
        self.newest: dict[tuple[str, str, str], int] = defaultdict(int)
        self.wrong: list[str] = []
        self.received = 0
        self.figures: Counter[str] = Counter()
        # Enough to come to the end of all items now and then.
        self.impatience = 50_000
        #: Whether it seldom reads.
        self.slow = rng.random() < 0.3

    def make_reader(self) -> HttpReader:
        return HttpReader(
            self.server.port,
            *self.channels,
            last_id=self.last_id,
            receive_buffer=4096 if self.slow else 0,
            items="1",
            holds=self.holds,
        )

    def read(self) -> None:
        if self.slow and not self.patient and self.rng.random() < 0.8:
            return
        before = len(self.events)
        super().read()
        new = self.events[before:]
        del self.events[before:]
        for event in filter(None, map(self.take, new)):
            if event.type == POSITION and self.events and self.events[-1].type == POSITION:
                self.events.pop()
            self.events.append(event)
        # All that were read at once have the same time.
        del self.times[len(self.events) :]

    def has(self, channel: str, item: str) -> bool:
        return self.whole and item in self.items.get(channel, ())

    def take(self, event: Event) -> Event | None:
        """Apply an event to the items, and return what it is for the judge of the log."""
        self.received += 1
        self.figures[event.type] += 1
        if event.type == "push:items":
            self.whole, self.holds = False, ""
            for name in json.loads(event.data)["channels"]:
                self.items[name].clear()
            return None
        elif event.type == "push:whole":
            self.whole, self.holds = True, json.loads(event.data)["holds"]
        elif event.type == "push:unset":
            said = json.loads(event.data)
            self.note(event.id, said["channel"], said["item"])
            self.items[said["channel"]].pop(said["item"], None)
        elif event.item and not event.type.startswith("push:"):
            self.note(event.id, event.channel, str(event.item))
            self.items[event.channel][str(event.item)] = event.data
            self.figures["items"] += 1
        else:
            return event
        return Event("", "", POSITION, id=str(Position.parse(event.id)))

    def note(self, id: str, channel: str, item: str) -> None:
        """Law 32: within an epoch, no item becomes older."""
        position = Position.parse(id)
        number = position.number
        if id.count(".") > 2:
            number = Position.parse(f"{position.epoch}-{id.rpartition('.')[2]}").number
        key = position.epoch, channel, item
        if number < self.newest[key]:
            self.wrong.append(f"{item} of {channel} became older with {id}")
        self.newest[key] = number


class WithItems(Run):
    client_kind = ItemClient
    publisher_app = "apps.item_publisher"
    #: How many items each call of a publisher changes.
    at_once = 1
    kept = 0

    @property
    def readers(self) -> list[ItemClient]:
        return t.cast("list[ItemClient]", self.clients)

    @property
    def delivered(self) -> int:
        return sum(reader.received for reader in self.readers)

    def faults(self) -> list[cabc.Callable[[], t.Any]]:
        """These lose nothing, and give no reader a gap."""
        raise NotImplementedError

    def some_losses(self) -> list[cabc.Callable[[], t.Any]]:
        raise NotImplementedError

    def everything(self) -> list[cabc.Callable[[], t.Any]]:
        raise NotImplementedError

    @contextlib.contextmanager
    def noting(self, *kinds: str) -> cabc.Iterator[None]:
        """As in other runs. But a hub that is stopped notices it later, perhaps when a
        reader comes to it that knew before."""
        before = len(self.causes)
        try:
            with super().noting(*kinds):
                yield
        finally:
            new = [cause._replace(end=LATER) for cause in self.causes[before:]]
            self.causes[before:] = new

    def publisher_words(self) -> list[str]:
        return [*super().publisher_words(), str(self.at_once)]

    def changed(self) -> int:
        """How many items were set or unset, counted in all processes."""
        done = 0
        for path in self.directory.glob("changes*"):
            with path.open() as file:
                done += sum(line == "done\n" for line in file)
        return done * self.at_once

    def stop_hub(self) -> None:
        if pids := hubs(self.directory):
            pid = self.rng.choice(pids)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
            self.serve_clients(0.2)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def forget_unsets(self) -> None:
        """While readers are away, an item is unset, and the store forgets that it was."""
        name = self.rng.choice(CHANNELS)
        self.kept += 1
        item = f"kept {self.kept}"
        with contextlib.closing(Publisher(self.url, timeout=20)) as publisher:
            publisher.set(name, item, "x")
            deadline = time.monotonic() + 30
            while not (
                having := [r for r in self.readers if item in r.items.get(name, ())]
            ):
                assert time.monotonic() < deadline, "no reader gets the item"
                self.serve_clients(0.02)
            for reader in having:
                if reader.reader is not None:
                    reader.cut()
            publisher.unset(name, item)
            more = [f"more {n}" for n in range(MIN_TOMBSTONES // 2)]
            for _ in range(3):
                publisher.publish_many([Event(name, "x", item=each) for each in more])
                publisher.unset(name, *more)
                more = [f"{each} {self.kept}" for each in more]

    def come_to_the_end(self, patience: float = 30) -> list[str]:
        wrong = super().come_to_the_end(patience) or self.come_to_all_items(patience)
        # All hubs that have a reader are in the newest epoch.
        now = time.time_ns() // 1000
        self.causes = [cause._replace(end=min(cause.end, now)) for cause in self.causes]
        return wrong + [line for reader in self.readers for line in reader.wrong]

    def come_to_all_items(self, patience: float) -> list[str]:
        """Now that all is quiet, wait until each reader has the items of the store."""
        with contextlib.closing(Publisher(self.url)) as publisher:
            held = {
                name: {
                    str(k): event.data for k, event in publisher.items(name).events.items()
                }
                for name in CHANNELS
            }
        deadline = time.monotonic() + patience
        while late := [reader for reader in self.readers if not self.has_all(reader, held)]:
            if time.monotonic() > deadline:
                return [self.difference(reader, held) for reader in late]
            self.serve_clients(0.02)
        return [] if self.causes else self.judge_store(held)

    def has_all(self, reader: ItemClient, held: dict[str, dict[str, str]]) -> bool:
        return reader.whole and all(reader.items[c] == held[c] for c in reader.channels)

    def difference(self, reader: ItemClient, held: dict[str, dict[str, str]]) -> str:
        pairs = [({*held[c].items()}, {*reader.items[c].items()}) for c in reader.channels]
        found = [sorted(there ^ here)[:5] for there, here in pairs]
        return (
            f"the items of a reader are {'whole' if reader.whole else 'not whole'}: {found}"
        )

    def judge_store(self, held: dict[str, dict[str, str]]) -> list[str]:
        """Whether the store has the newest change of each item that one process owns."""
        wrong = []
        for path in self.directory.glob("changes*"):
            possible: dict[tuple[str, str], set[str | None]] = defaultdict(lambda: {None})
            said: t.Any = None
            for line in path.read_text().splitlines():
                if line != "done":
                    said = json.loads(line)
                for item in said["items"]:
                    if item.startswith("once"):
                        continue
                    key = said["channel"], item
                    if line == "done":
                        possible[key].clear()
                    possible[key].add(said.get("data"))
            for (channel, item), found in possible.items():
                if not item.startswith("shared"):
                    if (data := held[channel].get(item)) not in found:
                        wrong.append(f"{item} of {channel} is {data}, and not of {found}")
        return wrong

    def item_figures(self) -> Counter[str]:
        found: Counter[str] = Counter()
        for reader in self.readers:
            found += reader.figures
            found["cuts"] += reader.cuts
        found["changes"] = self.changed()
        return found


class ItemRun(WithItems, Run):
    def faults(self) -> list[cabc.Callable[[], t.Any]]:
        return [
            *(self.kill_worker, self.kill_hub, self.replace_hub, self.restart_server),
            *(self.kill_publisher, self.stop_publisher, self.stop_hub, self.forget_unsets),
        ]

    def some_losses(self) -> list[cabc.Callable[[], t.Any]]:
        return [self.move_store, self.back_up, self.restore]

    def everything(self) -> list[cabc.Callable[[], t.Any]]:
        return [*self.faults(), *self.some_losses()]


class ItemRedisRun(WithItems, RedisRun):
    def faults(self) -> list[cabc.Callable[[], t.Any]]:
        return [
            *(self.cut_links_of_stopped_hubs, self.overrun, self.stop_hub),
            *(self.kill_hub, self.kill_worker, self.kill_publisher, self.forget_unsets),
        ]

    def some_losses(self) -> list[cabc.Callable[[], t.Any]]:
        return [self.save, self.crash, self.flush_everything]

    def everything(self) -> list[cabc.Callable[[], t.Any]]:
        return [*RedisRun.everything(self), self.stop_hub, self.forget_unsets]
