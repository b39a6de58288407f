"""The default store works on other systems."""

from __future__ import annotations

from support.elsewhere import elsewhere as elsewhere
from support.elsewhere import inside
from support.elsewhere import run_tests


def test_a_store_in_a_file_works_there(elsewhere: str) -> None:
    assert run_tests(elsewhere, inside("store_in_a_file")) >= 6
