"""Processes use the runs of a channel in any order, and calls of the store fail.

Each attempt ends at most once, with nothing behind its end, and has each event of which
``write`` has returned, once and in order.
"""

from __future__ import annotations

import collections.abc as cabc
import itertools
import typing as t
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import HealthCheck
from hypothesis import settings
from hypothesis import strategies as st
from support.each_store import STORES
from support.redises import Redis
from support.run_stories import Step
from support.run_stories import steps
from support.run_stories import Story

from flask_push._holder import patience
from flask_push.brokers import KeepsRuns
from flask_push.brokers import open_broker

_channels = (f"c{n}" for n in itertools.count())


@pytest.fixture(params=STORES)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> cabc.Iterator[KeepsRuns]:
    if request.param != "redis":
        url = "memory:" if request.param == "memory" else f"sqlite://{tmp_path}/push.db"
        broker = open_broker(url, timeout=20)
        yield t.cast(KeepsRuns, broker)
        broker.close()
        return
    with Redis.started(tmp_path) as redis:
        broker = open_broker(redis.url, timeout=20)
        yield t.cast(KeepsRuns, broker)
        broker.close()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two tries of a store in trouble."""
    monkeypatch.setattr(patience, "_FIRST_PAUSE", 0)
    monkeypatch.setattr(patience, "_LONGEST_PAUSE", 0)


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=steps(), most=st.sampled_from([300, 600, 10**6]))
def test_a_run_is_whole_and_ends_once(
    broker: KeepsRuns, steps: list[Step], most: int
) -> None:
    story = Story(broker, next(_channels), most)
    for step in steps:
        story.take(step)
    story.judge()
