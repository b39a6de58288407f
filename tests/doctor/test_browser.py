"""The script of the page *The doctor*, run in a browser: whether a position arrives."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import re
import typing as t
from pathlib import Path

import pytest
from playwright.sync_api import Page
from support.browser import Windows
from support.servers import gunicorn
from support.servers import ROOT
from support.servers import serve
from support.servers import Server
from support.webdriver import Browser
from support.webdriver import firefox
from support.webdriver import Tabs
from support.webdriver import webkit

PAGE = (ROOT / "docs" / "doctor.md").read_text()
SCRIPT = re.findall(r"^```js\n(.*?)^```$", PAGE, re.M | re.S)[0]
ADDRESS = "/stream?channel=chat"


@pytest.fixture
def server(tmp_path: Path) -> cabc.Iterator[Server]:
    app = "apps.service_worker"
    with serve(gunicorn, tmp_path, app=app, PUSH_RETRY=0.5) as server:
        yield server


def verdict(page: Page, address: str = ADDRESS) -> str:
    assert SCRIPT.rstrip().endswith(f'("{ADDRESS}")')
    return str(page.evaluate(SCRIPT.replace(ADDRESS, address)))


def register(page: Page, name: str) -> None:
    page.evaluate(
        """async (name) => {
            await navigator.serviceWorker.register(`/worker/${name}.js`, {scope: "/"})
            while (!navigator.serviceWorker.controller)
                await new Promise((then) => setTimeout(then, 20))
        }""",
        name,
    )


def test_the_script_reports_that_the_position_arrived(
    server: Server, windows: Windows
) -> None:
    page = windows.open(f"http://localhost:{server.port}/ping")
    assert verdict(page).startswith("All is well")


def test_the_script_finds_a_service_worker_that_drops_the_position(
    server: Server, windows: Windows
) -> None:
    page = windows.open(f"http://localhost:{server.port}/ping")
    register(page, "passes")
    assert verdict(page).startswith("Last-Event-ID is lost")


@pytest.mark.parametrize("start", [firefox, webkit])
def test_firefox_and_webkit_send_the_position_past_a_service_worker(
    start: cabc.Callable[[], t.ContextManager[Browser]], server: Server
) -> None:
    with start() as browser, contextlib.closing(Tabs(browser)) as tabs:
        page = tabs.open(f"http://localhost:{server.port}/ping")
        register(page, "passes")
        assert verdict(page).startswith("All is well")


def test_the_cure_on_the_page_works(server: Server, windows: Windows) -> None:
    page = windows.open(f"http://localhost:{server.port}/ping")
    register(page, "cured")
    assert verdict(page).startswith("All is well")


def test_the_script_finds_a_view_that_ignores_positions(
    server: Server, windows: Windows
) -> None:
    page = windows.open(f"http://localhost:{server.port}/ping")
    assert verdict(page, f"{ADDRESS}&replay=no").startswith("The view ignores positions")


def test_the_script_finds_a_stream_that_is_refused(
    server: Server, windows: Windows
) -> None:
    page = windows.open(f"http://localhost:{server.port}/ping")
    assert verdict(page, f"{ADDRESS}&status=403").startswith("The browser gave up")
