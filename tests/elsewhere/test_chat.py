"""The chat in two windows, on a server that lacks what Windows or macOS lacks."""

from __future__ import annotations

import json
import time
from pathlib import Path

from playwright.sync_api import expect
from support.browser import Windows
from support.chats import chat_on
from support.chats import connected
from support.chats import enter
from support.chats import look
from support.chats import say
from support.elsewhere import elsewhere as elsewhere
from support.elsewhere import lacking
from support.elsewhere import run
from support.servers import TESTS


def test_two_windows_resume_after_the_server_was_killed(
    elsewhere: str, windows: Windows, tmp_path: Path
) -> None:
    with chat_on("flask run", tmp_path, env=lacking(elsewhere)) as chat:
        pages = [enter(windows.open(chat.server.url), name) for name in ("Ann", "Ben")]
        for page in pages:
            connected(page)
        say(pages[0], "hello")
        say(pages[1], "good morning")
        for page in pages:
            expect(page.locator(".text")).to_have_count(2)
        chat.server.kill()
        for page in pages:
            expect(page.get_by_role("status")).not_to_have_text("connected")
        # Another process of the app publishes meanwhile.
        line = {"user": "Eve", "name": "Eve", "time": time.time(), "text": "while you wait"}
        words = ["push", "publish", "chat", json.dumps(line)]
        app = str(tmp_path / "chat" / "app")
        done = run(elsewhere, "-m", "flask", "--app", app, *words)
        assert done.returncode == 0, done.stderr
        chat.server.start()
        for page in pages:
            connected(page)
            expect(page.locator(".text")).to_have_count(3)
        say(pages[0], "here again")
        for page in pages:
            expect(page.locator(".text")).to_have_count(4)
            assert page.locator(".text").all_text_contents()[2:] == [
                *("while you wait", "here again"),
            ]
        look(pages[1], TESTS / "shots" / f"chat-{elsewhere}")
        assert "Traceback" not in chat.server.log, chat.server.log
