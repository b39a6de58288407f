"""A stream that is compressed, as browsers read it."""

from __future__ import annotations

import collections.abc as cabc
import typing as t
from pathlib import Path

import pytest

from support import push_js
from support.browser import Windows
from support.servers import gunicorn
from support.servers import kill_hubs
from support.servers import serve
from support.servers import Server
from support.webdriver import Tabs

#: The tests and fixtures that a module of tests imports.
__all__ = ["server", "test_a_browser_reads_a_compressed_stream_at_once_and_reconnects"]


def compressing(directory: Path) -> t.ContextManager[Server]:
    config: dict[str, t.Any] = {"PUSH_RETRY": 0.5, "PUSH_HEARTBEAT": 1}
    return serve(gunicorn, directory, "-w", "3", PUSH_GZIP=True, **config)


@pytest.fixture
def server(tmp_path: Path) -> cabc.Iterator[Server]:
    with compressing(tmp_path) as server:
        yield server


LISTEN = """() => {
    window.plain = [];
    window.opened = 0;
    window.source = new EventSource("/stream?channel=a&lifetime=3");
    source.onopen = () => opened++;
    source.onmessage = event => plain.push(JSON.parse(event.data));
}"""


ASK = """async () => {
    const aborter = new AbortController();
    const response = await fetch("/stream?channel=a", {signal: aborter.signal});
    aborter.abort();
    return response.headers.get("Content-Encoding");
}"""


def test_a_browser_reads_a_compressed_stream_at_once_and_reconnects(
    server: Server, windows: Windows | Tabs, tmp_path: Path
) -> None:
    page: t.Any = windows.open(f"{server.url}/ping")
    assert page.evaluate(ASK) == "gzip"
    page.evaluate(LISTEN)
    push_js.is_open(push_js.listen(page, "a"))
    page.wait_for_function("opened == 1")
    for n in range(10):
        push_js.say(server, "a", n)
        page.wait_for_function("n => received.length > n && plain.length > n", arg=n)
    # Its stream ends in the middle of the compressed data.
    page.wait_for_function("opened == 2")
    assert len(kill_hubs(tmp_path)) == 1
    push_js.say(server, "a", "missed")
    page.wait_for_function("received.length > 10 && plain.length > 10")
    expected = [*range(10), "missed"]
    assert page.evaluate("received") == page.evaluate("plain") == expected
    page.evaluate("source.close()")
