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
from support.runs import events_of

from flask_push import Publisher


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


#: Two runs of one process. The second is in its block when the process ends.
RUNS = """
import sys
from flask_push import Publisher
publisher = Publisher(sys.argv[1])
with publisher.run("a") as run:
    print(run.write_all("xyz"))
    run.progress(1, 2)
print(run.status)
run = publisher.run("b").__enter__()
"""


def test_runs_are_written_and_end_with_their_process(
    elsewhere: str, tmp_path: Path
) -> None:
    url = f"sqlite://{tmp_path}/push.db"
    done = run(elsewhere, "-c", RUNS, url)
    assert (done.stdout, done.stderr) == ("['x', 'y', 'z']\ndone\n", "")
    publisher = Publisher(url)
    assert events_of(publisher, "a")[2:] == ["x", "y", "z", "[done]"]
    assert events_of(publisher, "b") == ["[queued]", "[running]", "[lost]"]
    publisher.close()
