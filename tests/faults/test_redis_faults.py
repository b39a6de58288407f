"""Whatever befalls a Redis, nothing is lost untold. Judged afterwards, as in
``test_faults.py``."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from functools import partial
from pathlib import Path

import pytest
from support.cluster_run import running_in_cluster
from support.redis_run import ClockRun
from support.redis_run import RedisRun
from support.redis_run import running
from support.sentinel_run import running_with_sentinel


def test_nothing_is_lost_whatever_befalls_a_redis(tmp_path: Path) -> None:
    with running(tmp_path, PUSH_KEEP=1_000_000) as run:
        run.go(run.troubles(), deliveries=2_000, cuts=100, each=1)
        assert run.come_to_the_end() == []
        assert not run.gaps()
        run.publish_again()
        run.go(run.losses(), deliveries=0, cuts=0, each=1)
        run.go([run.fill_up], deliveries=0, cuts=0, each=8)
        assert run.finish() == []
        assert run.gaps()


def test_a_clock_that_jumps_loses_nothing_and_gives_no_reader_a_gap(
    tmp_path: Path,
) -> None:
    with running(tmp_path, kind=ClockRun, PUSH_KEEP=1_000_000) as run:
        run.go(run.troubles(), deliveries=2_000, cuts=100, each=2)
        assert run.finish() == []
        assert not run.gaps()


def test_readers_get_a_gap_for_events_that_the_store_has_dropped(tmp_path: Path) -> None:
    with running(tmp_path, PUSH_KEEP=20, PUSH_LOG_BYTES=4096) as run:
        run.go(run.troubles(), deliveries=2_000, cuts=100, each=1)
        assert run.finish() == []


def test_readers_get_a_gap_for_events_that_a_failover_has_lost(tmp_path: Path) -> None:
    with running_with_sentinel(tmp_path, PUSH_KEEP=1_000_000) as run:
        faults = [run.fail_over, run.fail_over_and_back]
        run.go(faults, deliveries=0, cuts=0, each=1)
        run.go([], deliveries=1_000, cuts=0, each=0)
        assert run.finish() == []
        assert run.gaps()


STARTS: dict[str, cabc.Callable[..., t.ContextManager[RedisRun]]] = {
    "large": running,
    "small": running,
    "clock": partial(running, kind=ClockRun),
    "sentinel": running_with_sentinel,
    "cluster": running_in_cluster,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STARTS)
def test_nothing_is_lost_in_a_million_deliveries(name: str, tmp_path: Path) -> None:
    keep = 20 if name == "small" else 1_000_000
    with STARTS[name](tmp_path, PUSH_KEEP=keep) as run:
        run.crowd(40)
        for _ in range(10):
            # One of each, and then calm, so that readers get events and not only gaps.
            run.go(run.everything(), deliveries=0, cuts=0, each=1, seconds=300)
            calm = run.delivered + 30_000
            run.go([], deliveries=calm, cuts=0, each=0, seconds=300)
        wrong = run.finish(patience=100)
        print(name, run.figures())
        assert wrong == []
        assert run.heard() >= 250_000


def test_what_a_cluster_has_lost_or_may_have_is_told(tmp_path: Path) -> None:
    with running_in_cluster(tmp_path, PUSH_KEEP=1_000_000) as run:
        faults = [run.fail_over, run.fail_over_and_back, run.migrate]
        run.go(faults, deliveries=0, cuts=0, each=1)
        run.go([], deliveries=1_000, cuts=0, each=0)
        assert run.finish() == []
        assert run.gaps()


MUTANTS = {
    "prev": (
        "flask_push/brokers/redis/lua/store.lua",
        "prev = tails[log]\n",
        "prev = tails[log] and '1'\n",
    ),
    "epoch": (
        "flask_push/brokers/redis/lua/open.lua",
        "if new or server ~= s.server or went_back then",
        "if new then",
    ),
    "patience": (
        "flask_push.brokers.redis.connection",
        'self._fail(TimeoutError(f"It has been silent for {SILENCE_SECONDS:.0f} s."))',
        "pass",
    ),
    "joining": (
        "flask_push.brokers.redis.feed",
        "self._answered(question, names, reply, entries)",
        "self._answered(question, names, reply, [])",
    ),
    "filling": (
        "flask_push._hub.filling",
        "touched = log.fill(page)",
        "touched, log.end, log.hole = [], max(page.end, log.hole), 0",
    ),
    "replay": (
        "flask_push._delivery.readers",
        "if sub.group.reaches(sub.cursor):",
        "if True:",
    ),
    "one turn": (
        "flask_push._hub.fanout",
        "pieces, group.turn = group.turn, []",
        "pieces, group.turn = sorted(group.turn, key=lambda p: str(p).split('.')[1:2]), []",
    ),
    "idempotency": (
        "flask_push._event_checks",
        "return event if data is event.data else replace(event, data=data)",
        "return replace(event, data=data, key=None)",
    ),
}


#: The words for what is then wrong.
FOUND = {
    "prev": "lost",
    "epoch": "lost",
    "patience": "never came to the end",
    "joining": "lost",
    "filling": "lost",
    "replay": "lost",
    "one turn": "out of order",
    "idempotency": "stored twice",
}


def aim(run: RedisRun, safeguard: str) -> None:
    """Cause what only this safeguard keeps from doing harm, whatever the timing."""
    faults: dict[str, list[cabc.Callable[[], t.Any]]] = {
        "prev": [run.cut_links_of_stopped_hubs],
        "epoch": [run.crash_beside_stopped_hubs],
        "patience": [],
        "joining": [run.cut_links_of_stopped_hubs],
        "filling": [run.overrun],
        "replay": [run.cut_readers, run.kill_worker],
        "one turn": [run.say],
        "idempotency": [run.freeze_for_long, run.kill_publisher],
    }
    if safeguard == "idempotency":
        # Each publisher repeats a call that was frozen. No reader is needed for that.
        run.go(faults[safeguard], deliveries=100, cuts=0, each=1)
    else:
        # A hub that has no reader on the channels at that moment loses nothing.
        each = 9 if safeguard == "prev" else 3
        run.go(faults[safeguard], deliveries=500, cuts=50, each=each)
    # Then it is calm for a while, so that all can come to the end.
    run.go([], deliveries=run.delivered + 500, cuts=0, each=0)
    if safeguard == "patience":
        # Where readers come and go, each asks, and silence shows.
        assert run.come_to_the_end() == []
        run.forget_links()


@pytest.mark.parametrize("safeguard", MUTANTS)
def test_without_a_safeguard_something_is_lost(safeguard: str, tmp_path: Path) -> None:
    keep = 20 if safeguard == "prev" else 1_000_000
    # A log that reaches back needs no replay.
    kept = 4096 if safeguard == "replay" else 2**25
    with running(tmp_path, MUTANTS[safeguard], PUSH_KEEP=keep, PUSH_LOG_BYTES=kept) as run:
        aim(run, safeguard)
        # Without it they would wait for ever, and with it for eight seconds.
        wrong = run.finish(patience=12 if safeguard == "patience" else 3)
        assert any(FOUND[safeguard] in line for line in wrong), wrong
