"""A directory that every user may enter."""

from __future__ import annotations

import collections.abc as cabc
import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def public() -> cabc.Iterator[Path]:
    """A directory that every user may enter. Pytest's own is for one user."""
    directory = Path(tempfile.mkdtemp()).resolve()
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)
