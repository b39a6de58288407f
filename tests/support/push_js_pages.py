"""Tests of push.js in pages, frames and workers, for every browser."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from playwright.sync_api import Page

from support.browser import Windows
from support.push_js import is_open
from support.push_js import listen
from support.push_js import receives
from support.push_js import say
from support.push_js import server as server
from support.servers import kill_hubs
from support.servers import Server
from support.servers import until

#: The tests and fixtures that a module of tests imports.
__all__ = [
    "test_a_redirect_to_a_page_is_final_and_named",
    "test_a_request_that_can_never_succeed_is_not_repeated",
    "test_behind_a_service_worker_that_passes_all_on_nothing_is_lost",
    "test_a_frame_that_may_not_share_has_its_own_connection",
    "test_push_js_runs_in_a_worker",
]


TRANSPORTS = ["eventsource", "fetch"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_redirect_to_a_page_is_final_and_named(
    transport: str, server: Server, windows: Windows
) -> None:
    page = windows.open(f"{server.url}/ping")
    elsewhere = f"http://localhost:{server.port}/ping"
    for to, said in ("/ping", f"to {server.url}/ping"), (elsewhere, ""):
        url = f"/stream?redirect={quote(to)}"
        listen(page, "a", url=url, transport=transport, share=False)
        page.wait_for_function("push.state == 'closed' && push.reason.message")
        assert page.evaluate("push.reason.message") == f"redirected {said}".strip()
    # The browser logs problems only until the page is closed.
    page.close()
    assert all("CORS" in said or "MIME type" in said for said in windows.errors)
    windows.errors.clear()


def test_a_request_that_can_never_succeed_is_not_repeated(
    server: Server, windows: Windows
) -> None:
    page = windows.open(f"{server.url}/ping")
    for transport in TRANSPORTS:
        for code in 400, 414, 431:
            url = f"/stream?status={code}"
            listen(page, "a", url=url, transport=transport, share=False)
            page.wait_for_function("push.state == 'closed' && push.reason.status")
            assert page.evaluate("push.reason.status") == code


NAMES = [f"a channel with a long name {n}" for n in range(90)]


def stop(server: Server) -> None:
    server.kill_without_readers()
    kill_hubs(server.directory)


def test_a_frame_that_may_not_share_has_its_own_connection(
    server: Server, windows: Windows
) -> None:
    page = windows.open(f"{server.url}/ping")
    page.evaluate(
        """url => {
            window.received = [];
            addEventListener("message", ({data}) => received.push(data));
            const frame = document.createElement("iframe");
            frame.sandbox = "allow-scripts";
            frame.srcdoc = `<script src="${url}/push/push.classic.js"><\\/script><script>
                const push = FlaskPush.connect("${url}/stream?allow=*");
                const post = data => parent.postMessage(data, "*");
                push.on("state", state => state == "open" && post(state));
                push.subscribe("a", post);
            <\\/script>`;
            document.body.append(frame);
        }""",
        server.url,
    )
    receives(page, "open")
    say(server, "a", 1)
    receives(page, "open", 1)


# It may be open before there is a port.
IN_WORKER = """
import {{connect}} from "/push/{script}";
const push = connect("{url}");
const post = data => {{ for (const port of ports) port.postMessage(data) }};
const add = event => {{
    ports.push(...event.ports);
    if (push.state == "open") post("open");
}};
push.on("state", state => state == "open" && post(state));
push.subscribe("a", post);
"""


PORTS = {
    "Worker": "const ports = [self];\n",
    "SharedWorker": "const ports = []; onconnect = event => add(event);\n",
    "ServiceWorker": "const ports = []; onmessage = event => add(event);\n",
}


# It is stored: a browser may end a worker to which nothing refers.
BEGIN = {
    "Worker": """
        window.kept = new Worker(url, {type: "module"});
        kept.onmessage = receive""",
    "SharedWorker": """
        window.kept = new SharedWorker(url, {type: "module"});
        kept.port.onmessage = receive""",
    "ServiceWorker": """
        await navigator.serviceWorker.register(url, {type: "module"});
        const {active} = await navigator.serviceWorker.ready;
        const {port1, port2} = window.kept = new MessageChannel();
        port1.onmessage = receive;
        active.postMessage("", [port2])""",
}


def works(kind: str, server: Server, windows: Windows, script: str, url: str) -> Page:
    page = windows.open(f"{server.url}/ping")
    text = PORTS[kind] + IN_WORKER.format(script=script, url=url)
    page.evaluate(
        f"""async url => {{
            window.received = [];
            const receive = ({{data}}) => received.push(data);
            {BEGIN[kind]};
        }}""",
        f"/script.js?text={quote(text)}",
    )
    return page


def test_push_js_runs_in_a_worker(server: Server, windows: Windows) -> None:
    kinds = ["Worker", "SharedWorker"]
    pages = [works(kind, server, windows, "push.js", "/stream") for kind in kinds]
    for page in pages:
        receives(page, "open")
    say(server, "a", 1)
    for page in pages:
        receives(page, "open", 1)
    stop(server)
    server.start()
    say(server, "a", 2)
    for page in pages:
        receives(page, "open", 1, "open", 2)


def test_behind_a_service_worker_that_passes_all_on_nothing_is_lost(
    server: Server, windows: Windows
) -> None:
    # All later pages of this origin have the worker, so other tests use another origin.
    page = windows.open(f"http://localhost:{server.port}/ping")
    text = """
        onactivate = event => event.waitUntil(clients.claim());
        onfetch = event => event.respondWith(fetch(event.request));
    """
    page.evaluate(
        """async url => {
            const {serviceWorker} = navigator;
            const there = new Promise(done => serviceWorker.oncontrollerchange = done);
            await serviceWorker.register(url);
            await there;
        }""",
        f"/script.js?text={quote(text)}",
    )
    # Each stream ends after a moment.
    is_open(listen(page, "a", url="/stream?lifetime=0.3", share=False))
    count = 0

    def go_on() -> bool:
        nonlocal count
        say(server, "a", count)
        count += 1
        ends: int = page.evaluate("states.filter(([state]) => state == 'waiting').length")
        return ends >= 2

    until(go_on, 60)
    receives(page, *range(count))
