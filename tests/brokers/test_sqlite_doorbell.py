"""The bells that tell hubs of new events."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from support.sqlite_files import broker as broker
from support.sqlite_files import path as path
from support.sqlite_files import run
from support.sqlite_files import say

from flask_push.brokers.sqlite import SqliteBroker
from flask_push.brokers.sqlite.doorbell import Doorbell
from flask_push.brokers.sqlite.doorbell import Doorbells
from flask_push.testing._sink import RecordingSink
from flask_push.testing._sink import until


def test_a_bell_that_is_not_heard_costs_no_event(path: Path, broker: SqliteBroker) -> None:
    async def test(hub: RecordingSink) -> None:
        await hub.watch("a")
        for bell in Path(f"{path}.bells").iterdir():
            bell.unlink()
        say(broker, "unheard")
        await until(lambda: hub.received("a"))

    run(broker, test)


# The bells.


def test_bells_work_in_a_directory_with_a_long_name(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 120) / "bells"
    directory.parent.mkdir()
    bell = Doorbell(directory)
    doorbells = Doorbells(directory)
    doorbells.ring()
    doorbells.ring()
    bell.empty()
    bell.close()
    doorbells.ring()
    doorbells.close()
    assert list(directory.iterdir()) == []


def test_the_bells_of_dead_hubs_are_taken_down(tmp_path: Path) -> None:
    bell = Doorbell(tmp_path)
    bell._socket.close()
    nowhere = Doorbells(tmp_path / "nowhere")
    nowhere.ring()
    nowhere.close()
    doorbells = Doorbells(tmp_path)
    doorbells.ring()
    doorbells.close()
    assert list(tmp_path.iterdir()) == []


def test_a_bell_that_is_full_is_no_trouble(tmp_path: Path) -> None:
    bell = Doorbell(tmp_path)
    doorbells = Doorbells(tmp_path)
    for _ in range(5000):
        doorbells.ring()
    bell.empty()
    bell.close()
    doorbells.close()


def test_a_ring_removes_nothing_but_bells_and_follows_no_link(tmp_path: Path) -> None:
    (directory := tmp_path / "bells").mkdir()
    (directory / "file").write_text("precious")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(tmp_path / "other"))
        other.setblocking(False)
        (directory / "link").symlink_to(tmp_path / "other")
        doorbells = Doorbells(directory)
        doorbells.ring()
        doorbells.close()
        with pytest.raises(BlockingIOError):
            other.recv(1)
    assert (directory / "file").read_text() == "precious"


def test_a_bell_that_is_removed_is_made_again(path: Path, broker: SqliteBroker) -> None:
    async def test(hub: RecordingSink) -> None:
        bells = Path(f"{path}.bells")
        (before,) = bells.iterdir()
        before.unlink()
        await until(lambda: list(bells.iterdir()))
        (again,) = bells.iterdir()
        assert again != before
        hub.feed.close()
        assert list(bells.iterdir()) == []

    run(broker, test)


def test_a_feed_without_a_bell_looks_often_and_says_why(
    path: Path, broker: SqliteBroker, caplog: pytest.LogCaptureFixture
) -> None:
    Path(f"{path}.bells").write_text("Here no directory can be.")

    async def test(hub: RecordingSink) -> None:
        await hub.watch("a")
        for n in range(3):
            say(broker, f"{n}")
            await until(lambda n=n: hub.received("a")[-1:] == [f"{n}".encode()])  # type: ignore[misc]
        assert [r.levelname for r in caplog.records] == ["WARNING"]
        assert f"No socket could be made in {path}.bells" in caplog.text
        # Where one can be made later, it is.
        Path(f"{path}.bells").unlink()
        await until(lambda: list(path.parent.glob("push.db.bells/*")))

    run(broker, test)
