"""To listen works on other systems."""

from __future__ import annotations

from support.elsewhere import elsewhere as elsewhere
from support.elsewhere import inside
from support.elsewhere import run_tests


def test_a_program_listens_there(elsewhere: str) -> None:
    assert run_tests(elsewhere, "--noconftest", inside("listening")) == 2
