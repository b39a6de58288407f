"""follow.js in Chromium, on a real server with its hub: a page has each word of an answer
once, and its end, whatever is killed meanwhile. The test writes the answer."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import typing as t
from pathlib import Path

import pytest
from playwright.sync_api import Page
from support.browser import Windows
from support.servers import gunicorn
from support.servers import kill_hubs
from support.servers import serve
from support.servers import Server
from support.servers import status
from support.servers import until

from flask_push import Publisher

FOLLOW = """async ({address, ...options}) => {
    const {follow} = await import("/push/follow.js");
    Object.assign(window, {text: "", said: []});
    window.run = follow(address || "/follow", (word) => text += word, {
        parse: "text", ...options,
    });
    run.on("restart", () => { said.push("restart"); text = ""; });
    run.on("status", ({status}) => said.push(status));
    run.on("progress", (progress) => said.push(progress));
    run.on("disconnect", ({reason}) => said.push(reason));
    run.ended.then((end) => window.end = end, (error) => window.end = error.message);
}"""

WAYS: list[dict[str, t.Any]] = [{}, {"headers": {"X-Who": "me"}, "method": "POST"}]
way = pytest.mark.parametrize("options", WAYS, ids=["EventSource", "fetch"])


@pytest.fixture
def server(tmp_path: Path) -> cabc.Iterator[Server]:
    config: dict[str, t.Any] = {"PUSH_RETRY": 0.5, "PUSH_HUB_LINGER": 0.5}
    with serve(gunicorn, tmp_path, "-w", "2", app="apps.answers", **config) as server:
        yield server


@pytest.fixture
def publisher(server: Server, tmp_path: Path) -> cabc.Iterator[Publisher]:
    server.get("/ping")
    until(lambda: [*tmp_path.glob("push-answers/push.db")])
    (path,) = tmp_path.glob("push-answers/push.db")
    with contextlib.closing(Publisher(f"sqlite://{path}")) as publisher:
        yield publisher


def follow(server: Server, windows: Windows, **options: t.Any) -> Page:
    page = windows.open(f"{server.url}/ping")
    page.evaluate(FOLLOW, options)
    return page


def has(page: Page, text: str) -> None:
    page.wait_for_function("expected => text == expected", arg=text)


def end_of(page: Page) -> t.Any:
    page.wait_for_function("window.end !== undefined")
    return page.evaluate("end")


@way
def test_an_answer_arrives_whole_whatever_is_killed(
    options: dict[str, t.Any],
    server: Server,
    publisher: Publisher,
    windows: Windows,
    tmp_path: Path,
) -> None:
    run = publisher.run("a", key="k1")
    with run:
        run.write("Hel")
        page = follow(server, windows, **options)
        has(page, "Hel")
        assert kill_hubs(tmp_path)
        assert run.write_all(["lo", " ", "wörld"]) == ["lo", " ", "wörld"]
        has(page, "Hello wörld")
        run.progress(1, 2, "writing")
        # A second device, and the first one after a reload.
        later = follow(server, windows, **options)
        has(later, "Hello wörld")
        server.stop()
        run.write("!")
        server.start()
    end = {"run": run.id, "key": "k1", "status": "done", "attempt": 1, "text": ""}
    for each in page, later:
        assert end_of(each) == end
        assert each.evaluate("text") == "Hello wörld!"
        assert each.evaluate("said.filter((word) => word == 'restart')") == []
    until(lambda: status(tmp_path, "push-answers").get("streams", 0) == 0)


def test_nothing_under_way_is_null_and_an_answer_that_was_missed_is_not(
    server: Server, publisher: Publisher, windows: Windows
) -> None:
    assert end_of(follow(server, windows)) is None
    with publisher.run("a") as run:
        run.write("short")
    assert end_of(follow(server, windows)) is None
    page = follow(server, windows, address="/follow?late=60")
    assert end_of(page)["status"] == "done"
    assert page.evaluate("text") == "short"


def test_an_answer_that_is_stopped_has_nothing_after_its_end(
    server: Server, publisher: Publisher, windows: Windows
) -> None:
    page = None

    def words() -> cabc.Iterator[str]:
        nonlocal page
        yield "Hel"
        page = follow(server, windows)
        has(page, "Hel")
        publisher.stop("a")
        yield "lo"
        yield "!"

    with publisher.run("a") as run:
        assert run.write_all(words()) == ["Hel"]
    assert page is not None
    assert end_of(page)["status"] == "stopped"
    assert page.evaluate("[text, said]") == [
        *("Hel", ["queued", "running", "stopping", "stopped"]),
    ]


def test_the_next_attempt_begins_with_nothing(
    server: Server, publisher: Publisher, windows: Windows, tmp_path: Path
) -> None:
    run = publisher.run("a", key=1)
    with contextlib.suppress(OverflowError), run:
        run.write("old")
        page = follow(server, windows)
        has(page, "old")
        # The page is away when the attempt ends, and the next one begins.
        page.evaluate("window.dispatchEvent(new Event('pagehide'))")
        until(lambda: status(tmp_path, "push-answers").get("streams") == 0)
        raise OverflowError
    with publisher.run("a", key=1) as run:
        run.write("new")
        page.evaluate(
            "window.dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))"
        )
        has(page, "new")
    end = end_of(page)
    assert (end["status"], end["attempt"]) == ("done", 2)
    assert "restart" in page.evaluate("said")


def test_a_page_whose_user_is_disconnected_asks_its_view_again(
    server: Server, publisher: Publisher, windows: Windows
) -> None:
    with publisher.run("a") as run:
        page = follow(server, windows, address="/follow?user=7")
        run.write("Hel")
        has(page, "Hel")
        publisher.disconnect(user="7", reason="logged out")
        page.wait_for_function("said.includes('logged out')")
        run.write("lo")
        has(page, "Hello")
    assert end_of(page)["status"] == "done"


def test_a_page_polls_for_an_answer(
    server: Server, publisher: Publisher, windows: Windows
) -> None:
    """As where a proxy holds streams back."""
    with publisher.run("a") as run:
        run.write("Hel")
        page = follow(server, windows, address="/follow?poll=1")
        has(page, "Hel")
        run.write("lo")
        has(page, "Hello")
    assert end_of(page)["status"] == "done"
