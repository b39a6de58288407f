"""A real browser: Chromium, the system's if there is one, else Playwright's own.

Without a user interface it takes a quarter of the time for each page."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import shutil
import typing as t

from playwright.sync_api import Browser
from playwright.sync_api import BrowserContext
from playwright.sync_api import ConsoleMessage
from playwright.sync_api import expect
from playwright.sync_api import Page
from playwright.sync_api import sync_playwright

# It contacts no other server, and needs nothing that a server may lack.
_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_PATIENCE = 60_000

expect.set_options(timeout=_PATIENCE)


@contextlib.contextmanager
def chromium() -> cabc.Iterator[Browser]:
    with sync_playwright() as playwright:
        path = shutil.which("chromium-headless-shell") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=_ARGS)
        try:
            yield browser
        finally:
            browser.close()


class Windows:
    """Opens windows, and collects the errors in them."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.errors: list[str] = []

    def profile(self, **options: t.Any) -> BrowserContext:
        """A separate browser: other cookies, another size."""
        options = {"locale": "en-GB", "timezone_id": "Europe/Vienna", **options}
        context = self.browser.new_context(**options)
        context.set_default_timeout(_PATIENCE)
        return context

    def open(self, url: str, profile: BrowserContext | None = None) -> Page:
        page = (profile or self.profile()).new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._listen)
        page.goto(url)
        return page

    def _listen(self, said: ConsoleMessage) -> None:
        # A server that could not be reached is not an error of the page.
        if said.type == "error" and "Failed to load resource" not in said.text:
            self.errors.append(said.text)

    def close(self) -> None:
        for context in self.browser.contexts:
            context.close()
