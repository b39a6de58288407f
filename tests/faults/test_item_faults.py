"""Items are set and unset while everything is killed: the items of each reader are always
those of the store in the end, and no other event is lost without a gap."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from support.fault_runs import running
from support.item_runs import ItemRedisRun
from support.item_runs import ItemRun
from support.item_runs import WithItems
from support.redis_run import running as running_on_redis

STARTS: dict[str, t.Any] = {
    "SQLite": (running, ItemRun),
    "Redis": (running_on_redis, ItemRedisRun),
}


@pytest.mark.parametrize("name", STARTS)
def test_no_reader_has_other_items_than_the_store(name: str, tmp_path: Path) -> None:
    start, kind = STARTS[name]
    with start(tmp_path, kind=kind, PUSH_KEEP=1_000_000) as run:
        assert isinstance(run, WithItems)
        run.go(run.faults(), deliveries=1_000, cuts=50, each=1)
        assert run.come_to_the_end() == []
        assert not run.gaps()
        run.publish_again()
        run.go(run.some_losses(), deliveries=0, cuts=0, each=1)
        assert run.finish() == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", STARTS)
def test_no_reader_has_other_items_after_a_million_changes(
    name: str, tmp_path: Path
) -> None:
    """Half of them with each store."""
    start, kind = STARTS[name]
    with start(tmp_path, kind=kind, PUSH_KEEP=1_000_000) as run:
        assert isinstance(run, WithItems)
        run.end_publishers()
        run.at_once = 10
        run.publish_again()
        while run.changed() < 500_000:
            run.go(run.everything(), deliveries=0, cuts=0, each=1, seconds=600)
            # Then it is calm, so that readers come to the end of all changes, too.
            run.go([], deliveries=run.delivered + 20_000, cuts=0, each=0, seconds=600)
            assert run.come_to_the_end(patience=100) == []
            print(name, dict(run.item_figures()), flush=True)
            run.publish_again()
        assert run.finish(patience=100) == []
        print(name, dict(run.item_figures()))
