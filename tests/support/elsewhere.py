"""Programs that lack what another system lacks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

import pytest

from support.servers import TESTS

SYSTEMS = ("windows", "macos")


def lacking(system: str) -> dict[str, str]:
    """The environment of such a program, which checks itself, and whose warnings are
    errors."""
    path = str(TESTS / "support" / "without_linux")
    checks = {"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error"}
    return {"PRETEND": system, "PYTHONPATH": path, **checks}


@pytest.fixture(params=SYSTEMS)
def elsewhere(request: pytest.FixtureRequest) -> str:
    """The system whose missing abilities a test simulates."""
    return str(request.param)


def run(
    system: str, *words: str, seconds: float = 100, **options: t.Any
) -> subprocess.CompletedProcess[str]:
    """Run Python there."""
    env = {**os.environ, **lacking(system), **options.pop("env", {})}
    command = [sys.executable, *words]
    return subprocess.run(
        command, env=env, text=True, capture_output=True, timeout=seconds, **options
    )


def run_tests(system: str, *words: str, seconds: float = 100, **env: str) -> int:
    """Run tests there: files, and other words for pytest.

    :return: How many have passed. None has failed or was skipped.
    """
    plugins = ["-p", "support.without_linux.runner", "-p", "no:cacheprovider"]
    with tempfile.TemporaryDirectory() as directory:
        plugins += ["--basetemp", f"{directory}/tests"]
        command = ["-m", "pytest", "-q", "-rs", *plugins, *words]
        env = {**env, "TMPDIR": directory}
        done = run(system, *command, seconds=seconds, env=env, cwd=TESTS.parent)
    assert done.returncode == 0, f"{done.stdout[-8000:]}\n{done.stderr[-4000:]}"
    last = done.stdout.strip().splitlines()[-1]
    found = re.search(r"(\d+) passed", last)
    assert found and "skipped" not in last, done.stdout[-8000:]
    return int(found[1])


def inside(name: str) -> str:
    """A file of tests that run only there."""
    return str(Path("tests", "elsewhere", "inside", f"{name}.py"))


def names(table: dict[str, str]) -> list[tuple[str, str]]:
    """The names of a table that has them by module, each with its module."""
    return [(module, name) for module, text in table.items() for name in text.split()]
