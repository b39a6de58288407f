"""Browsers that have no ``EventSource`` read our streams with a polyfill."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from support.browser import Windows
from support.servers import gunicorn
from support.servers import serve
from support.servers import TESTS
from support.servers import until

POLYFILLS = {
    "event-source-polyfill": "src/eventsource.min.js",
    "eventsource-polyfill": "dist/eventsource.js",
}
EVENTS = [
    ("message", '{"text":"hi"}'),
    ("message", "a\nb\n\nc"),
    ("said", "by name"),
    ("message", "\U0001f600 é"),
]
LISTEN = """
window.events = []; window.opened = 0
const source = new EventSource("/stream?channel=a&lifetime=0.5&last=99")
for (const type of ["message", "said", "push:gap"])
  source.addEventListener(type, e => events.push([e.type, e.data, e.lastEventId]))
source.addEventListener("push:open", () => opened++)
"""


@pytest.mark.parametrize("name", POLYFILLS)
def test_a_polyfill_reads_and_resumes(name: str, windows: Windows, tmp_path: Path) -> None:
    """Its stream ends every half second, and once the server is down."""
    published: list[list[str]] = []
    with serve(gunicorn, tmp_path, PUSH_RETRY=0.5) as server:

        def publish(type: str, data: str) -> None:
            id = server.publish("a", data, type=type)
            published.append([type, data, id])

        profile = windows.profile()
        profile.add_init_script("delete window.EventSource")
        page = windows.open(f"{server.url}/ping", profile)
        path = TESTS / "clients" / "node_modules" / name / POLYFILLS[name]
        assert page.evaluate("typeof EventSource") == "undefined"
        page.add_script_tag(path=path)
        page.evaluate(LISTEN)

        def reached(count: int) -> t.Any:
            return until(lambda: page.evaluate("opened") >= count)

        reached(1)
        for event in EVENTS:
            publish(*event)
        reached(3)
        server.stop()
        server.start()
        for number in range(9):
            publish("message", f"{number} later")
        reached(5)
        until(lambda: len(page.evaluate("events")) >= len(published))
        assert page.evaluate("events") == published
