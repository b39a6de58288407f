"""Streams of runs on their way to hubs, some of which know no runs."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import socket
import threading
import typing as t
from pathlib import Path

import pytest
from support.servers import until
from support.workers import adopt
from support.workers import make
from support.workers import STREAM

from flask_push._delivery.follow import Follow
from flask_push._handoff import process_door
from flask_push._handoff.process_door import ProcessDoor
from flask_push._ipc.files import HubFiles
from flask_push._ipc.messages import close_all
from flask_push._ipc.messages import Messages

FOLLOW = STREAM._replace(follow=Follow("a", "1.1", "ai-sdk", framing="chunked"))


class Hub:
    """Answers the hello of one worker, and keeps what it receives."""

    def __init__(self, listener: socket.socket, welcome: dict[str, t.Any]) -> None:
        self.received: list[dict[str, t.Any]] = []
        self._listener = listener
        self._welcome = welcome
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        messages = Messages(self._listener.accept()[0])
        with contextlib.suppress(EOFError, OSError):
            while True:
                for message, fds in messages.receive():
                    close_all(fds)
                    self.received.append(message)
                    if "hello" in message:
                        messages.send({"welcome": 1, "version": "0.1", **self._welcome})
        messages.close()

    def close(self) -> None:
        self._listener.close()
        self._thread.join(20)


class LateEvent(threading.Event):
    """What happened is noticed too late, as in a process that was busy."""

    _is_late = True

    def wait(self, timeout: float | None = None) -> bool:
        if self._is_late:
            self._is_late = False
            assert super().wait(20)
            return False
        return super().wait(timeout)


Start = cabc.Callable[[dict[str, t.Any]], tuple[ProcessDoor, Hub]]


@pytest.fixture
def start(tmp_path: Path) -> cabc.Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def start(welcome: dict[str, t.Any]) -> tuple[ProcessDoor, Hub]:
            hub = Hub(HubFiles.of(tmp_path).listen(), welcome)
            worker = make(tmp_path, starts=False)
            stack.callback(hub.close)
            stack.callback(worker.stop)
            return worker, hub

        yield start


def test_a_stream_of_a_run_is_a_message_of_its_own_kind(start: Start) -> None:
    worker, hub = start({"follows": True})
    adopt(worker, FOLLOW).close()
    adopt(worker).close()
    token = worker.token(FOLLOW)
    assert token.startswith("plain-"), "the hub knows what to answer if it is not valid"
    assert not worker.token(STREAM).startswith("plain-")
    until(lambda: len(hub.received) == 5)
    kinds = [next(iter(message)) for message in hub.received]
    assert kinds == ["hello", "follow", "adopt", "expect_follow", "expect"]
    assert hub.received[3]["ticket"] == token


@pytest.mark.parametrize("how", ["adopt", "token", "token of a run"])
def test_a_busy_worker_notices_late_that_the_hub_has_answered(
    start: Start, how: str
) -> None:
    worker, hub = start({"follows": True})
    worker._welcomed = LateEvent()
    if how == "adopt":
        adopt(worker, FOLLOW).close()
    else:
        assert worker.token(STREAM if how == "token" else FOLLOW)
    until(lambda: len(hub.received) == 2)


def test_a_hub_that_knows_no_runs_gets_none(start: Start) -> None:
    worker, hub = start({})
    for _ in range(2):
        with pytest.raises(RuntimeError, match="older version.*flask push stop"):
            adopt(worker, FOLLOW)
        with pytest.raises(RuntimeError, match="older version"):
            worker.token(FOLLOW)
    adopt(worker).close()
    until(lambda: len(hub.received) == 2)
    assert "adopt" in hub.received[1], "other streams go on"


def test_a_hub_that_does_not_answer_gets_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_door, "_WELCOME_SECONDS", 0.1)
    with HubFiles.of(tmp_path).listen():
        worker = make(tmp_path, starts=False)
        with pytest.raises(RuntimeError, match="has not answered yet"):
            adopt(worker, FOLLOW)
        worker.stop()
