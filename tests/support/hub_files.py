"""The files of a hub, and a hub that holds them."""

from __future__ import annotations

from pathlib import Path

import pytest

from flask_push._ipc.files import HubFiles


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (directory := tmp_path / "run").mkdir(0o700)
    return directory


@pytest.fixture
def files(run_dir: Path) -> HubFiles:
    return HubFiles.of(run_dir)
