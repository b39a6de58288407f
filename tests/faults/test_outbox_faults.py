"""Writers, relays, the database and the store of an outbox are killed and frozen at any
point. Each committed row is published once, and no other; and in order."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.outbox_faults import compare
from support.outbox_faults import LARGE
from support.outbox_faults import QUICK
from support.outbox_faults import running

COMBINATIONS = [
    ("postgresql", "redis"),
    ("mariadb", "redis"),
    ("postgresql", "sqlite"),
    ("sqlite", "sqlite"),
    ("postgresql", "sentinel"),
]


@pytest.mark.parametrize("name, store", COMBINATIONS)
def test_each_committed_row_is_published_once_whatever_is_killed(
    name: str, store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with running(tmp_path, request.getfixturevalue(name), store, QUICK) as run:
        run.go()
        assert run.judge() == []
        print(dict(run.met))
        assert run.met["events"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name, store", [*COMBINATIONS, ("postgresql", "two masters")])
def test_each_committed_row_is_published_once_in_a_thousand_kills(
    name: str, store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with running(tmp_path, request.getfixturevalue(name), store, LARGE) as run:
        run.go()
        assert run.judge() == []
        print(dict(run.met))


@pytest.mark.parametrize(
    "stored, wrong",
    [
        (["w 1 0 1", "w 2 0 2"], ""),
        (["w 1 0 1"], "lost: w 2 0 2"),
        (["w 1 0 1", "w 2 0 2", "w 2 0 2"], "stored 2 times, committed 1 times: w 2 0 2"),
        (["w 1 0 1", "w 2 0 2", "w 3 0 3"], "stored 1 times, committed 0 times: w 3 0 3"),
        (["w 2 0 2", "w 1 0 1"], "out of order: w 1 0 1 after w 2 0 2"),
    ],
)
def test_the_judge_sees_what_is_lost_doubled_or_out_of_order(
    stored: list[str], wrong: str
) -> None:
    found = compare("a", stored, ["w 1 0 1", "w 2 0 2"])
    assert not found if not wrong else f"a: {wrong}" in found
