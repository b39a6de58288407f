"""Files that processes share: links, fifos and files of other users are refused."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

import pytest
from support.public_directories import public as public
from support.users import ANOTHER
from support.users import as_user
from support.users import give
from support.users import is_root
from support.users import SOMEONE

from flask_push import Event
from flask_push import NotPublished
from flask_push._ipc.files import HubFiles
from flask_push._ipc.files import Tie
from flask_push._system.inodes import open_own
from flask_push.brokers import open_broker

# The files in it.


def test_a_link_is_not_followed_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (precious := tmp_path / "precious").write_text("precious")
    (link := tmp_path / "hub.log").symlink_to(precious)
    with pytest.raises(PermissionError, match="symbolic link"):
        open_own(link, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    files = HubFiles.of(tmp_path)
    files.lock.symlink_to(precious)
    with pytest.raises(PermissionError, match="symbolic link"):
        files.try_lock()
    assert precious.read_text() == "precious"


def test_what_is_no_ordinary_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in "fifo", ".":
        with pytest.raises(PermissionError, match="no ordinary file"):
            open_own(tmp_path / name, os.O_RDONLY)


def test_last_words_that_are_not_in_a_file_are_not_waited_for(tmp_path: Path) -> None:
    files = HubFiles.of(tmp_path)
    os.mkfifo(files.log)
    assert files.log_end() == ""


def test_a_file_of_another_user_is_refused(public: Path) -> None:
    (file := public / "hub.lock").write_text("")
    file.chmod(0o666)
    if is_root():
        give(file, ANOTHER)
        text = as_user(SOMEONE, lambda: open_own(file, os.O_RDWR))
        assert "PermissionError" in text and f"another user ({ANOTHER})" in text
        give(file, SOMEONE)
        assert as_user(SOMEONE, lambda: open_own(file, os.O_RDWR)).isdigit()
    os.close(open_own(file, os.O_RDWR))


def test_what_sqlite_would_open_is_checked_before(public: Path) -> None:
    (precious := public / "precious").write_text("precious")
    for name in "push.db", "push.db-wal", "push.db-shm":
        path = public / "run" / name
        path.parent.mkdir(mode=0o700)

        def publish() -> str:
            broker = open_broker("sqlite:", path.parent)  # noqa: B023
            try:
                (position,) = broker.publish([Event("a", "x")])
                return position.epoch
            finally:
                broker.close()

        os.mkfifo(path)
        with pytest.raises(NotPublished, match="no ordinary file"):
            publish()
        shutil.rmtree(path.parent)
        if is_root():
            path.parent.mkdir(mode=0o700)
            path.symlink_to(precious)
            for mine in path.parent, precious:
                give(mine, SOMEONE)
            give(path, ANOTHER)
            text = as_user(SOMEONE, publish)
            assert "NotPublished" in text and f"another user ({ANOTHER})" in text
            assert precious.read_text() == "precious"
            shutil.rmtree(path.parent)


def test_a_link_to_a_store_that_is_this_users_is_followed(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "push.db").symlink_to(tmp_path / "large" / "push.db")
    broker = open_broker("sqlite:", tmp_path)
    broker.publish([Event("a", "x")])
    broker.close()
    assert (tmp_path / "large" / "push.db").stat().st_size


# The ties, which every process of the app takes at its start.


def test_a_tie_that_another_process_keeps_locked_is_not_waited_for(tmp_path: Path) -> None:
    files = HubFiles.of(tmp_path)
    tie = Tie(files)
    with files.ties.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        tie.renew(create=True)
        assert tie._fd is None
    tie.renew(create=True)
    assert tie._fd is not None
    tie.release()


def test_a_fifo_is_no_tie(tmp_path: Path) -> None:
    files = HubFiles.of(tmp_path)
    os.mkfifo(files.ties)
    tie = Tie(files)
    for make in False, True:
        tie.renew(make)
        assert tie._fd is None


def test_a_tie_in_the_directory_of_another_user_is_not_taken(public: Path) -> None:
    files = HubFiles.of(public)
    files.ties.write_text("")
    if is_root():
        give(public, ANOTHER)
        give(files.ties, SOMEONE)

        def hold() -> bool:
            tie = Tie(files)
            tie.renew(create=True)
            return tie._fd is not None

        assert as_user(SOMEONE, hold) == "False"
        give(public, SOMEONE)
        assert as_user(SOMEONE, hold) == "True"
