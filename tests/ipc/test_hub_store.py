"""A process finds out whether the hub reads another store."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_push._ipc.files import HubFiles
from flask_push._ipc.hub_store import note_store
from flask_push._ipc.hub_store import reads_another
from flask_push._ipc.hub_store import say_hello
from flask_push._ipc.protocol import Hello

URL = "redis://:secret@127.0.0.1:6379/0"


@pytest.fixture
def files(tmp_path: Path) -> HubFiles:
    return HubFiles.of(tmp_path)


def test_a_hub_reads_another_store_if_its_file_says_so(files: HubFiles) -> None:
    assert not reads_another(files, URL), "there is no hub yet"
    note_store(files, URL)
    assert not reads_another(files, URL)
    assert reads_another(files, "sqlite:///push.db")
    note_store(files, "sqlite:///push.db")
    assert reads_another(files, URL)


def test_the_file_has_no_password_and_belongs_to_its_user(files: HubFiles) -> None:
    note_store(files, URL)
    assert b"secret" not in files.store.read_bytes()
    assert files.store.stat().st_mode & 0o777 == 0o600


def test_a_damaged_file_says_nothing(files: HubFiles) -> None:
    files.store.write_bytes(b"")
    assert not reads_another(files, URL)
    files.store.write_bytes(b"x" * 100)
    assert not reads_another(files, URL)
    files.store.unlink()
    files.store.mkdir()
    assert not reads_another(files, URL)
    note_store(files, URL)


def test_a_hub_that_is_not_there_refuses_nothing(files: HubFiles) -> None:
    assert say_hello(files, Hello({"url": URL}, "1")) == ""
