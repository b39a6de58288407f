"""Locks between processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flask_push._system import lock


def test_only_one_descriptor_gets_a_lock_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not lock.is_locked(path) and not path.exists()
    fd = lock.try_lock(path)
    assert fd is not None and lock.is_locked(path)
    assert lock.try_lock(path) is None
    os.close(fd)
    assert not lock.is_locked(path)


def test_a_lock_on_a_file_that_was_replaced_meanwhile_is_taken_on_the_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    opened: list[int] = []

    def open_and_replace(path: Path, flags: int) -> int:
        fd = os.open(path, flags, 0o600)
        opened.append(os.fstat(fd).st_ino)
        if len(opened) == 1:
            (tmp_path / "new").touch()
            os.replace(tmp_path / "new", path)
        return fd

    monkeypatch.setattr(lock, "open_own", open_and_replace)
    fd = lock.try_lock(path)
    assert fd is not None and len(opened) == 2
    assert os.fstat(fd).st_ino == path.stat().st_ino != opened[0]
    os.close(fd)


def test_a_shared_lock_waits_for_an_exclusive_one_and_shows_to_others(
    tmp_path: Path,
) -> None:
    path = tmp_path / "lock"
    one = lock.try_lock(path)
    two, three = [os.open(path, os.O_RDWR) for _ in range(2)]
    assert one is not None and not lock.lock_shared(two, 0.01)
    os.close(one)
    assert lock.lock_shared(two, 10) and lock.lock_shared(three, 10)
    os.close(two)
    four = os.open(path, os.O_RDWR)
    assert lock.is_shared(four)
    os.close(three)
    assert not lock.is_shared(four)
    os.close(four)
