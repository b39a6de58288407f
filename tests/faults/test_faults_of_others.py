"""Faults that users of other libraries have reported, on real servers with four workers.

The page *Faults of others that you will not have* names these tests, and older ones.
"""

from __future__ import annotations

import collections.abc as cabc
import typing as t

import pytest
from playwright.sync_api import expect
from playwright.sync_api import Request
from support.browser import Windows
from support.redises import Redis
from support.servers import gunicorn
from support.servers import kill_hubs
from support.servers import ROOT
from support.servers import serve
from support.servers import Server
from support.servers import until


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> cabc.Iterator[Server]:
    directory = tmp_path_factory.mktemp(request.param)
    if request.param == "sqlite":
        with serve(gunicorn, directory, "-w", "4") as server:
            yield server
        return
    (directory / "redis").mkdir()
    with Redis.started(directory / "redis") as redis:
        config: dict[str, t.Any] = {"PUSH_BROKER_URL": redis.url}
        with serve(gunicorn, directory, "-w", "4", **config) as server:
            yield server


@pytest.mark.parametrize("kills_hub", [False, True])
@pytest.mark.parametrize("stored", [0, 3])
def test_a_stream_that_is_cut_before_its_first_event_misses_nothing(
    server: Server, stored: int, kills_hub: bool
) -> None:
    channel = f"cut {stored} {kills_hub}"
    for n in range(stored):
        server.publish(channel, f"before {n}")
    first = server.stream(channel).opened()
    assert first.data == [] and first.last_id
    first.close()
    if kills_hub:
        kill_hubs(server.log_path.parent)
    server.publish(channel, "while away", "also")
    with server.open_stream(channel, last_id=first.last_id) as second:
        assert second.read_data(2) == ["while away", "also"]
        assert second.gaps == []


def test_what_any_of_four_workers_publishes_arrives_once_and_in_order(
    server: Server,
) -> None:
    first_worker = server.get("/pid")
    until(lambda: server.get("/pid") != first_worker, what="another worker answers")
    readers = [server.stream("many").opened() for _ in range(8)]
    # Each request may be for another worker.
    sent = [f"event {n}" for n in range(60)]
    for text in sent:
        server.publish("many", text)
    for reader in readers:
        assert reader.read_data(60) == sent
        reader.close()


def test_a_stream_resumes_at_whichever_worker_it_asks(server: Server) -> None:
    sent = [f"event {n}" for n in range(20)]
    first = server.stream("resumed").opened()
    server.publish("resumed", *sent[:10])
    assert first.read_data(10) == sent[:10]
    first.close()
    server.publish("resumed", *sent[10:])
    # There are four workers, and each of these requests may be for any of them.
    for _ in range(12):
        with server.open_stream("resumed", last_id=first.last_id) as again:
            assert again.read_data(10) == sent[10:]


def test_what_changes_between_the_page_and_its_stream_is_not_missed(server: Server) -> None:
    position = server.get("/position")
    # The view has read its rows, and its page is on its way to the browser.
    server.publish("page", "changed")
    with server.open_stream("page", last_id=position) as reader:
        assert reader.read_data(1) == ["changed"]


def test_the_position_of_another_stream_leads_only_to_what_the_view_grants(
    server: Server,
) -> None:
    other = server.stream("private").opened()
    server.publish("private", "one")
    other.read_data(1)
    server.publish("private", "two")
    server.publish("public", "three")
    with server.open_stream("public", last_id=other.last_id) as reader:
        assert reader.read_data(1) == ["three"]
    other.close()


HTMX = ROOT / "tests" / "clients" / "node_modules" / "htmx4" / "dist"

#: What a browser does when its tab is hidden or shown again.
HIDE = """hidden => {
    const state = {hidden, visibilityState: hidden ? "hidden" : "visible"};
    for (const [name, value] of Object.entries(state))
        Object.defineProperty(document, name, {get: () => value, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def test_a_tab_of_htmx_4_gets_what_was_published_while_it_was_hidden(
    server: Server, windows: Windows
) -> None:
    page = windows.open(f"{server.url}/ping")
    page.evaluate("""document.body.innerHTML =
        '<ul hx-sse:connect="/stream?channel=hidden" hx-swap="beforeend"></ul>';
        window.opened = false;
        document.addEventListener("push:open", () => { opened = true; })""")
    ended: list[str] = []

    def note(request: Request) -> None:
        ended.append(request.url)

    page.on("requestfailed", note)
    page.on("requestfinished", note)
    page.add_script_tag(path=HTMX / "htmx.js")
    page.add_script_tag(path=HTMX / "ext" / "hx-sse.js")
    page.evaluate("htmx.process(document.body)")
    page.wait_for_function("opened")
    server.publish("hidden", "<li>before</li>")
    items = page.locator("li")
    expect(items).to_have_text(["before"])
    page.evaluate(HIDE, True)

    def stream_has_ended() -> bool:
        # Meanwhile, the driver calls what listens to the page.
        page.wait_for_timeout(20)
        return any("/stream" in url for url in ended)

    until(stream_has_ended)
    server.publish("hidden", "<li>hidden</li>", "<li>still</li>")
    assert items.count() == 1
    page.evaluate(HIDE, False)
    expect(items).to_have_text(["before", "hidden", "still"])
