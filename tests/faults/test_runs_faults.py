"""Runs are written by tasks that are delivered again, while holders, workers, hubs and the
store are killed. Each attempt ends once, and each follower receives all of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.run_faults import LARGE
from support.run_faults import QUICK
from support.run_faults import running

STORES = ["sqlite", "redis"]


@pytest.mark.parametrize("store", STORES)
def test_each_follower_has_all_of_a_run_whatever_fails(store: str, tmp_path: Path) -> None:
    with running(tmp_path, store, QUICK) as run:
        run.go()
        assert run.judge() == []
        print(dict(run.figures()))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("store", STORES)
def test_each_follower_has_all_of_a_thousand_events_whatever_fails(
    store: str, tmp_path: Path
) -> None:
    with running(tmp_path, store, LARGE) as run:
        run.go()
        assert run.judge() == []
        print(dict(run.figures()))
