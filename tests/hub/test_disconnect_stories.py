"""No event is written to a stream after its user was disconnected, and each stream that its
view still grants gets all: random stories with real stores, and hubs that are stopped,
restarted and replaced."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from pathlib import Path

import pytest
from support.disconnect_machines import Stories
from support.redises import Redis

STORIES_PER_STORE = 50


@pytest.fixture
def count(request: pytest.FixtureRequest) -> int:
    return 5000 if request.config.getoption("--soak") else 50


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("store", ["SQLite", "Redis"])
def test_no_event_follows_a_disconnect_and_none_is_lost(
    store: str, count: int, tmp_path: Path
) -> None:
    figures: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(Redis.started(tmp_path)) if store == "Redis" else None
        for first in range(0, count, STORIES_PER_STORE):
            seed = random.randrange(10**6)
            url = f"sqlite://{tmp_path}/{first}.db"
            if redis is not None:
                redis.do("FLUSHALL")
                url = redis.url
            with contextlib.closing(Stories(url, random.Random(seed))) as stories:
                for number in range(first, first + STORIES_PER_STORE):
                    assert stories.play(number, 40) == [], seed
            figures += stories.figures
        print(store, dict(figures))
        assert figures["stories"] == count and not figures["gaps"]
        assert figures["reasons read"] and figures["events read"] > count
