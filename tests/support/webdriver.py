"""The system's Firefox and WebKitGTK, driven by their own protocols.

Both know the commands of WebDriver: Firefox takes them over TCP, as Marionette, and WebKit
over HTTP, through its own driver. Their tabs have the methods of Playwright's pages that
tests use, so that the same tests run in all. A browser has one profile for all tabs.
"""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import typing as t
from pathlib import Path

from support.servers import free_port
from support.servers import until

# In the page itself. In Firefox, a driver's script runs beside it and can't import modules.
_EVALUATE = """
const [script, arg, done] = arguments;
(async () => {
    const found = window.eval(script);
    return typeof found == "function" ? found(arg) : found;
})().then(value => done({value}), error => done({error: String(error)}));
"""
# Firefox's background services would use a whole processor.
_PREFS = [
    '"marionette.port", 0',
    '"services.settings.server", "data:,"',
    '"messaging-system.rsexperimentloader.enabled", false',
    '"app.normandy.enabled", false',
    '"browser.aboutwelcome.enabled", false',
    '"browser.newtabpage.enabled", false',
    '"browser.startup.page", 0',
    '"ui.prefersReducedMotion", 1',
    # It would start a process for each tab, and one more for the next tab.
    '"dom.ipc.processCount.webIsolated", 1',
    '"dom.ipc.processPrelaunch.enabled", false',
]
_NOTE_ERRORS = """() => {
    if (window.errors) return;
    window.errors = [];
    const note = ({message, reason}) => errors.push(message || String(reason));
    for (const type of ["error", "unhandledrejection"]) addEventListener(type, note);
}"""


class Browser:
    """A running browser."""

    def __init__(self) -> None:
        # This tab stays open: others are opened from it, and the last one ends the browser.
        self.first = self.do("GetWindowHandle")
        self._current = self.first

    def do(self, command: str, **parameters: t.Any) -> t.Any:
        raise NotImplementedError

    def do_in(self, tab: str, command: str, **parameters: t.Any) -> t.Any:
        if tab != self._current:
            self.do("SwitchToWindow", handle=tab)
            self._current = tab
        return self.do(command, **parameters)


class Firefox(Browser):
    def __init__(self, profile: Path) -> None:
        # It listens on a port that it chooses, and prints it.
        said = profile / "MarionetteActivePort"
        port = until(lambda: said.exists() and said.read_text(), 60, "Firefox has begun")
        self._sock = socket.create_connection(("127.0.0.1", int(port)), timeout=60)
        self._file = self._sock.makefile("rb")
        self._count = 0
        self._read()
        self.do("NewSession")
        super().__init__()

    def do(self, command: str, **parameters: t.Any) -> t.Any:
        self._count += 1
        said = json.dumps([0, self._count, f"WebDriver:{command}", parameters]).encode()
        self._sock.sendall(b"%d:%b" % (len(said), said))
        _, count, error, result = self._read()
        assert count == self._count and not error, (command, parameters, error)
        return result["value"] if isinstance(result, dict) and "value" in result else result

    def _read(self) -> t.Any:
        size = b""
        while (byte := self._file.read(1)) != b":":
            assert byte, "Firefox has ended"
            size += byte
        return json.loads(self._file.read(int(size)))

    def close(self) -> None:
        self._file.close()
        self._sock.close()


class WebKit(Browser):
    _PATHS = {
        "GetWindowHandle": ("GET", "/window"),
        "NewWindow": ("POST", "/window/new"),
        "SwitchToWindow": ("POST", "/window"),
        "CloseWindow": ("DELETE", "/window"),
        "Navigate": ("POST", "/url"),
        "Back": ("POST", "/back"),
        "ExecuteAsyncScript": ("POST", "/execute/async"),
    }

    def __init__(self, port: int) -> None:
        self._port = port
        path = next(Path("/usr/lib").glob("*/webkit2gtk-*/MiniBrowser"))
        options = {"binary": str(path), "args": ["--automation"]}
        wanted = {"alwaysMatch": {"webkitgtk:browserOptions": options}}
        found = self._ask("POST", "", {"capabilities": wanted})
        self._session = f"/{found['sessionId']}"
        super().__init__()

    def do(self, command: str, **parameters: t.Any) -> t.Any:
        method, path = self._PATHS[command]
        return self._ask(method, self._session + path, parameters)

    def _ask(self, method: str, path: str, said: dict[str, t.Any]) -> t.Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        with contextlib.closing(connection):
            body = json.dumps(said) if method == "POST" else None
            connection.request(method, f"/session{path}", body)
            response = connection.getresponse()
            value = json.loads(response.read())["value"]
        assert response.status == 200, (path, said, value)
        return value


@contextlib.contextmanager
def firefox() -> cabc.Iterator[Browser]:
    path = shutil.which("firefox-esr") or shutil.which("firefox") or "firefox-esr"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        profile = Path(home, "profile")
        profile.mkdir()
        prefs = "".join(f"user_pref({pref});\n" for pref in _PREFS)
        (profile / "user.js").write_text(prefs)
        command = [path, "--headless", "--no-remote", "--marionette", "--profile"]
        command.append(str(profile))
        with _runs(command, home), contextlib.closing(Firefox(profile)) as browser:
            yield browser


@contextlib.contextmanager
def webkit() -> cabc.Iterator[Browser]:
    port = free_port()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        screen = ["Xvfb", "-displayfd", "1", "-nolisten", "tcp"]
        with _runs(screen, home, stdout=subprocess.PIPE) as shown:
            assert shown.stdout
            display = shown.stdout.readline().decode().strip()
            with _runs(["WebKitWebDriver", f"--port={port}"], home, DISPLAY=f":{display}"):
                until(lambda: _listens(port), what="WebKitWebDriver listens")
                yield WebKit(port)


@contextlib.contextmanager
def _runs(
    command: list[str],
    home: str,
    stdout: int = subprocess.DEVNULL,
    **env: str,
) -> cabc.Iterator[subprocess.Popen[bytes]]:
    """Run a program with all that it starts, without this user's files."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": home, "XDG_RUNTIME_DIR": home, **env},
        start_new_session=True,
    )
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        if process.stdout:
            process.stdout.close()


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Tab:
    """The part of Playwright's ``Page`` that the tests use."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._handle = browser.do_in(browser.first, "NewWindow", type="tab")["handle"]
        self.open = True

    def _do(self, command: str, **parameters: t.Any) -> t.Any:
        return self._browser.do_in(self._handle, command, **parameters)

    def goto(self, url: str) -> None:
        self._do("Navigate", url=url)
        self.evaluate(_NOTE_ERRORS)

    def go_back(self) -> None:
        self._do("Back")
        self.evaluate(_NOTE_ERRORS)

    def evaluate(self, script: str, arg: t.Any = None) -> t.Any:
        """As in Playwright: a function is called, and a promise is awaited."""
        found = self._do("ExecuteAsyncScript", script=_EVALUATE, args=[script, arg])
        assert "error" not in found, found
        return found.get("value")

    def wait_for_function(self, script: str, arg: t.Any = None) -> None:
        until(lambda: self.evaluate(script, arg), what=script)

    def add_script_tag(self, url: str) -> None:
        self.evaluate(
            """src => new Promise((onload, onerror) => {
                const script = document.createElement("script");
                document.head.append(Object.assign(script, {src, onload, onerror}));
            })""",
            url,
        )

    def close(self) -> None:
        self._do("CloseWindow")
        self.open = False


class Tabs:
    """As :class:`browser.Windows`, with one profile for all."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.errors: list[str] = []
        self._tabs: list[Tab] = []

    def profile(self) -> None:
        pass

    def open(self, url: str, profile: None = None) -> t.Any:
        """A tab, typed as a page for the tests."""
        tab = Tab(self.browser)
        self._tabs.append(tab)
        tab.goto(url)
        return tab

    def close(self) -> None:
        for tab in self._tabs:
            if tab.open:
                self.errors += tab.evaluate("errors")
                tab.close()
