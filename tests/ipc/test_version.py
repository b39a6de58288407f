"""Which version this is, and which of two is the newer one."""

from __future__ import annotations

import tomllib

import pytest
from support.servers import ROOT

from flask_push._ipc.version import is_newer
from flask_push._ipc.version import version


def test_the_version_is_that_of_the_package() -> None:
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert version() == about["project"]["version"]


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ("1.0", "0.9.9"),
        ("1.10", "1.9"),
        ("1.0", "1.0rc1"),
        ("1.0rc2", "1.0rc1"),
        ("1.0", "1.0.dev0"),
        ("1.0.post1", "1.0"),
        ("1.0.1", "1.0"),
    ],
)
def test_versions_are_compared_by_their_numbers(newer: str, older: str) -> None:
    assert is_newer(newer, older)
    assert not is_newer(older, newer)
    assert not is_newer(newer, newer)
    assert not is_newer("1.0", "1.0.0")
