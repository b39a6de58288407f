"""The example forum on a server, and its pages."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import shutil
import typing as t
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext
from playwright.sync_api import expect
from playwright.sync_api import Page

from support.browser import Windows
from support.servers import flask_run
from support.servers import gunicorn
from support.servers import ROOT
from support.servers import serve
from support.servers import Server
from support.servers import status


class Forum:
    """The example on a server."""

    def __init__(self, server: Server, instance: Path) -> None:
        self.server = server
        self._instance = instance
        self.database = instance / "forum.db"

    @property
    def streams(self) -> int:
        return int(status(self._instance, "push-app").get("streams", 0))

    def enter(self, windows: Windows, name: str, profile: BrowserContext) -> Page:
        """Log in, and wait until the page has its stream."""
        page = windows.open(self.server.url, profile)
        page.get_by_role("button", name=name).click()
        return connected(page)

    def open(self, windows: Windows, group: str, profile: BrowserContext) -> Page:
        """Another tab of a browser that is logged in."""
        page = windows.open(f"{self.server.url}/groups/{group}", profile)
        return connected(page)


@contextlib.contextmanager
def forum_on(name: str, directory: Path, **config: t.Any) -> cabc.Iterator[Forum]:
    ignore = shutil.ignore_patterns("instance", "__pycache__")
    app = shutil.copytree(ROOT / "examples/forum", directory / "forum", ignore=ignore)
    if name == "gunicorn":
        command, more, module = gunicorn, ["-w", "4", "--chdir", str(app)], "app"
    else:
        command, more, module = flask_run, [], str(app / "app")
    with serve(command, directory, *more, app=module, PUSH_RETRY=0.5, **config) as server:
        yield Forum(server, app / "instance")


@pytest.fixture(params=["flask run", "gunicorn"])
def forum(request: pytest.FixtureRequest, tmp_path: Path) -> cabc.Iterator[Forum]:
    """For tests of what depends on the server."""
    with forum_on(request.param, tmp_path) as forum:
        yield forum


@pytest.fixture
def plain(tmp_path: Path) -> cabc.Iterator[Forum]:
    """For tests of what the page does with any server."""
    with forum_on("flask run", tmp_path) as forum:
        yield forum


def connected(page: Page) -> Page:
    expect(page.locator("#state")).to_have_text("connected")
    return page


def say(page: Page, text: str) -> None:
    page.get_by_label("Comment", exact=True).fill(text)
    page.keyboard.press("Enter")


def shows(page: Page, *texts: str) -> None:
    """Expect these comments, in this order, and no others."""
    expect(page.locator("#comments .text")).to_have_text(list(texts))


def groups(page: Page, *names: str) -> None:
    """Expect the page to be connected, and to have these groups."""
    expect(page.locator("nav a")).to_have_text(list(names))
    connected(page)


def is_logged_out(page: Page, notice: str) -> None:
    expect(page.get_by_role("heading")).to_have_text(["Who are you?"])
    expect(page.locator("#notice")).to_have_text(notice)
