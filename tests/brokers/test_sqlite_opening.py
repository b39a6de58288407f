"""How the file of a store is opened, replaced and moved away."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest
from support.sqlite_files import broker as broker
from support.sqlite_files import heard
from support.sqlite_files import path as path
from support.sqlite_files import remove
from support.sqlite_files import say
from support.sqlite_files import store

from flask_push import Event
from flask_push import NotPublished
from flask_push import NotRead
from flask_push.brokers.sqlite import SqliteBroker
from flask_push.brokers.sqlite.doorbell import Doorbell


def epoch(broker: SqliteBroker) -> str:
    return broker.read([], after=0).epoch


# The file.


def test_files_are_the_users_alone(path: Path, broker: SqliteBroker) -> None:
    say(broker)
    bell = Doorbell(path.parent / "push.db.bells")
    files = [file for file in path.parent.rglob("*") if not file.is_socket()]
    assert len(files) == 5
    for file in files:
        assert not stat.S_IMODE(file.lstat().st_mode) & 0o077, file
    bell.close()


def test_a_file_that_was_removed_is_made_anew(path: Path, broker: SqliteBroker) -> None:
    say(broker, "1")
    heard(broker)
    before = epoch(broker)
    remove(path)
    say(broker, "2")
    assert heard(broker) == [b"2"]
    assert epoch(broker) != before


def test_a_file_that_was_moved_here_is_another_epoch(
    path: Path, broker: SqliteBroker
) -> None:
    say(broker, "1")
    before = epoch(broker)
    copy = path.with_name("copy")
    with store(path) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    say(broker, "2")
    remove(path)
    copy.rename(path)
    assert heard(broker) == [b"1"]
    assert epoch(broker) != before
    other = SqliteBroker(path)
    assert epoch(other) == epoch(broker), "one new epoch, for all"
    other.close()


def test_an_older_copy_in_the_same_file_is_another_epoch(path: Path) -> None:
    """As ``cp`` does it, while nothing runs."""
    broker = SqliteBroker(path)
    say(broker, "1")
    before = epoch(broker)
    broker.close()
    shutil.copyfile(path, path.with_name("copy"))
    say(broker, "2")
    broker.close()
    assert epoch(broker) == before
    broker.close()
    with open(path, "r+b") as file:
        file.write(path.with_name("copy").read_bytes())
    assert heard(broker) == [b"1"]
    after = epoch(broker)
    assert after != before
    broker.close()
    assert epoch(broker) == after, "one new epoch, for all"
    broker.close()


def test_a_restart_of_the_machine_is_another_epoch(
    path: Path, broker: SqliteBroker
) -> None:
    say(broker, "1")
    before = epoch(broker)
    broker.close()
    with store(path) as connection:
        connection.execute("UPDATE store SET boot = 'another'")
    assert epoch(broker) != before
    assert heard(broker) == [b"1"], "what is still there can be read"


def test_a_restart_of_the_process_is_not(path: Path, broker: SqliteBroker) -> None:
    id = say(broker, "1")
    broker.close()
    other = SqliteBroker(path)
    page = other.read(["a"], after=0)
    assert f"{page.epoch}-" in id
    other.close()


@pytest.mark.parametrize("garbage", [b"x" * 8192, b"SQLite format 3\0" + b"\xff" * 8192])
@pytest.mark.parametrize("first", ["publish", "read"])
def test_a_broken_file_is_moved_away(
    garbage: bytes, first: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = SqliteBroker(path)
    say(broker, "1")
    broker.close()
    for _ in range(2):
        path.write_bytes(garbage)
        if first == "read":
            with pytest.raises(NotRead):
                heard(broker)
        say(broker, "2")
        assert heard(broker) == [b"2"]
        assert Path(f"{path}.broken").read_bytes() == garbage
        assert "is broken" in caplog.text
        broker.close()
    assert len(list(path.parent.glob("*broken"))) == 1, "one is kept"


def test_a_file_that_breaks_under_its_readers_is_moved_away(path: Path) -> None:
    """Pages in the middle turn to garbage while a connection is open."""
    broker = SqliteBroker(path)
    broker.publish([Event("a", "x" * 1000) for _ in range(200)])
    broker.close()
    heard(broker)
    with open(path, "r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096 * 40)
    with pytest.raises(NotRead):
        for _ in range(3):
            SqliteBroker(path).read(["a"], after=0)
    say(broker, "2")
    assert heard(broker) == [b"2"]
    broker.close()


def test_a_file_of_another_version_is_refused(path: Path, broker: SqliteBroker) -> None:
    say(broker)
    broker.close()
    with store(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="another version of Flask-Push"):
            heard(broker)
        with pytest.raises(RuntimeError, match="another version of Flask-Push"):
            say(broker)


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    broker = SqliteBroker(tmp_path / "nowhere" / "push.db")
    with pytest.raises(NotPublished, match="nowhere"):
        say(broker)
