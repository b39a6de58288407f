"""Tests of push.js for every browser: what pages do when the app ends their stream."""

from __future__ import annotations

import collections.abc as cabc
import json
import os
import typing as t
from pathlib import Path

import pytest
from playwright.sync_api import Page

from support.browser import Windows
from support.push_js import is_open
from support.push_js import listen
from support.push_js import open_pages
from support.push_js import receives
from support.push_js import say
from support.push_js import WAYS
from support.servers import gunicorn
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import until

#: The tests and fixtures that a module of tests imports.
__all__ = [
    "logins",
    "test_each_page_is_notified_of_a_disconnect_once_and_resumes",
    "test_each_page_gets_the_refusal_that_follows_a_disconnect",
    "test_the_channels_that_are_still_granted_after_a_disconnect_resume",
]

ENDED = "disconnect rights changed"


class Logins:
    """The app with logins on a server, and what its view refuses."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server = server
        self._directory = directory

    def refuse(self, *channels: str, status: int = 0) -> None:
        path = self._directory / "refused.json"
        # No view reads half of it.
        new = path.with_suffix(".new")
        new.write_text(json.dumps({"channels": channels, "status": status}))
        os.replace(new, path)

    def disconnect(self, **said: str) -> None:
        body = json.dumps({"reason": "rights changed", **said}).encode()
        status, _, answer = self.server.request("POST", "/disconnect", body)
        assert status == 200, (answer, self.server.log)

    def open(self, windows: Windows, share: bool | str, *channels: str) -> list[Page]:
        """Two pages of one login that listen."""
        pages = open_pages(windows, self.server.url, 2)
        for page in pages:
            listen(page, *channels, url="/stream?user=7&session=one", share=share)
            note_disconnects(page)
            is_open(page)
        return pages

    def status(self) -> dict[str, t.Any]:
        return status(self._directory)


def note_disconnects(page: Page) -> None:
    page.evaluate("""() => {
        push.on("disconnect", ({reason}) => received.push("disconnect " + reason));
    }""")


@pytest.fixture
def logins(tmp_path: Path) -> cabc.Iterator[Logins]:
    config: dict[str, t.Any] = {"PUSH_RETRY": 0.5, "PUSH_HEARTBEAT": 1}
    # The app is imported once, and not by each worker.
    more = "-w", "3", "--preload"
    with serve(gunicorn, tmp_path, *more, app="apps.logins", **config) as server:
        yield Logins(server, tmp_path)


@pytest.mark.parametrize("share", WAYS)
def test_each_page_is_notified_of_a_disconnect_once_and_resumes(
    share: bool | str, logins: Logins, windows: Windows
) -> None:
    pages = logins.open(windows, share, "a")
    say(logins.server, "a", 1)
    for page in pages:
        receives(page, 1)
    logins.disconnect(user="7")
    say(logins.server, "a", 2)
    for page in pages:
        page.wait_for_function("received.length >= 3")
    say(logins.server, "a", 3)
    for page in pages:
        receives(page, 1, ENDED, 2, 3)


@pytest.mark.parametrize("share", WAYS)
def test_each_page_gets_the_refusal_that_follows_a_disconnect(
    share: bool | str, logins: Logins, windows: Windows
) -> None:
    pages = logins.open(windows, share, "a")
    logins.refuse(status=401)
    logins.disconnect(session="one")
    say(logins.server, "a", "secret")
    for page in pages:
        page.wait_for_function("push.state == 'closed' && push.reason.status == 401")
        receives(page, ENDED)
    until(lambda: logins.status()["streams"] == 0)


@pytest.mark.parametrize("share", WAYS)
def test_the_channels_that_are_still_granted_after_a_disconnect_resume(
    share: bool | str, logins: Logins, windows: Windows
) -> None:
    pages = logins.open(windows, share, "a", "b", "c")
    say(logins.server, "b", 1)
    for page in pages:
        receives(page, 1)
    logins.refuse("b")
    logins.disconnect(user="7", channel="b")
    say(logins.server, "a", 2)
    say(logins.server, "b", "secret")
    say(logins.server, "c", 3)
    for page in pages:
        page.wait_for_function("received.at(-1) == 3")
    say(logins.server, "b", "secret")
    say(logins.server, "a", 4)
    for page in pages:
        receives(page, 1, ENDED, "Error: the view does not grant b", 2, 3, 4)
    until(lambda: logins.status()["channels"] == 2)
