"""Users come and go at three hubs, while hubs and their store are stopped, killed and
replaced. In the end all know who is there, and each stay was shown once."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.presence_runs import LARGE
from support.presence_runs import QUICK
from support.presence_runs import running


def test_each_stay_of_a_user_is_shown_once_whatever_fails(tmp_path: Path) -> None:
    with running(tmp_path, QUICK) as run:
        # One fault alone, of which the judge excuses nothing.
        run.serve(2)
        run.go([run.stop_hub], rest=1)
        run.serve(2)
        assert run.judge() == []
        run.go(run.deaths(), rest=0.3)
        run.go(run.other_faults(), rest=0.1)
        run.wait(lambda: run.confirmed.total() >= 20, "users have left")
        run.settle()
        assert run.judge() == []
        print(dict(run.figures()))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_each_stay_of_3000_users_is_shown_once(tmp_path: Path) -> None:
    with running(tmp_path, LARGE) as run:
        run.serve(60)
        for _ in range(2):
            run.go([*run.deaths(), *run.other_faults(), run.stop_store_for_long], rest=15)
        run.settle()
        assert run.judge() == []
        print(dict(run.figures()))
