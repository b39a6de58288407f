"""The directory in which processes of an app count."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_push._ipc.process_figures import ProcessFigures


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "hub.figures"


def only(directory: Path) -> Path:
    """The one file that is there."""
    (path,) = directory.iterdir()
    return path


def close(*all: ProcessFigures) -> None:
    for each in all:
        each.abandon()
