"""What a store keeps, for how long, and in how much space."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from support.servers import TESTS
from support.sqlite_stores import ask
from support.sqlite_stores import broker as broker
from support.sqlite_stores import epoch_of
from support.sqlite_stores import held
from support.sqlite_stores import path as path
from support.sqlite_stores import say
from support.sqlite_stores import store

from flask_push._system import clock
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until

# Boots.


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kernel's file, as a container may have one of its own."""
    boot = tmp_path / "boot_id"
    monkeypatch.setattr(clock, "_BOOT_ID", boot)
    boot.write_text("first\n")
    return boot


def test_containers_with_boot_ids_of_their_own_share_an_epoch(
    path: Path, boot: Path
) -> None:
    epochs = []
    for n in range(10):
        boot.write_text(f"{'AB'[n % 2] * 8}-0000\n")
        broker = SqliteBroker(path)
        say(broker, str(n))
        epochs.append(epoch_of(broker))
        broker.close()
    # At the second it may be another boot of the machine, for all that is known.
    assert len({*epochs[1:]}) == 1
    assert held(broker) == [str(n) for n in range(10)]
    broker.close()


def test_a_container_that_comes_while_others_are_there_changes_nothing(
    path: Path, boot: Path
) -> None:
    hub = subprocess.Popen(
        [sys.executable, "-m", "apps.other", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=TESTS,
    )
    assert hub.stdin is not None and hub.stdout is not None
    print('["publish", "a", "0"]', file=hub.stdin, flush=True)
    epochs = {hub.stdout.readline()[1:6]}
    for n in range(1, 30):
        boot.write_text(f"container {n}\n")
        broker = SqliteBroker(path)
        say(broker, str(n))
        epochs.add(epoch_of(broker))
        broker.close()
    hub.kill()
    hub.communicate()
    assert len(epochs) == 1
    assert len(ask(path, "SELECT boot FROM store").split()) <= 16
    boot.write_text("rebooted\n")
    assert epoch_of(broker) not in epochs, "no process had it open since before the boot"
    broker.close()


# A store that others have written into.


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM store",
        "UPDATE store SET last = 'x'",
        "UPDATE store SET floor = x'00'",
        "UPDATE store SET bytes = 'x'",
        "UPDATE store SET passing = 'x'",
        "UPDATE store SET age = 'x'",
        "UPDATE store SET count = 'x'",
        "UPDATE store SET max_bytes = 'x'",
        "UPDATE store SET epoch = x'00'",
        "UPDATE store SET boot = x'00ff'",
        "UPDATE store SET inode = 'x'",
    ],
)
@pytest.mark.parametrize("open", [True, False], ids=["open", "closed"])
def test_a_row_that_is_none_of_ours_is_a_new_epoch(
    open: bool, change: str, path: Path, broker: SqliteBroker
) -> None:
    say(broker, "1")
    before = epoch_of(broker)
    if not open:
        broker.close()
    with store(path) as connection:
        connection.execute(change)
    id = say(broker, "2")
    assert held(broker)[-1] == "2"
    unread = ("boot", "inode")
    if not open or not any(name in change for name in unread):
        assert id[:5] == epoch_of(broker) != before


def test_a_hub_of_a_store_without_a_row_goes_on(path: Path, broker: SqliteBroker) -> None:
    async def main() -> None:
        hub = RecordingSink(broker)
        await hub.watch("a")
        before = hub.epoch
        with store(path) as connection:
            connection.execute("DELETE FROM store")
        await until(lambda: hub.epoch != before)
        say(broker, "new")
        await until(lambda: hub.received("a") == [b"new"])
        hub.feed.close()

    say(broker, "old")
    asyncio.run(main())
