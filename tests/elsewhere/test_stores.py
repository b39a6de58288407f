"""The brokers keep their contract in processes that lack what Windows or macOS lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.elsewhere import elsewhere as elsewhere
from support.elsewhere import inside
from support.elsewhere import run
from support.elsewhere import run_tests
from support.house import MODULES
from support.redises import Redis


def test_the_package_is_imported_without_a_warning(elsewhere: str) -> None:
    done = run(elsewhere, "-c", "from flask_push import Push")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_each_of_its_modules_is_imported(elsewhere: str) -> None:
    names = [f"flask_push.{name}" for name in MODULES if "-" not in name]
    code = f"import importlib\nfor name in {names}: importlib.import_module(name)"
    done = run(elsewhere, "-c", code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("store", ["Memory", "Sqlite"])
def test_a_broker_keeps_its_contract(elsewhere: str, store: str) -> None:
    assert run_tests(elsewhere, inside("stores"), "-k", store) > 30


def test_the_broker_of_redis_keeps_its_contract(elsewhere: str, tmp_path: Path) -> None:
    with Redis.started(tmp_path) as redis:
        passed = run_tests(elsewhere, inside("stores"), "-k", "Redis", REDIS_URL=redis.url)
        assert passed > 30
