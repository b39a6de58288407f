"""The run directory: where it is, and what is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from support.public_directories import public as public
from support.users import ANOTHER
from support.users import as_user
from support.users import give
from support.users import is_root
from support.users import SOMEONE

from flask_push._system import users
from flask_push._system.rundir import claim
from flask_push._system.rundir import unfit


def seen_as(path: Path, uid: int, mode: int | None = None) -> os.stat_result:
    """What ``lstat`` would give, if the path were another user's."""
    found = path.lstat()
    kind = stat.S_IFMT(found.st_mode)
    permissions = stat.S_IMODE(found.st_mode) if mode is None else mode
    return os.stat_result([kind | permissions, *found[1:4], uid, *found[5:]])


def test_a_directory_is_made_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "instance" / "push-shop"
    assert claim(path) == claim(path) == path
    assert path.stat().st_mode & 0o777 == 0o700


def test_one_that_is_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    (target := tmp_path / "target").mkdir()
    (link := tmp_path / "link").symlink_to(target)
    with pytest.raises(RuntimeError, match=f"is a symbolic link.*{target}"):
        claim(link)
    (nowhere := tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    with pytest.raises(RuntimeError, match="is a symbolic link"):
        claim(nowhere)
    assert not (tmp_path / "missing").exists()


def test_one_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (file := tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError, match="is not a directory"):
        claim(file)
    with pytest.raises(RuntimeError, match="can't be made"):
        claim(file / "push")


def test_one_of_another_user_is_refused_and_named(tmp_path: Path) -> None:
    problem = unfit(tmp_path, seen_as(tmp_path, ANOTHER))
    assert f"belongs to {ANOTHER}" in problem and f"({os.geteuid()})" in problem
    assert "chown -R" in problem and "PUSH_RUN_DIR" in problem
    if is_root():
        give(tmp_path, ANOTHER)
        with pytest.raises(RuntimeError, match=f"belongs to {ANOTHER}"):
            claim(tmp_path)


def test_one_that_every_user_may_write_to_is_refused(tmp_path: Path) -> None:
    (path := tmp_path / "open").mkdir()
    path.chmod(0o777)
    with pytest.raises(RuntimeError, match=f"mode is 777.*Run 'chmod o-w {path}'"):
        claim(path)
    path.chmod(0o770)
    claim(path)


def test_a_mode_says_nothing_where_users_have_no_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where each directory has this mode."""
    monkeypatch.setattr(users, "HAVE_NUMBERS", False)
    tmp_path.chmod(0o777)
    assert claim(tmp_path) == tmp_path


def test_in_roots_temporary_directory_one_of_its_own_is_proposed(public: Path) -> None:
    if is_root():
        public.chmod(0o1777)
        text = as_user(SOMEONE, lambda: claim(public))
    else:
        text = unfit(public, seen_as(public, 0, mode=0o1777))
    assert f"Set PUSH_RUN_DIR to {public / 'push'}" in text


def test_a_volume_of_root_whose_group_may_write_will_do(public: Path) -> None:
    """As Kubernetes mounts one for ``fsGroup``."""
    if not is_root():
        assert unfit(public, seen_as(public, 0, mode=0o2775)) == ""
        return
    give(public, 0, 4242)
    public.chmod(0o2775)
    assert as_user(SOMEONE, lambda: claim(public), groups=[4242]) == str(public)
    without = as_user(SOMEONE, lambda: claim(public))
    assert "belongs to root (0)" in without and "chown -R nobody" in without


def test_one_that_this_user_may_not_write_to_is_refused(public: Path) -> None:
    public.chmod(0o500)
    if is_root():
        give(public, SOMEONE)
        text = as_user(SOMEONE, lambda: claim(public))
    else:
        text = unfit(public, public.lstat())
    assert "can't be written by this process" in text and "chmod u+rwx" in text
