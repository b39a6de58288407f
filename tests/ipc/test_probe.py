"""Whether a hub answers: none that runs, one that starts, and one that does not."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import os
import threading
import time
import typing as t
from pathlib import Path

import pytest

from flask_push._ipc.files import HubFiles
from flask_push._ipc.messages import Messages
from flask_push._ipc.probe import answers
from flask_push._ipc.status import status_of

STATUS = {"status": {"pid": 1, "version": "1", "streams": 0, "position": ""}}


@pytest.fixture
def files(tmp_path: Path) -> HubFiles:
    return HubFiles.of(tmp_path)


@contextlib.contextmanager
def lives(files: HubFiles) -> cabc.Iterator[None]:
    """As a hub does, hold the lock."""
    fd = files.try_lock()
    assert fd is not None
    try:
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def listens(files: HubFiles, *replies: dict[str, t.Any] | None) -> cabc.Iterator[None]:
    """As a hub does, but with these replies, one to each connection. ``None`` closes the
    connection, and is no reply."""
    with files.listen() as listener:
        ended = threading.Event()

        def run() -> None:
            for reply in replies:
                messages = Messages(listener.accept()[0])
                if reply is None:
                    messages.close()
                    continue
                messages.receive()
                if reply:
                    messages.send(reply)
                else:
                    ended.wait(20)
                messages.close()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def soon(seconds: float = 20) -> float:
    return time.monotonic() + seconds


def test_no_hub_is_no_fault(files: HubFiles) -> None:
    assert answers(files, soon()) is None
    assert not list(files.sock.parent.iterdir()), "it makes no file"


def test_a_hub_that_was_killed_has_left_its_socket(files: HubFiles) -> None:
    files.listen().close()
    assert files.sock.exists()
    assert answers(files, soon()) is None


def test_a_hub_answers(files: HubFiles) -> None:
    with lives(files), listens(files, STATUS, STATUS):
        assert answers(files, soon()) == ""
        assert status_of(files) == STATUS["status"]


def test_a_hub_that_does_not_answer_in_time_is_a_fault(files: HubFiles) -> None:
    with lives(files), listens(files, {}), pytest.raises(TimeoutError):
        answers(files, soon(0.1))


def test_a_hub_that_never_listens_is_a_fault(files: HubFiles) -> None:
    """Its socket was removed, perhaps, so no worker reaches it."""
    with lives(files), pytest.raises(FileNotFoundError):
        answers(files, soon(0.1))


def test_a_hub_that_starts_is_waited_for(files: HubFiles) -> None:
    found: list[str | None] = []
    asking = threading.Thread(target=lambda: found.append(answers(files, soon())))
    with lives(files):
        asking.start()
        with listens(files, None, STATUS):
            asking.join()
    assert found == [""]


@pytest.mark.parametrize(("store", "trouble"), [("ok", ""), ("It is away.",) * 2])
def test_a_hub_says_whether_it_can_read_its_store(
    files: HubFiles, store: str, trouble: str
) -> None:
    status = {"status": {**STATUS["status"], "store": store}}
    with lives(files), listens(files, status):
        assert answers(files, soon()) == trouble


def test_what_is_not_a_hub_is_a_fault(files: HubFiles) -> None:
    with listens(files, {"status": {"pid": "x"}}):
        with pytest.raises(ConnectionError, match="not a hub of Flask-Push"):
            answers(files, soon())
