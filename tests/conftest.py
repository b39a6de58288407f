from __future__ import annotations

import collections.abc as cabc
import gc
import os
import signal
import sys
import threading
import time
import typing as t

import pytest
from playwright.sync_api import Browser
from support.browser import chromium
from support.browser import Windows
from support.databases import database as database
from support.databases import database_templates as database_templates
from support.databases import mariadb as mariadb
from support.databases import mariadb_server as mariadb_server
from support.databases import postgresql as postgresql
from support.databases import postgresql_server as postgresql_server
from support.databases import sqlite as sqlite
from support.without_linux.real import descriptors

# A shell lets what it runs in the background ignore it, and so would all servers.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Many of the hundreds of processes that the tests start would spend more time on compiling
# the package than on all else, if the environment kept them from storing the bytecode.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run what takes long, too")


#: Files that take half a minute or more. They start first, in this order, so that at the
#: end no process is left alone with one of them.
LONG = (
    *("browser/test_push_browsers.py", "servers/", "faults/", "browser/"),
    *("hub/test_process.py", "docs/test_bench.py", "hub/test_failstop.py"),
    *("hub/test_takeover.py", "delivery/test_log.py", "brokers/test_brokers.py"),
    *("brokers/test_redis_bridge.py", "app/test_asgi.py", "system/test_unpatched.py"),
    *("docs/test_examples.py", "hub/test_counted_processes.py", "hub/test_hub_presence.py"),
    *("docs/test_docs_celery_rq.py", "hub/test_figure_keeper.py"),
    *("hub/test_items_failing.py", "docs/test_docs.py"),
    *("sqlalchemy/test_outbox_orders.py", "sqlalchemy/test_orders.py"),
)

#: Files whose tests share nothing, so that each of them can run in another process.
ALONE = (
    *("hub/test_failstop.py", "hub/test_process.py", "servers/test_servers.py"),
    *("faults/test_faults.py", "faults/test_redis_faults.py", "docs/test_bench.py"),
    "elsewhere/",
)
#: The tests of one can run in another process than those of the other.
ENGINES = ("firefox", "webkit")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: t.Any) -> t.Any:
    """Give each process whole modules, and single tests of those that share nothing."""
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            if any(name in nodeid for name in ALONE):
                return nodeid
            engines = [name for name in ENGINES if f"[{name}" in nodeid]
            return " ".join([super()._split_scope(nodeid), *engines])

    return Scheduling(config, log)


def order(nodeid: str) -> int:
    """The place of its file in :data:`LONG`, or after the last."""
    file = nodeid.partition("::")[0]
    return next((n for n, name in enumerate(LONG) if name in file), len(LONG))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: order(item.nodeid))
    if config.getoption("--soak"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    items[:] = [item for item in items if item not in slow]
    config.hook.pytest_deselected(items=slow)


@pytest.fixture(scope="module", autouse=True)
def small_heap() -> None:
    """Let the collections of this module skip what was there before it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def browser() -> cabc.Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def windows(browser: Browser) -> cabc.Iterator[Windows]:
    windows = Windows(browser)
    yield windows
    windows.close()
    assert windows.errors == []


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> cabc.Iterator[None]:
    """No thread and no descriptor of this process outlives the test that began it."""
    before = left()
    yield
    deadline = time.monotonic() + 20
    while any(a > b for a, b in zip(left(), before, strict=True)):
        assert time.monotonic() < deadline, (before, left(), threading.enumerate())
        gc.collect()
        time.sleep(0.01)


def left() -> tuple[int, int]:
    # But for those of a loop of the browser's driver, which lasts longer.
    threads = [t for t in threading.enumerate() if not t.name.startswith("asyncio")]
    return len(threads), descriptors()
