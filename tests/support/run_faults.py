"""Runs that several processes write, as tasks that are delivered again, while everything is
killed: holders, workers, hubs, and the store. What becomes of them is judged by
``run_judge.py``."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import typing as t
from collections import Counter
from pathlib import Path

from apps.run_holder import AGAIN

from flask_push import NotPublished
from flask_push import NotRead
from flask_push import Publisher
from flask_push import PublishUncertain
from flask_push._handoff.spawn import start_process
from flask_push._ipc.files import HubFiles
from support.redises import Redis
from support.run_followers import Follower
from support.run_followers import PlainFollower
from support.run_followers import PushFollower
from support.run_judge import Truth
from support.runs import rows_of
from support.servers import gunicorn
from support.servers import kill_hubs
from support.servers import serve
from support.servers import Server
from support.servers import TESTS


class Scale(t.NamedTuple):
    tasks: int
    #: The events of each run, and the seconds between two of them.
    writes: int
    pause: float
    lost_after: float
    #: How often each fault happens, and how many seconds lie between two faults.
    each: int
    rest: float
    #: How many seconds the end may take.
    patience: float


QUICK = Scale(4, 250, 0.015, 4.0, 1, 0.4, 100.0)
LARGE = Scale(12, 1000, 0.05, 10.0, 20, 4.0, 900.0)


class Task:
    """A run, and the processes that write it. It is delivered again until it is over."""

    def __init__(self, run: FaultRun, channel: str) -> None:
        self.run, self.channel = run, channel
        self.notes = run.directory / f"{channel}.notes"
        self.stopped_at = 0
        self.processes: list[subprocess.Popen[bytes]] = []
        self.codes: Counter[int] = Counter()
        self.is_over = False
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []
        self.deliver()

    def deliver(self) -> None:
        """Deliver the task, perhaps a second time."""
        self._threads.append(threading.Thread(target=self._deliver, daemon=True))
        self._threads[-1].start()

    def _deliver(self) -> None:
        words = self.channel, self.notes, *self.run.scale[1:4]
        command = [sys.executable, "-m", "apps.run_holder", self.run.url, *map(str, words)]
        while not self._closed.is_set():
            with self.run.log.open("ab") as log:
                process = subprocess.Popen(command, cwd=TESTS, stdout=log, stderr=log)
            self.processes.append(process)
            code = process.wait()
            self.processes.remove(process)
            self.codes[code] += 1
            if code == 0:
                self.is_over = True
                return
            self._closed.wait(0.5)

    def noted(self) -> list[dict[str, t.Any]]:
        if not self.notes.exists():
            return []
        whole = self.notes.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def written(self) -> int:
        """How many events of its newest attempt were stored."""
        found: list[int] = [note["written"] for note in self.noted() if "written" in note]
        return found[-1] if found else 0

    def stop(self, publisher: Publisher) -> None:
        while True:
            try:
                # Between two attempts, nothing is active. The next one goes on.
                if publisher.stop(self.channel):
                    self.stopped_at = publisher._broker.read([], after=0).end
                return
            except (NotPublished, NotRead, PublishUncertain):
                time.sleep(0.05)

    def close(self) -> None:
        self._closed.set()
        for process in [*self.processes]:
            process.kill()
        for thread in self._threads:
            thread.join(30)


class FaultRun:
    def __init__(
        self, server: Server, directory: Path, url: str, scale: Scale, redis: Redis | None
    ) -> None:
        seed = random.randrange(10**6)
        print("seed", seed)
        self.rng = random.Random(seed)
        self.server, self.directory, self.url = server, directory, url
        self.scale, self.redis = scale, redis
        self.log = directory / "holders.log"
        self.publisher = Publisher(url, timeout=5)
        self.met: Counter[str] = Counter()
        self.followers: list[Follower] = []
        # "all" in the name: the run is written from a source.
        names = [f"run-{n}{'-all' if n % 2 else ''}" for n in range(scale.tasks)]
        self.tasks = [Task(self, name) for name in names]
        for task in self.tasks:
            self.follow(PushFollower, task)
            self.follow(PlainFollower, task)

    def follow(self, kind: type[Follower], task: Task, **more: t.Any) -> None:
        about = self.server.port, task.channel, self.rng.randrange(10**6)
        self.followers.append(kind(*about, **more))

    def close(self) -> None:
        for task in self.tasks:
            task.close()
        for follower in self.followers:
            follower.close()
        self.publisher.close()

    def wait(self, condition: cabc.Callable[[], t.Any], what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what}\n{self.state()}"
            time.sleep(0.02)

    def state(self) -> str:
        lines = [
            f"{task.channel}: {task.codes} {task.written()} {self.truth(task).statuses}"
            for task in self.tasks
        ]
        lines += [repr(each.figures) for each in self.followers if not each.is_done]
        log = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
        return "\n".join([*lines, log, self.server.log[-3000:]])

    def truth(self, task: Task) -> Truth:
        return Truth(rows_of(self.publisher, task.channel))

    def go(self) -> None:
        """Let each fault happen so often, and wait until all runs are over."""
        faults = self.faults() * self.scale.each
        for fault in self.rng.sample(faults, len(faults)):
            time.sleep(self.rng.uniform(0.5, 1.5) * self.scale.rest)
            print(f"{time.monotonic():.3f} {fault.__name__}", flush=True)
            fault()
            self.met[fault.__name__] += 1
        patience = self.scale.patience
        self.wait(lambda: all(t.is_over for t in self.tasks), "all runs are over", patience)
        for task in self.tasks:
            # Those that come after the end.
            self.follow(PushFollower, task)
            self.follow(PlainFollower, task)
        done = lambda: all(f.is_done or f.error for f in self.followers)  # noqa: E731
        self.wait(done, "all followers have received the end", patience)

    def judge(self) -> list[str]:
        wrong = [repr(f.error) for f in self.followers if f.error is not None]
        for task in self.tasks:
            truth = self.truth(task)
            found = truth.judge(self.scale.writes) + truth.judge_notes(task.noted())
            if task.stopped_at:
                found += truth.judge_stop(task.stopped_at)
            for follower in self.followers:
                if follower.channel == task.channel:
                    found += follower.judge(truth)
            found += [
                f"a holder exited with {c}" for c in task.codes if c > 0 and c != AGAIN
            ]
            wrong += [f"{task.channel}: {line}" for line in found]
        return wrong

    def figures(self) -> Counter[str]:
        found = Counter(self.met)
        for task in self.tasks:
            truth = self.truth(task)
            found["attempts"] += max(truth.events, default=0)
            found["events"] += sum(map(len, truth.events.values()))
            found.update(f"ended as {end}" for end in truth.ends.values())
        for follower in self.followers:
            found.update(follower.figures)
        return found

    # The faults.

    def faults(self) -> list[cabc.Callable[[], None]]:
        faults = [
            *(self.kill_holder, self.kill_holder, self.pause_holder, self.deliver_again),
            *(self.kill_worker, self.kill_hub, self.replace_hub, self.stop_run),
            self.begin_in_the_middle,
        ]
        return faults if self.redis is None else [*faults, self.restart_store]

    def some_holder(self) -> subprocess.Popen[bytes] | None:
        """A process that has stored something of a run. Waits for one, unless all runs are
        over."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            active = [task for task in self.tasks if not task.is_over and task.written()]
            processes = [process for task in active for process in [*task.processes]]
            if processes:
                return self.rng.choice(processes)
            if all(task.is_over for task in self.tasks):
                break
            time.sleep(0.02)
        return None

    def kill_holder(self) -> None:
        if holder := self.some_holder():
            holder.kill()

    def pause_holder(self) -> None:
        """For so long that its run is lost."""
        if holder := self.some_holder():
            holder.send_signal(signal.SIGSTOP)
            seconds = 1.5 * self.scale.lost_after
            timer = threading.Timer(seconds, holder.send_signal, [signal.SIGCONT])
            timer.daemon = True
            timer.start()

    def deliver_again(self) -> None:
        self.rng.choice(self.tasks).deliver()

    def kill_worker(self) -> None:
        pid = self.server.process.pid
        workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(self.rng.choice(workers)), signal.SIGKILL)

    def kill_hub(self) -> None:
        kill_hubs(self.directory)

    def replace_hub(self) -> None:
        start_process(HubFiles.of(self.directory / "push-basic"), "--replace", "--force")

    def stop_run(self) -> None:
        active = [task for task in self.tasks if not task.is_over and not task.stopped_at]
        if active:
            self.rng.choice(active).stop(self.publisher)

    def begin_in_the_middle(self) -> None:
        """Another page follows, which has some events already."""
        task = self.rng.choice(self.tasks)
        ids = [
            event.id
            for follower in self.followers
            if isinstance(follower, PushFollower) and follower.channel == task.channel
            for event in [*follower.events]
            if event.type == "message"
        ]
        if ids:
            self.follow(PushFollower, task, after=self.rng.choice(ids))

    def restart_store(self) -> None:
        assert self.redis is not None
        self.redis.kill()
        time.sleep(self.rng.uniform(0, self.scale.lost_after / 4))
        self.redis.start()


@contextlib.contextmanager
def running(directory: Path, store: str, scale: Scale) -> cabc.Iterator[FaultRun]:
    with contextlib.ExitStack() as stack:
        redis, url = None, f"sqlite://{directory}/runs.db"
        if store == "redis":
            (directory / "redis").mkdir()
            words = "--appendonly", "yes", "--appendfsync", "always"
            redis = stack.enter_context(Redis.started(directory / "redis", *words))
            url = redis.url
        config: dict[str, t.Any] = {"PUSH_BROKER_URL": url, "PUSH_RETRY": 0.5}
        config["PUSH_LOST_AFTER"] = scale.lost_after
        about = gunicorn, directory, "-w", "2", "--threads", "8", "--timeout", "300"
        server = stack.enter_context(serve(*about, app="apps.followed_runs", **config))
        run = FaultRun(server, directory, url, scale, redis)
        yield stack.enter_context(contextlib.closing(run))
