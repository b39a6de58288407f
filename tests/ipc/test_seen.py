"""The file with a hub's position: what processes read while it changes, or is gone."""

from __future__ import annotations

import os
import threading
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hub_files import files as files
from support.hub_files import run_dir as run_dir
from support.public_directories import public as public
from support.users import ANOTHER
from support.users import as_user
from support.users import give
from support.users import is_root
from support.users import SOMEONE

from flask_push import Position
from flask_push._event import MAX_NUMBER
from flask_push._ipc import seen
from flask_push._ipc.files import HubFiles
from flask_push._ipc.seen import decode
from flask_push._ipc.seen import encode
from flask_push._ipc.seen import SeenFile
from flask_push._ipc.seen import SIZE

FIRST, SECOND = Position("aaaaa", 7), Position("bbbbb", 2**40)


@pytest.fixture(autouse=True)
def looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process looks for another file at each read."""
    monkeypatch.setattr(seen, "_LOOK_SECONDS", 0.0)


def read(path: Path) -> Position | None:
    """What a process reads that has just begun."""
    return SeenFile(path).read()


def test_a_process_reads_what_the_hub_has_written_last(files: HubFiles) -> None:
    hub, process = SeenFile(files.seen), SeenFile(files.seen)
    assert process.read() is None, "no hub has written yet"
    for position in FIRST, SECOND, Position("bbbbb", MAX_NUMBER):
        hub.write(position)
        assert process.read() == process.read() == read(files.seen) == position
    assert files.seen.name == "hub.seen" and files.seen.stat().st_size == SIZE
    assert files.seen.stat().st_mode & 0o777 == 0o600


def test_the_next_hub_writes_into_the_same_file(files: HubFiles) -> None:
    SeenFile(files.seen).write(FIRST)
    process = SeenFile(files.seen)
    assert process.read() == FIRST
    SeenFile(files.seen).write(SECOND)
    assert process.read() == SECOND


@given(st.integers(0, MAX_NUMBER), st.text("aZ09", min_size=5, max_size=5))
def test_each_position_can_be_read_again(number: int, epoch: str) -> None:
    position = Position(epoch, number)
    assert decode(encode(position)) == position


@given(st.integers(0, SIZE - 1), st.integers(1, 255))
def test_a_byte_that_is_wrong_is_noticed(place: int, change: int) -> None:
    data = bytearray(encode(SECOND))
    data[place] ^= change
    # The last bytes are empty, and mean nothing.
    assert decode(bytes(data)) == (SECOND if place >= SIZE - 4 else None)


@given(st.integers(0, SIZE))
def test_a_part_of_one_position_and_a_part_of_another_are_none(cut: int) -> None:
    torn = encode(FIRST)[:cut] + encode(SECOND)[cut:]
    assert decode(torn) in (None, FIRST, SECOND)
    assert decode(encode(FIRST)[:cut]) == (FIRST if cut == SIZE else None)


@pytest.mark.parametrize("data", [b"", b"\0" * SIZE, b"x" * SIZE, b"x" * 200])
def test_a_file_with_other_contents_has_no_position(files: HubFiles, data: bytes) -> None:
    files.seen.write_bytes(data)
    assert read(files.seen) is None


def test_a_process_that_reads_a_torn_position_takes_the_one_before(files: HubFiles) -> None:
    hub, process = SeenFile(files.seen), SeenFile(files.seen)
    hub.write(FIRST)
    assert process.read() == FIRST
    files.seen.write_bytes(encode(FIRST)[:20] + encode(SECOND)[20:])
    assert process.read() == FIRST
    hub.write(SECOND)
    assert process.read() == SECOND


def test_a_file_that_is_made_shorter_harms_no_process(files: HubFiles) -> None:
    hub, process = SeenFile(files.seen), SeenFile(files.seen)
    hub.write(FIRST)
    assert process.read() == FIRST
    os.truncate(files.seen, 0)
    assert process.read() == FIRST
    hub.write(SECOND)
    assert process.read() == SECOND


def test_many_threads_read_while_the_hub_writes(files: HubFiles) -> None:
    """Each reads positions that were written, and none goes back."""
    hub, process = SeenFile(files.seen), SeenFile(files.seen)
    epochs = ["aaaaa", "zzzzz"]
    hub.write(Position(epochs[0], 0))
    failures: list[t.Any] = []
    ended = threading.Event()

    def look() -> None:
        own, last = SeenFile(files.seen), -1
        while not ended.is_set():
            for end in process, own:
                found = end.read()
                if found is None or found.epoch != epochs[found.number % 2]:
                    failures.append(found)
            assert found is not None
            if found.number < last:
                failures.append((found, last))
            last = found.number

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(5000):
        hub.write(Position(epochs[number % 2], number))
    ended.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert process.read() == Position(epochs[1], 4999)


def test_a_hub_makes_a_file_again_that_was_removed(files: HubFiles) -> None:
    hub, process = SeenFile(files.seen), SeenFile(files.seen)
    hub.renew()
    assert not files.seen.exists(), "there is nothing to write yet"
    hub.write(FIRST)
    assert process.read() == FIRST
    files.seen.unlink()
    assert process.read() is None
    hub.renew()
    assert process.read() == FIRST
    hub.write(SECOND)
    hub.renew()
    assert process.read() == SECOND


def test_a_hub_and_a_process_find_a_file_that_replaced_theirs(files: HubFiles) -> None:
    hub, process = SeenFile(files.seen), SeenFile(files.seen)
    hub.write(FIRST)
    assert process.read() == FIRST
    other = files.seen.with_name("other")
    other.write_bytes(encode(Position("aaaaa", 8)))
    other.rename(files.seen)
    assert process.read() == Position("aaaaa", 8)
    hub.renew()
    assert process.read() == FIRST


def test_a_process_finds_the_first_file_at_once(
    files: HubFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "_LOOK_SECONDS", 3600.0)
    hub, process = SeenFile(files.seen), SeenFile(files.seen)
    assert process.read() is None
    hub.write(FIRST)
    assert process.read() == FIRST


def test_a_process_looks_for_another_file_once_a_second(
    files: HubFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "_LOOK_SECONDS", 3600.0)
    hub, process = SeenFile(files.seen), SeenFile(files.seen)
    hub.write(FIRST)
    assert process.read() == FIRST
    files.seen.unlink()
    SeenFile(files.seen).write(SECOND)
    assert process.read() == FIRST
    process._look_at = 0.0
    assert process.read() == SECOND


def test_a_file_that_can_not_be_written_is_an_error(
    run_dir: Path,
) -> None:
    (path := run_dir / "hub.seen").mkdir()
    hub = SeenFile(path)
    with pytest.raises(OSError):
        hub.write(FIRST)
    path.rmdir()
    hub.renew()
    assert read(path) == FIRST


@pytest.mark.skipif(not is_root(), reason="only root can be another user")
def test_a_file_of_another_user_is_neither_read_nor_written(public: Path) -> None:
    SeenFile(path := public / "hub.seen").write(FIRST)
    path.chmod(0o666)
    give(path, ANOTHER)
    assert as_user(SOMEONE, lambda: read(path)) == "None"
    refused = as_user(SOMEONE, lambda: SeenFile(path).write(SECOND))
    assert "PermissionError" in refused and f"another user ({ANOTHER})" in refused
    give(path, SOMEONE)
    assert as_user(SOMEONE, lambda: read(path)) == str(FIRST)


def test_a_link_is_not_followed(run_dir: Path) -> None:
    SeenFile(run_dir / "other").write(FIRST)
    (run_dir / "hub.seen").symlink_to(run_dir / "other")
    assert read(run_dir / "hub.seen") is None
    with pytest.raises(PermissionError, match="symbolic link"):
        SeenFile(run_dir / "hub.seen").write(SECOND)


def test_a_forked_process_reads_for_itself(files: HubFiles) -> None:
    hub, process = SeenFile(files.seen), SeenFile(files.seen)
    hub.write(FIRST)
    assert process.read() == FIRST
    ours, theirs = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ours[1], str(process.read()).encode())
        os.read(theirs[0], 1)
        os.write(ours[1], str(process.read()).encode())
        os._exit(0)
    try:
        assert os.read(ours[0], 99).decode() == str(FIRST)
        hub.write(SECOND)
        del process
        os.write(theirs[1], b"x")
        assert os.read(ours[0], 99).decode() == str(SECOND)
        os.waitpid(child, 0)
    finally:
        for fd in (*ours, *theirs):
            os.close(fd)


def test_a_file_is_closed_when_it_is_no_longer_used(files: HubFiles) -> None:
    before = os.listdir("/proc/self/fd")
    hub, process = SeenFile(files.seen), SeenFile(files.seen)
    for _ in range(10):
        hub.write(FIRST)
        process.read()
        files.seen.unlink()
        hub.renew()
    del hub, process
    assert os.listdir("/proc/self/fd") == before
