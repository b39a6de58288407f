"""Three servers with a hub each on one Redis, users who come and go, and all kinds of
faults. In the end, each watcher and each server has to know who is there; and what each
watcher was shown on the way is judged by ``presence_judge.py``."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import heapq
import itertools
import json
import os
import random
import selectors
import signal
import threading
import time
import typing as t
from collections import Counter
from math import inf
from pathlib import Path

from support import short_beats
from support.hub_processes import replace
from support.presence_judge import Judge
from support.presence_judge import Key
from support.presence_judge import Shown
from support.presence_judge import Trouble
from support.present_users import Members
from support.present_users import Tab
from support.present_users import User
from support.redises import Clock
from support.servers import gunicorn
from support.servers import hubs
from support.servers import serve
from support.servers import Server

#: Seconds after which a call fails because the store does not answer; for which a hub then
#: waits before it calls again, at most; and in which it finds out what is stored.
_TIMEOUT, _MOST_BACK_OFF, _LOOK_SECONDS = 2.0, 8.0, 1.5


class Scale(t.NamedTuple):
    users: int
    channels: int
    #: Seconds between two acts of a user, and which part of the tabs watch their channels.
    #: See :class:`.Crowd`.
    pause: float
    watching: float
    grace: float
    beat: float
    retry: float
    #: How many seconds a fault lasts; and one for which others find a stopped hub dead.
    short: float
    long: float
    #: For how much longer than planned everything may take, because the machine is busy.
    slack: float
    #: As :attr:`.Judge.write` and :attr:`.Judge.excused`. A beat of a busy machine is late
    #: so often that no number of short ones is enough.
    write: float
    excused: float
    #: How long the run waits for what must come about.
    patience: float


QUICK = Scale(50, 3, 1.0, 1.0, 4.0, 0.5, 0.5, 2.6, 4.0, 2.0, 2.5, inf, 90.0)
LARGE = Scale(3000, 8, 40.0, 0.02, 10.0, 5.0, 8.0, 20.0, 60.0, 0.0, 1.0, 10.0, 240.0)


class PresenceRun:
    def __init__(
        self, servers: list[Server], redis: Clock, directory: Path, scale: Scale
    ) -> None:
        seed = random.randrange(10**6)
        print("seed", seed)
        self.rng = random.Random(seed)
        self.servers = servers
        self.redis = redis
        self.directory = directory
        self.scale = scale
        self.ports: cabc.Sequence[int] = [server.port for server in servers]
        self.channels: cabc.Sequence[str] = [f"channel {n}" for n in range(scale.channels)]
        self.counted = "all users"
        self.pause, self.watching = scale.pause, scale.watching
        self.longest_absence = scale.grace / 3
        self.selector: selectors.BaseSelector = selectors.DefaultSelector()
        self.shown: list[Shown] = []
        self.troubles: list[Trouble] = []
        self.confirmed: Counter[Key] = Counter()
        self.met: Counter[str] = Counter()
        self.looked = time.monotonic()
        self.acting = True
        self._calls: list[tuple[float, int, cabc.Callable[[], object]]] = []
        self._numbers = itertools.count()
        watch = {"watch": [*self.channels, self.counted]}
        #: One for each server, which watches everything and is never closed.
        self.watchers = [Tab(self, n, watch, Members()) for n in range(len(servers))]
        self.users = [
            User(self, f"user-{n}", n % 4 > 0, 1 if n % 3 else 5)
            for n in range(scale.users)
        ]
        for user in self.users:
            self.later(self.rng.uniform(0, 2 * self.pause), user.act)

    def close(self) -> None:
        for tab in [*self.watchers, *self.tabs()]:
            tab.close()
        self.selector.close()

    def tabs(self) -> list[Tab]:
        return [tab for user in self.users for tab in user.tabs]

    # The time.

    def later(self, seconds: float, call: cabc.Callable[[], object]) -> None:
        at = time.monotonic() + seconds
        heapq.heappush(self._calls, (at, next(self._numbers), call))

    def serve(self, seconds: float) -> None:
        """Let all users act for so long."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            due = self._calls[0][0] if self._calls else end
            ready = self.selector.select(max(min(due, end) - now, 0))
            for key, mask in ready:
                if key.data.sock is key.fileobj:
                    key.data.ready(mask)
            self.looked = now
            while self._calls and self._calls[0][0] <= time.monotonic():
                _, _, call = heapq.heappop(self._calls)
                if self.acting or not isinstance(getattr(call, "__self__", None), User):
                    call()

    def wait(self, condition: cabc.Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + self.scale.patience
        while not condition():
            assert time.monotonic() < deadline, (
                f"it never came true: {what}\n{self.state()}\n{self.logs}"
            )
            self.serve(0.05)

    def state(self) -> str:
        """Whom each watcher misses, and whom it has too much."""
        lines = []
        for n, watcher in enumerate(self.knowing()):
            for name, users in self.truth().items():
                there, known = {*users}, {*watcher.users.get(name, ())}
                lines.append(f"{n}, {name}: {there - known} missing, {known - there} more")
            counts = watcher.counts.get(self.counted), self.count()
            lines.append(f"{n}: whole={watcher.whole}, {counts}")
        return "\n".join(lines)

    @property
    def logs(self) -> str:
        paths = sorted(self.directory.glob("*/*.log"))
        paths += sorted(self.directory.glob("*/push-basic/*.log"))
        return "\n".join(f"{path}:\n{path.read_text()[-2000:]}" for path in paths)

    # What is known.

    def knowing(self) -> list[Members]:
        return [tab.members for tab in self.watchers if tab.members is not None]

    def is_shown(self, keys: cabc.Iterable[Key], there: bool) -> bool:
        """Whether all watchers know that a user is there, or is not."""
        keys = list(keys)
        return all(
            watcher.whole and all(watcher.has(key) == there for key in keys)
            for watcher in self.knowing()
        )

    def truth(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {name: {} for name in self.channels}
        for tab in self.tabs():
            for channel in tab.query["present"]:
                found[channel][tab.query["user"]] = tab.query["info"]
        return found

    def count(self) -> int:
        """How many users the hubs have, each on its own."""
        return len({(tab.server, tab.query["user"]) for tab in self.tabs()})

    # The end.

    def settle(self) -> None:
        """Let no user act any more, and wait until everything is known everywhere."""
        self.acting = False
        for user in self.users:
            if user.there:
                user.return_(1)
        tabs = [*self.watchers, *self.tabs()]
        self.wait(lambda: all(tab.open for tab in tabs), "all tabs are open")
        for tab in tabs:
            if tab.members is not None:
                known = lambda tab=tab: self.knows(tab)  # noqa: E731
                self.wait(known, f"a page knows who is there: {tab.query}")
        for server in self.servers:
            self.wait(lambda server=server: self.agrees(server), f"{server.url} agrees")  # type: ignore[misc]
        for user in self.users:
            user.look()

    def knows(self, tab: Tab) -> bool:
        members, truth = tab.members, self.truth()
        assert members is not None
        names = [name for name in tab.query["watch"] if name != self.counted]
        if not members.whole or any(members.users[c] != truth[c] for c in names):
            return False
        return len(names) == len(tab.query["watch"]) or self.counts(members)

    def counts(self, members: Members) -> bool:
        return members.counts.get(self.counted, 0) == self.count()

    def agrees(self, server: Server) -> bool:
        """Whether ``push.presence`` of this server's app is the truth."""
        names = [f"channel={name}" for name in [*self.channels, self.counted]]
        found = json.loads(server.get(f"/presence?{'&'.join(names)}".replace(" ", "%20")))
        counted = found.pop(self.counted)
        users = {name: each["users"] for name, each in found.items()}
        numbers = {name: each["count"] for name, each in found.items()}
        return (
            users == self.truth()
            and numbers == {name: len(users[name]) for name in users}
            and counted == {"users": {}, "count": self.count()}
        )

    def judge(self) -> list[str]:
        times = self.scale.grace, self.scale.beat, time.monotonic()
        facts = self.shown, self.troubles, self.confirmed
        judge = Judge(*times, *facts, self.scale.write, self.scale.excused)
        wrong = []
        for n, watcher in enumerate(self.knowing()):
            wrong += judge.judge(f"watcher {n}", watcher.changes)
        known = [tab.members for tab in self.tabs() if tab.members is not None]
        wrong += [line for each in [*self.knowing(), *known] for line in each.wrong]
        self.allowed = sum(map(len, judge.lefts.values()))
        return wrong

    def figures(self) -> Counter[str]:
        found = Counter(self.met)
        for watcher in self.knowing():
            found += watcher.figures
            found["left"] += sum(not change.joined for change in watcher.changes)
        found["streams"] = len(self.shown)
        found["stays"] = self.confirmed.total()
        found["allowed"] = self.allowed
        return found

    # The faults.

    def go(self, faults: cabc.Sequence[cabc.Callable[[], None]], rest: float) -> None:
        """Let each of these happen once, in any order, with so many seconds between."""
        for fault in self.rng.sample(faults, len(faults)):
            self.serve(self.rng.uniform(0.5, 1.5) * rest)
            print(f"{time.monotonic():.3f} {fault.__name__}", flush=True)
            fault()
            self.met[fault.__name__] += 1

    def note(self, kind: str, server: int | None, start: float) -> None:
        end, slack = time.monotonic(), self.scale.slack
        # A hub waits longer and longer, but not longer than the store was away.
        waits = min(max(end - start - _TIMEOUT, 0.0), _MOST_BACK_OFF)
        over = {
            "killed": 0.0,
            "stopped": 2 * self.scale.beat + slack,
            "away": waits + _LOOK_SECONDS + slack,
            "lost": 2 * self.scale.beat + slack,
        }
        self.troubles.append(Trouble(kind, server, start, end, end + over[kind]))
        print(self.troubles[-1])

    def some_hub(self) -> tuple[int, list[int]]:
        """A server, and the processes of its hub."""
        n = self.rng.randrange(len(self.servers))
        return n, self.hubs_of(n)

    def hubs_of(self, server: int) -> list[int]:
        return hubs(self.directory / f"{server}")

    def kill_hub(self, with_signal: signal.Signals = signal.SIGKILL) -> None:
        n, pids = self.some_hub()
        start = time.monotonic()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, with_signal)
        # After SIGTERM, a hub ends all its streams before its process ends.
        self.wait(lambda: not {*pids} & {*self.hubs_of(n)}, "the hub has ended")
        self.note("killed", n, start)

    def end_hub(self) -> None:
        """It sends a ``retry`` to its browsers."""
        self.kill_hub(signal.SIGTERM)

    def stop_hub(self, seconds: float = 0.0) -> None:
        n, pids = self.some_hub()
        start = time.monotonic()
        try:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            self.serve(seconds or self.rng.uniform(0.5, 0.95) * self.scale.short)
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            self.note("stopped", n, start)

    def stop_hub_for_long(self) -> None:
        self.stop_hub(self.scale.long)

    def replace_hub(self) -> None:
        """As a worker of a newer version does."""
        n = self.rng.randrange(len(self.servers))
        self.in_a_thread(lambda: replace(self.directory / f"{n}"))

    def in_a_thread(self, call: cabc.Callable[[], object]) -> None:
        thread = threading.Thread(target=call)
        thread.start()
        while thread.is_alive():
            self.serve(0.02)
        thread.join()

    def reload_workers(self) -> None:
        self.rng.choice(self.servers).process.send_signal(signal.SIGHUP)

    def restart_container(self) -> None:
        """As ``docker stop`` and ``docker start`` do."""
        n, pids = self.some_hub()
        start = time.monotonic()
        server = self.servers[n]
        for pid in [server.process.pid, *pids]:
            os.kill(pid, signal.SIGTERM)
        while server.process.poll() is None:
            self.serve(0.02)
        # With its first process, all others of a container end.
        for pid in self.hubs_of(n):
            os.kill(pid, signal.SIGKILL)
        self.note("killed", n, start)
        self.in_a_thread(server.start)

    def stop_store(self, seconds: float = 0.0) -> None:
        start = time.monotonic()
        self.redis.stop()
        try:
            self.serve(seconds or self.rng.uniform(0.3, self.scale.short))
        finally:
            self.redis.go_on()
            self.note("away", None, start)

    def stop_store_for_long(self) -> None:
        self.stop_store(self.scale.long)

    def restart_store(self) -> None:
        """Restart it with all that it had. The hubs can't know that all is there."""
        self.redis.do("CONFIG", "SET", "appendfsync", "always", "appendonly", "yes")
        self.wait(self.is_written_down, "all is on disk")
        self.start_store_again("--appendonly", "yes")
        self.redis.do("CONFIG", "SET", "appendonly", "no")

    def is_written_down(self) -> bool:
        info = self.redis.do("INFO", "persistence")
        return not (info["aof_rewrite_in_progress"] or info["aof_rewrite_scheduled"])

    def lose_the_last(self) -> None:
        """Restart the store as it was some time ago."""
        start = time.monotonic()
        self.redis.do("SAVE")
        self.serve(self.rng.uniform(0.3, self.scale.short))
        self.start_store_again()
        self.note("lost", None, start)

    def start_store_again(self, *words: str) -> None:
        start = time.monotonic()
        self.redis.kill()
        self.serve(self.rng.uniform(0.1, self.scale.short / 2))
        self.in_a_thread(lambda: self.redis.start(*words))
        self.note("away", None, start)

    def set_clock(self) -> None:
        """Let the clock of the store jump."""
        self.redis.set(self.rng.choice([-4000, -365, -1, 1, 365, 4000]) * 86400)
        self.serve(self.scale.short / 4)
        self.redis.set(0)

    def deaths(self) -> list[cabc.Callable[[], None]]:
        """After these, other hubs have to find out that a hub is dead."""
        return [self.kill_hub, self.end_hub, self.restart_container]

    def other_faults(self) -> list[cabc.Callable[[], None]]:
        return [
            *(self.stop_hub, self.stop_hub_for_long, self.replace_hub),
            *(self.reload_workers, self.stop_store, self.restart_store),
            *(self.lose_the_last, self.set_clock),
        ]


@contextlib.contextmanager
def running(directory: Path, scale: Scale) -> cabc.Iterator[PresenceRun]:
    (directory / "redis").mkdir()
    with contextlib.ExitStack() as stack:
        stack.enter_context(short_beats.of(scale.beat))
        redis = stack.enter_context(Clock.started(directory / "redis"))
        config: dict[str, t.Any] = {"PUSH_BROKER_URL": redis.url, "PUSH_RETRY": scale.retry}
        config |= {"PUSH_PRESENCE_GRACE": scale.grace, "PUSH_LIFETIME": 6 * scale.pause}
        servers = []
        for n in range(3):
            (path := directory / f"{n}").mkdir()
            words = "-w", "1", "--threads", "8", "--timeout", "300"
            server = serve(gunicorn, path, *words, app="apps.present", **config)
            servers.append(stack.enter_context(server))
            servers[-1].get("/position")
        run = PresenceRun(servers, redis, directory, scale)
        yield stack.enter_context(contextlib.closing(run))
