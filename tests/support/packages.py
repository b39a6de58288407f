"""Other versions of packages than those that the tests run with, each installed into a
directory of its own, once."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest


def install(config: pytest.Config, *requirement: str) -> Path:
    """The directory in which they are installed, with all that they need."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    # Not `config.cache`, which is not there with `-p no:cacheprovider`.
    home = config.rootpath / ".pytest_cache" / "packages" / version
    home.mkdir(parents=True, exist_ok=True)
    path = home / "+".join(requirement)
    # Another process of the tests may need the same ones.
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _install(path, *requirement)
    return path


def _install(path: Path, *requirement: str) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as new:
        options = ["-q", "--disable-pip-version-check", "--only-binary", ":all:"]
        command = [sys.executable, "-m", "pip", "install", *options]
        target = Path(new, "new")
        done = subprocess.run(
            [*command, "--target", str(target), *requirement],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        target.rename(path)


def environment(*paths: Path) -> dict[str, str]:
    """The environment with which a program uses them."""
    programs = [*(path / "bin" for path in paths), Path(sys.executable).parent]
    return {
        "PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
    }
