"""Python reads from real hubs who is present, while streams end and hubs are killed."""

from __future__ import annotations

import os
import signal
import threading
import typing as t
from pathlib import Path

from support.pages import blocks
from support.pages import DOCS
from support.servers import gunicorn
from support.servers import hubs
from support.servers import serve
from support.servers import until

import flask_push
from flask_push.client import Source

LOOP = next(code for code in blocks(DOCS["listen"], "python") if "push:joined" in code)
URL = "http://127.0.0.1:5000/lobby"


class Script:
    """The script of the page *Listen* that keeps the members of a channel. Its
    ``flask_push`` is this object."""

    def __init__(self, url: str) -> None:
        assert URL in LOOP
        self.source: Source
        self.shown: list[list[str]] = []
        names = {"flask_push": self, "show": self._show}
        code = LOOP.replace(URL, url)
        self._thread = threading.Thread(target=exec, args=(code, names))
        self._thread.start()

    def connect(self, url: str, **options: t.Any) -> Source:
        self.source = flask_push.connect(url, **options)
        return self.source

    def _show(self, members: dict[str, dict[str, str]]) -> None:
        self.shown.append([info["name"] for _, info in sorted(members.items())])

    def has(self, *names: str) -> None:
        until(lambda: self.shown[-1:] == [[*names]])

    def close(self) -> None:
        self.source.close()
        self._thread.join(20)
        assert not self._thread.is_alive()


def test_a_script_shows_who_is_present(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, PUSH_RETRY=0.5, PUSH_PRESENCE_GRACE=0.5) as server:
        script = Script(f"{server.url}/stream?channel=b&watch=a")
        try:
            script.has()
            present = f"{server.url}/stream?channel=b&present=a&user="
            with flask_push.connect(f"{present}ann").opened():
                script.has("ann!")
                with flask_push.connect(f"{present}ben").opened():
                    script.has("ann!", "ben!")
                script.has("ann!")
            script.has()
            assert script.shown == [[], ["ann!"], ["ann!", "ben!"], ["ann!"], []]
        finally:
            script.close()


def test_a_script_goes_on_after_the_server_and_its_hub_were_killed(tmp_path: Path) -> None:
    with serve(gunicorn, tmp_path, PUSH_RETRY=0.5, PUSH_PRESENCE_GRACE=0.5) as server:
        script = Script(f"{server.url}/stream?channel=b&watch=a")
        try:
            present = f"{server.url}/stream?channel=b&present=a&user="
            with flask_push.connect(f"{present}ann").opened():
                script.has("ann!")
            server.kill_without_readers()
            for pid in hubs(tmp_path):
                os.kill(pid, signal.SIGKILL)
            server.start()
            with flask_push.connect(f"{present}ben").opened():
                # Ann is there until the new hub is sure that the killed one is dead.
                script.has("ann!", "ben!")
        finally:
            script.close()
