"""Processes whose clock is wrong, or is set, age no event."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.sqlite_stores import ask
from support.sqlite_stores import broker as broker
from support.sqlite_stores import held
from support.sqlite_stores import path as path
from support.sqlite_stores import say
from support.sqlite_stores import store

from flask_push import Event
from flask_push._system import clock
from flask_push.brokers.base import Retention
from flask_push.brokers.sqlite import SqliteBroker

# The clock.

PUBLISH = """
import sys
from flask_push import Publisher
print(Publisher(sys.argv[1], timeout=20).publish("a", sys.argv[2], key=sys.argv[2]))
"""


def publish_at(path: Path, data: str, offset: str, **environment: str) -> None:
    """From a process whose clock is wrong."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    assert library, "libfaketime is missing: tests/install libfaketime"
    environment = {"LD_PRELOAD": str(library), "FAKETIME": offset, **environment}
    subprocess.run(
        [sys.executable, "-c", PUBLISH, f"sqlite://{path}", data],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        check=True,
    )


@pytest.mark.parametrize("offset", ["+400d", "-400d"])
@pytest.mark.parametrize("monotonic", ["0", "1"])
@pytest.mark.parametrize("first", ["right", "wrong"])
def test_a_process_whose_clock_is_wrong_ages_nothing(
    first: str, monotonic: str, offset: str, path: Path
) -> None:
    """Whether only its wall clock is wrong, or all that it is told of time."""
    environment = {"DONT_FAKE_MONOTONIC": monotonic}
    if first == "wrong":
        publish_at(path, "wrong", offset, **environment)
    broker = SqliteBroker(path, Retention(age=60))
    say(broker, "before", key="before")
    numbers = [end_of(broker)]
    publish_at(path, "meanwhile", offset, **environment)
    numbers.append(end_of(broker))
    say(broker, "after")
    say(broker, "typing", store=False)
    numbers.append(end_of(broker))
    assert held(broker)[-3:] == ["before", "meanwhile", "after"]
    assert numbers == sorted(numbers) and numbers[-1] - numbers[0] < 60_000_000
    say(broker, "again", key="before")
    assert "again" not in held(broker)
    # It is old enough when it is.
    with store(path) as connection:
        connection.execute("UPDATE store SET age = 1")
    time.sleep(1.1)
    for _ in range(5):
        say(broker, "new", key="new")
        broker.publish([Event("b", "x")])
    assert held(broker) in (["new"], [])
    assert ask(path, "SELECT count(*) FROM key") == 1
    broker.close()


CHANGE = """
import sys
from pathlib import Path
from flask_push import Publisher
publisher = Publisher(sys.argv[1], timeout=20)
for offset in "+0", "+400d", "-400d", "+0":
    Path(sys.argv[2]).write_text(offset)
    publisher.publish("a", offset)
"""


def test_a_process_whose_clock_is_changed_ages_nothing(path: Path, tmp_path: Path) -> None:
    broker = SqliteBroker(path, Retention(age=60))
    say(broker, "before")
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    clock = tmp_path / "clock"
    clock.write_text("+0")
    environment = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
    }
    subprocess.run(
        [sys.executable, "-c", CHANGE, f"sqlite://{path}", str(clock)],
        env={**os.environ, **environment},
        check=True,
    )
    start = end_of(broker)
    say(broker, "after")
    assert held(broker) == ["before", "+0", "+400d", "-400d", "+0", "after"]
    assert end_of(broker) - start < 60_000_000
    broker.close()


def end_of(broker: SqliteBroker) -> int:
    return broker.read([], after=0).end


# The boot.


def test_a_boot_without_a_name_is_named_by_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "_BOOT_ID", tmp_path / "none")
    # In the middle of the time for which the name is the same.
    started = clock._BOOT_SECONDS * 3_000_000
    monkeypatch.setattr(time, "time", lambda: started + clock.since_boot() / 1_000_000)
    name = clock.boot_id()
    assert name == "started-3000000" and " " not in name
    # The wall clock is corrected.
    monkeypatch.setattr(time, "time", lambda: started + clock.since_boot() / 1_000_000 + 60)
    assert clock.boot_id() == name
    # The machine was started an hour later.
    monkeypatch.setattr(
        time, "time", lambda: started + clock.since_boot() / 1_000_000 + 3600
    )
    assert clock.boot_id() != name
