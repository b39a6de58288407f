"""Every file of the run directory is removed, renamed and cleaned away under load, while
processes are killed.

The judgement is as in :mod:`test_faults`. What has to work afterwards is everything.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import os
import shutil
import signal
import time
import typing as t
from functools import partial
from pathlib import Path

import pytest
from support.checker import Cause
from support.fault_runs import killing
from support.fault_runs import Run
from support.fault_runs import running
from support.servers import Server
from support.servers import the_hub
from support.servers import until

# In the lock's file stands which files belong together.
STORE = "push.db", "push.db-wal", "push.db-shm", "push.db.lock"
# Their loss costs no event.
OTHERS = (
    "push.db.gate",
    "push.db.bells",
    "hub.sock",
    "hub.lock",
    "hub.ties",
    "hub.log",
    "app",
)
# Microseconds in which a process that is about to write may not have noticed it.
LATE = 2_000_000


class Cleaner:
    """Removes a run's files, and notes which of it may cost events."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.directory = run.store.parent
        self.away = run.directory / "away"
        self.count = 0

    def faults(self) -> list[cabc.Callable[[], t.Any]]:
        each = [partial(self.remove, name) for name in (*STORE, *OTHERS)]
        each += [partial(self.rename, name) for name in (*STORE, *OTHERS)]
        each += [partial(self.put_back, name) for name in OTHERS]
        return [*each, self.clean, self.clean, self.remove_all, self.rename_all]

    @contextlib.contextmanager
    def noting(self, name: str = STORE[0]) -> cabc.Iterator[None]:
        start = time.time_ns() // 1000
        yield
        if name in STORE:
            self.run.causes.append(Cause("loss", start, time.time_ns() // 1000 + LATE))

    def remove(self, name: str) -> None:
        with self.noting(name), contextlib.suppress(FileNotFoundError):
            path = self.directory / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def rename(self, name: str) -> None:
        with self.noting(name), contextlib.suppress(FileNotFoundError):
            (self.directory / name).rename(self.somewhere())

    def put_back(self, name: str) -> None:
        """Rename it and, a moment later, put it back in the place of what is there then."""
        with contextlib.suppress(OSError):
            where = self.somewhere()
            (self.directory / name).rename(where)
            self.run.serve_clients(0.05)
            where.rename(self.directory / name)

    def clean(self) -> None:
        """Remove all but sockets in use, as a cleaner of /tmp that asks for no lock."""
        with self.noting():
            used = Path("/proc/net/unix").read_text()
            for path in sorted(self.directory.rglob("*"), reverse=True):
                with contextlib.suppress(OSError):
                    if path.is_dir():
                        path.rmdir()
                    elif str(path) not in used:
                        path.unlink()

    def remove_all(self) -> None:
        with self.noting():
            # A file may be made in it meanwhile.
            shutil.rmtree(self.directory, ignore_errors=True)

    def rename_all(self) -> None:
        with self.noting(), contextlib.suppress(OSError):
            self.directory.rename(self.somewhere())

    def somewhere(self) -> Path:
        self.away.mkdir(exist_ok=True)
        self.count += 1
        return self.away / str(self.count)


def everything_works(run: Run) -> None:
    """Publishing, streams, and the next hub."""
    server = run.server
    for n in range(2):
        reader = until(lambda: opened(server), 30)
        said = f"all is well {len(server.readers)} {n}"
        until(lambda said=said: say(server, said), 30)  # type: ignore[misc]
        reader.read_until(lambda r, said=said: said in r.data, 30)
        reader.close()
        os.kill(pid := the_hub(run.directory), signal.SIGKILL)
        the_hub(run.directory, but=pid)


def opened(server: Server) -> t.Any:
    reader = server.stream("a")
    with contextlib.suppress(OSError):
        while not reader.ended and not reader.events:
            reader.read()
    return reader if reader.events else reader.close()


def say(server: Server, data: str) -> bool:
    body = json.dumps([{"channel": "a", "data": data}]).encode()
    return server.request("POST", "/publish", body)[0] == 200


def test_nothing_is_lost_when_any_file_is_removed(tmp_path: Path) -> None:
    with running(tmp_path, PUSH_KEEP=1_000_000, PUSH_RETRY=0.5) as run:
        cleaner = Cleaner(run)
        run.go([*cleaner.faults(), *killing(run)], deliveries=1_000, cuts=100, each=1)
        assert run.finish() == []
        everything_works(run)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nothing_is_lost_for_long_when_any_file_is_removed(tmp_path: Path) -> None:
    with running(tmp_path, PUSH_KEEP=1_000_000, PUSH_RETRY=0.5) as run:
        cleaner = Cleaner(run)
        for _ in range(5):
            run.go([*cleaner.faults(), *killing(run)], deliveries=0, cuts=0, each=3)
            everything_works(run)
        assert run.finish() == []
