"""The users of the machine, and of a machine that has none by number."""

from __future__ import annotations

import os
import typing as t

import pytest

from flask_push._system import users


def test_users_and_groups_have_names() -> None:
    assert users.user_name(0) == "root (0)"
    assert users.group_name(0) == "root (0)"
    assert users.user_name(123_456_789) == "123456789"
    assert users.group_name(123_456_789) == "123456789"


def test_a_mode_says_who_may_write(tmp_path: t.Any) -> None:
    assert users.current_user() == os.geteuid()
    assert users.is_root() == (os.geteuid() == 0)
    for mode, group, others in (0o700, False, False), (0o770, True, False):
        tmp_path.chmod(mode)
        assert users.group_may_write(tmp_path.stat()) == group
        assert users.others_may_write(tmp_path.stat()) == others
    tmp_path.chmod(0o777)
    assert users.others_may_write(tmp_path.stat())


def test_without_numbers_a_file_belongs_to_each_process(
    tmp_path: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "HAVE_NUMBERS", False)
    monkeypatch.setattr(users, "pwd", None)
    monkeypatch.setattr(users, "grp", None)
    tmp_path.chmod(0o777)
    # On Windows each directory has this mode, and the owner 0.
    assert users.current_user() == 0 and not users.is_root()
    assert not users.group_may_write(tmp_path.stat())
    assert not users.others_may_write(tmp_path.stat())
    assert users.user_name(0) == users.group_name(0) == "0"
