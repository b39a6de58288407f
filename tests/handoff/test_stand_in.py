"""A hub in a thread, which stands in for a process that can not be started."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.process_doors import worker as worker
from support.servers import hubs
from support.sockets import read_until
from support.workers import adopt

from flask_push._handoff.process_door import ProcessDoor


def test_a_thread_stands_in_for_a_while_and_then_a_process_is_tried_again(
    worker: ProcessDoor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "hub.log").write_text("These were its last words.\n")
    (tmp_path / "hub.lock").mkdir()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no hub now"):
            adopt(worker)
    socks = [adopt(worker) for _ in range(3)]
    for sock in socks:
        read_until(sock, b"push:open")
    assert hubs(tmp_path) == []
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert "stands in" in line and "These were its last words." in line
    assert worker._stand_in.until > 0
    assert worker.answers(time.monotonic() + 20) == "", "a probe asks the thread"
    # The time is over, and whatever it was is mended.
    worker._stand_in.until = 0
    (tmp_path / "hub.lock").rmdir()
    with adopt(worker) as sock:
        read_until(sock, b"push:open")
    assert len(hubs(tmp_path)) == 1
    for sock in socks:
        read_until(sock, b"retry: ")
        sock.close()


def test_a_thread_stands_in_for_twice_as_long_each_time(
    worker: ProcessDoor, tmp_path: Path
) -> None:
    (tmp_path / "hub.lock").mkdir()
    seconds = []
    for _ in range(6):
        for _ in range(2):
            with pytest.raises(RuntimeError):
                adopt(worker)
        adopt(worker).close()
        seconds.append(worker._stand_in.seconds)
        worker._stand_in.until = 0
    assert seconds == [120, 240, 480, 900, 900, 900]
