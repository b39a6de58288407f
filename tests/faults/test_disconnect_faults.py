"""Users are disconnected while hubs, workers and stores are stopped, killed and replaced.

No event that was published later is written to a stream of theirs, and all others get all.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.disconnect_runs import running


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    return 20 if request.config.getoption("--soak") else 1


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("store", ["SQLite", "Redis"])
def test_no_event_follows_a_disconnect_whatever_fails(
    store: str, rounds: int, tmp_path: Path
) -> None:
    with running(tmp_path, store) as run:
        run.go(run.all_faults(), deliveries=500, cuts=0, each=rounds, seconds=60 * rounds)
        run.disconnect_until_one_reads_why()
        assert run.finish() == []
        print(store, dict(run.figures()))
