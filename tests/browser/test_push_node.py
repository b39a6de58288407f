"""push.js in Node, which has no window, no document and no ``EventSource``."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

from support import push_js_pages as pages
from support.push_js import running as running
from support.push_js import server as server
from support.servers import program
from support.servers import Server
from support.servers import TESTS

NODE = Path(sys.executable).parent / "node"
KINDS = ["as it is", "as it was", "with an EventSource", "with nothing else"]


class Listener:
    """Reads the lines that a script writes, and an empty one at its end."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: queue.SimpleQueue[list[t.Any]] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.put(json.loads(line))
        self.lines.put([])

    def until(self, *expected: t.Any) -> None:
        found: list[list[t.Any]] = []
        while found[-1:] != [list(expected)]:
            found.append(self.lines.get(timeout=30))
            assert found[-1], (self.process.args, expected, found)


@contextlib.contextmanager
def listen(kind: str, url: str, *channels: str) -> cabc.Iterator[Listener]:
    command = [str(NODE), str(TESTS / "clients" / "listen.mjs"), kind, url, *channels]
    with program(command, text=True, start_new_session=True) as process:
        listener = Listener(process)
        try:
            yield listener
        finally:
            # The program called Node may be a script that starts Node.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            listener.thread.join()


def test_push_js_runs_in_node_resumes_and_ends(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        url = f"{server.url}/stream"
        listeners = [stack.enter_context(listen(kind, url, "a", "b")) for kind in KINDS]
        for listener in listeners:
            listener.until("state", "open", None)
        server.publish("a", '{"n": 1}')
        for listener in listeners:
            listener.until("data", "a", {"n": 1})
        pages.stop(server)
        server.start()
        server.publish("b", "2")
        for listener in listeners:
            listener.until("data", "b", 2)
        server.publish("a", '"end"')
        for listener in listeners:
            listener.until("data", "a", "end")
            # No timer or connection keeps the process alive.
            assert listener.process.wait(30) == 0


def test_a_refusal_in_node_is_final_and_named(server: Server) -> None:
    with listen("as it was", f"{server.url}/stream?status=403", "a") as listener:
        listener.until("state", "closed", 403)


def test_many_channels_are_requested_by_post_in_node(server: Server) -> None:
    with listen("as it is", f"{server.url}/choose", *pages.NAMES) as listener:
        listener.until("state", "open", None)
        server.publish(pages.NAMES[-1], "1")
        listener.until("data", pages.NAMES[-1], 1)


def test_the_docs_name_the_version_of_node_that_is_tested() -> None:
    said = subprocess.check_output([NODE, "--version"], text=True)
    page = (TESTS.parent / "docs" / "browser.md").read_text()
    assert re.findall(r"tested with Node (\d+)", page) == re.findall(r"^v(\d+)\.", said)
