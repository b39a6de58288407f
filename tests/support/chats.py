"""The example chat, and what its page shows."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import re
import shutil
import time
import typing as t
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import expect
from playwright.sync_api import Page

from flask_push import Publisher
from support.servers import flask_run
from support.servers import gunicorn
from support.servers import kill_hubs
from support.servers import ROOT
from support.servers import serve
from support.servers import Server

HISTORY = re.compile(r"/messages$")


SCHEMES: list[t.Literal["light", "dark"]] = ["light", "dark"]


class Chat:
    """The example on a server, and its store."""

    def __init__(self, server: Server, instance: Path) -> None:
        self.server = server
        self.store = instance / "push-app" / "push.db"
        self.store.parent.mkdir(0o700, parents=True, exist_ok=True)
        self.publisher = Publisher(f"sqlite://{quote(str(self.store))}")
        self.spoken: list[str] = []

    def kill(self) -> None:
        """The server, and the process that holds the streams."""
        self.server.kill()
        kill_hubs(self.store.parent)

    def speak(self, *texts: str, name: str = "Eve", **more: t.Any) -> None:
        """Publish a line as another process of the app would."""
        said = {"user": name, "name": name, "time": time.time(), **more}
        for text in texts:
            self.publisher.publish("chat", {**said, "text": text})
            self.spoken.append(text)


@contextlib.contextmanager
def chat_on(name: str, directory: Path, **config: t.Any) -> cabc.Iterator[Chat]:
    ignore = shutil.ignore_patterns("instance", "__pycache__")
    app = shutil.copytree(ROOT / "examples/chat", directory / "chat", ignore=ignore)
    if name == "gunicorn":
        command, more = gunicorn, ["-w", "4", "--chdir", str(app)]
    else:
        command, more = flask_run, []
    module = "app" if name == "gunicorn" else str(app / "app")
    with serve(command, directory, *more, app=module, PUSH_RETRY=0.5, **config) as server:
        chat = Chat(server, app / "instance")
        yield chat
        chat.publisher.close()


@pytest.fixture(params=["flask run", "gunicorn"])
def chat(request: pytest.FixtureRequest, tmp_path: Path) -> cabc.Iterator[Chat]:
    """For tests of what depends on the server."""
    with chat_on(request.param, tmp_path) as chat:
        yield chat


@pytest.fixture
def room(tmp_path: Path) -> cabc.Iterator[Chat]:
    """For tests of what the page does with any server."""
    with chat_on("flask run", tmp_path) as chat:
        yield chat


def enter(page: Page, name: str) -> Page:
    page.get_by_label("Your name").fill(name)
    page.keyboard.press("Enter")
    expect(page.locator("#messages")).to_have_attribute("aria-busy", "false")
    return page


def connected(page: Page) -> None:
    expect(page.get_by_role("status")).to_have_text("connected")


def say(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def shows(page: Page, *texts: str) -> None:
    """Expect these lines, in this order, and no others."""
    expect(page.locator(".text")).to_have_text(list(texts), use_inner_text=True)


def names(page: Page) -> list[str]:
    return page.locator(".name").all_text_contents()


def texts(page: Page) -> list[str]:
    return page.locator(".text").all_text_contents()


def look(page: Page, path: Path) -> None:
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=f"{path}-{scheme}.png")
    fits(page)


def fits(page: Page) -> None:
    """Check that nothing is wider than the window."""
    for part in page.locator("html, body, main").all():
        assert part.evaluate("part => part.scrollWidth <= part.clientWidth")
