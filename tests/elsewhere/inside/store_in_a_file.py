"""A store in a file needs nothing of Linux."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

import pytest

from flask_push import Publisher
from flask_push._event import Event
from flask_push._system.datagrams import Receiver
from flask_push._system.datagrams import Sender
from flask_push._system.lock import is_locked
from flask_push._system.lock import try_lock
from flask_push._system.polling import new_loop
from flask_push._system.rundir import TEMP
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.brokers.sqlite.doorbell import Doorbell
from flask_push.brokers.sqlite.doorbell import Doorbells
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "push.db"


def python(code: str, *words: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", code, *words], stdin=pipe, stdout=pipe, text=True
    )


LOCK = """
import sys, pathlib
from flask_push._system.lock import try_lock
print(try_lock(pathlib.Path(sys.argv[1])) is not None, flush=True)
sys.stdin.read()
"""


def test_a_lock_excludes_others_until_its_process_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    with python(LOCK, str(path)) as other:
        assert other.stdout and other.stdout.readline() == "True\n"
        assert is_locked(path)
        assert try_lock(path) is None
        other.kill()
    fd = try_lock(path)
    assert fd is not None and is_locked(path)
    os.close(fd)
    assert not is_locked(path)


PUBLISH = """
import sys
from flask_push import Publisher
publisher = Publisher(sys.argv[1])
for n in range(100):
    publisher.publish("a", f"{sys.argv[2]} {n}")
publisher.close()
"""


def test_processes_that_publish_at_once_lose_nothing(path: Path) -> None:
    url = SqliteBroker(path).url
    others = [python(PUBLISH, url, name) for name in "ABC"]
    for other in others:
        with other:
            pass
        assert other.returncode == 0
    publisher = Publisher(url)
    events = [event.data for event in publisher.history("a", 1000).events]
    publisher.close()
    for name in "ABC":
        assert [e for e in events if e[0] == name] == [f"{name} {n}" for n in range(100)]
    assert len(events) == 300


def on_a_loop(main: t.Coroutine[t.Any, t.Any, None]) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main)


def test_a_process_that_publishes_rings_the_bell_of_a_hub(path: Path) -> None:
    broker = SqliteBroker(path)

    async def main() -> None:
        hub = RecordingSink(broker)
        await hub.watch("a")
        (bell,) = Path(f"{path}.bells").iterdir()
        other = python(PUBLISH, broker.url, "A")
        await until(lambda: len(hub.received("a")) == 100)
        with other:
            pass
        # It was another process that found the bell, and so did not remove it.
        assert bell.exists()
        hub.feed.close()
        assert not bell.exists()

    on_a_loop(main())
    broker.close()


BELL = """
import sys, pathlib
from flask_push._system.datagrams import Receiver
from flask_push._system.datagrams import Sender
receiver = Receiver(pathlib.Path(sys.argv[1]))
print("made", flush=True)
sys.stdin.read()
"""


def test_the_bell_of_a_process_that_was_killed_is_removed(path: Path) -> None:
    broker = SqliteBroker(path)
    (bells := Path(f"{path}.bells")).mkdir()
    with python(BELL, str(bells / "theirs")) as other:
        assert other.stdout and other.stdout.readline() == "made\n"
        ours = Receiver(bells / "ours")
        broker.publish([Event("a", "x")])
        assert {bell.name for bell in bells.iterdir()} == {"theirs", "ours"}
        other.kill()
    broker.publish([Event("a", "y")])
    assert {bell.name for bell in bells.iterdir()} == {"ours"}
    ours.close()
    broker.close()


def test_a_bell_that_was_closed_keeps_no_other_from_ringing(tmp_path: Path) -> None:
    first, second = (Receiver(tmp_path / name) for name in "ab")
    # Its file is still there, and locked.
    first._socket.close()
    sender = Sender()
    for _ in range(3):
        sender.send(first.path)
        assert sender.send(second.path)
        assert select.select([second], [], [], 5)[0]
        second.empty()
    sender.close()
    first.close()
    second.close()


def test_a_broken_file_is_moved_away(path: Path) -> None:
    broker = SqliteBroker(path)
    broker.publish([Event("a", "x")])
    broker.close()
    path.write_bytes(b"no database at all" * 1000)
    broker.publish([Event("a", "y")])
    assert [entry.data for entry in broker.read(["a"], last=9).entries] == [b"y"]
    assert Path(f"{path}.broken").read_bytes().startswith(b"no database")
    broker.close()


def test_an_epoch_lasts_while_the_machine_runs(path: Path) -> None:
    positions = []
    for _ in range(2):
        broker = SqliteBroker(path)
        positions += broker.publish([Event("a", "x")])
        broker.close()
    assert positions[0].epoch == positions[1].epoch
    assert positions[0].number < positions[1].number


@pytest.fixture
def short() -> t.Iterator[Path]:
    """A directory in which Unix sockets can be."""
    with tempfile.TemporaryDirectory(dir=TEMP) as directory:
        yield Path(directory)


def test_a_bell_rings_though_another_is_full(short: Path) -> None:
    bells = [Doorbell(short) for _ in range(2)]
    rings = Doorbells(short)
    for bell in bells:
        for _ in range(3000):
            rings.ring()
        bell.empty()
        assert not is_readable(bell)
        rings.ring()
        assert is_readable(bell)
    rings.close()
    for bell in bells:
        bell.close()


def test_what_another_program_sends_to_a_bell_does_no_harm(short: Path) -> None:
    bell = Doorbell(short)
    where = bell._socket.getsockname()
    with socket.socket(bell._socket.family, socket.SOCK_DGRAM) as other:
        # As much as macOS sends at once.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
        other.sendto(b"x" * 9000, where)
    assert is_readable(bell)
    bell.empty()
    assert not is_readable(bell)
    bell.close()


def test_a_bell_is_closed_while_another_process_reads_its_port(tmp_path: Path) -> None:
    bell = Receiver(tmp_path / "bell")
    with contextlib.ExitStack() as stack:
        # A Unix socket can't be opened.
        with contextlib.suppress(OSError):
            stack.enter_context(bell.path.open())
        bell.close()
    sender = Sender()
    assert not sender.send(bell.path)
    sender.close()


def is_readable(bell: Doorbell) -> bool:
    return bool(select.select([bell], [], [], 0)[0])
