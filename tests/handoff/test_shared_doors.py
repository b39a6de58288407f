"""Which of several hubs a stream goes to, and whose position is the first for it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from support.hub_files import FakeHub
from support.servers import hubs
from support.sockets import read_until
from support.workers import adopt
from support.workers import make
from support.workers import STREAM

from flask_push import Position
from flask_push._handoff.process_door import ProcessDoor
from flask_push._handoff.shared_doors import SharedDoors
from flask_push._ipc.seen import SeenFile

USERS = [STREAM._replace(user=str(number)) for number in range(20)]


def test_the_position_of_a_streams_own_hub_is_the_first(tmp_path: Path) -> None:
    doors: list[ProcessDoor] = []
    for number in range(2):
        (directory := tmp_path / str(number)).mkdir(0o700)
        doors.append(make(directory))
        SeenFile(doors[-1].files.seen).write(Position("aaaaa", number))
    shared = SharedDoors(doors)
    assert shared.positions() == [Position("aaaaa", 0), Position("aaaaa", 1)]
    for stream in USERS:
        own = doors.index(shared._hub_of(stream))
        first, *others = shared.positions(stream)
        assert first == Position("aaaaa", own) and Position("aaaaa", 1 - own) in others
    assert {doors.index(shared._hub_of(stream)) for stream in USERS} == {0, 1}


def test_a_hub_that_runs_goes_before_one_that_has_only_left_a_file(tmp_path: Path) -> None:
    """Nginx brings all streams to the first hub, so the second may never run."""
    doors: list[ProcessDoor] = []
    for number in range(2):
        (directory := tmp_path / str(number)).mkdir(0o700)
        doors.append(make(directory))
    SeenFile(doors[1].files.seen).write(stale := Position("aaaaa", 1))
    shared = SharedDoors(doors)
    try:
        with adopt(doors[0]) as sock:
            read_until(sock, b"push:open")
            SeenFile(doors[0].files.seen).write(live := Position("bbbbb", 9))
            doors[0]._seen._look_at = 0.0
            for stream in USERS:
                first, *others = shared.positions(stream)
                assert first == live and stale in others
    finally:
        shared.stop()


def test_a_probe_asks_each_hub_that_runs(tmp_path: Path) -> None:
    doors: list[ProcessDoor] = []
    for number in range(3):
        (directory := tmp_path / str(number)).mkdir(0o700)
        doors.append(make(directory))
    shared = SharedDoors(doors)
    later = time.monotonic() + 20
    try:
        assert shared.answers(later) is None, "a probe starts none"
        with adopt(doors[1]) as sock:
            read_until(sock, b"push:open")
            assert shared.answers(later) == ""
            assert [door.answers(later) for door in doors] == [None, "", None]
            (pid,) = hubs(tmp_path)
            os.kill(pid, signal.SIGSTOP)
            try:
                with pytest.raises(TimeoutError):
                    shared.answers(time.monotonic() + 0.1)
            finally:
                os.kill(pid, signal.SIGCONT)
    finally:
        shared.stop()


def test_a_probe_finds_the_hub_that_alone_can_not_read_the_store(tmp_path: Path) -> None:
    doors: list[ProcessDoor] = []
    for number in range(2):
        (directory := tmp_path / str(number)).mkdir(0o700)
        doors.append(make(directory))
    later, status = time.monotonic() + 20, {"pid": 1, "version": "1"}
    fine, waiting = {"status": status}, {"status": {**status, "store": "It is away."}}
    with FakeHub(doors[0].files, fine, waiting), FakeHub(doors[1].files, waiting, fine):
        for _ in range(2):
            assert SharedDoors(doors).answers(later) == "It is away."
