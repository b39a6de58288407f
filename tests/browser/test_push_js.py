"""push.js in a real browser, on real servers that are killed, cut off and held back."""

from __future__ import annotations

import gzip
import os
import signal
import typing as t
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Page
from support.browser import Windows
from support.push_js import *  # noqa: F403
from support.push_js import hears
from support.push_js import is_open
from support.push_js import listen
from support.push_js import open_pages
from support.push_js import say
from support.push_js import WAYS
from support.servers import hubs
from support.servers import Server
from support.servers import status
from support.servers import until

from flask_push import Push
from flask_push._scripts import script
from flask_push._scripts import script_url
from flask_push._scripts import SCRIPTS


def crash(page: Page) -> None:
    """As if its process had died. Nobody is left to answer the command."""
    cdp: t.Any = page.context.new_cdp_session(page)
    other = next(other for other in page.context.pages if other is not page)
    crashed: list[Page] = []
    page.on("crash", lambda page: crashed.append(page))
    task = cdp._loop.create_task(cdp._impl_obj.send("Page.crash", {}, None))
    while not crashed:
        other.evaluate("1")
    task.cancel()


# What is said to whom.


def test_a_page_may_have_many_callbacks_types_and_channels(
    server: Server, windows: Windows
) -> None:
    page = is_open(listen(windows.open(f"{server.url}/ping"), "a"))
    page.evaluate("""() => {
        const sub = push.subscribe("b.c d", null, {parse: "text"});
        sub.on("edit", (data, event) => heard.push([data, event.type, event.channel]));
        window.off = push.subscribe("a", () => { throw new Error("mine") });
        window.again = push.subscribe("a", data => heard.push("again " + data));
        addEventListener("error", event => {
            heard.push(event.message);
            event.preventDefault();
        });
    }""")
    page.wait_for_function("states.length >= 4 && push.state == 'open'")
    server.publish("b.c d", "{not JSON", type="edit")
    hears(page, ["{not JSON", "edit", "b.c d"])
    say(server, "a", 1)
    first = [["{not JSON", "edit", "b.c d"], 1, "Uncaught Error: mine", "again 1"]
    hears(page, *first)
    page.evaluate("off.unsubscribe(); again.unsubscribe()")
    server.publish("a", "{not JSON")
    say(server, "a", 2)
    page.wait_for_function("heard.at(-1) == 2")
    heard = page.evaluate("heard")
    assert heard[:4] == first and heard[4].startswith("SyntaxError: not JSON on a: ")
    assert len(heard) == 6


# It stays connected.


# What a browser does to its pages.


@pytest.mark.parametrize("share", WAYS)
def test_a_page_that_was_frozen_has_missed_nothing(
    share: bool | str, server: Server, windows: Windows
) -> None:
    profile = windows.profile()
    pages = [windows.open(f"{server.url}/ping", profile) for _ in range(2)]
    for page in pages:
        is_open(listen(page, "a", share=share))
    frozen, other = pages
    cdp = profile.new_cdp_session(frozen)
    cdp.send("Page.setWebLifecycleState", {"state": "frozen"})
    say(server, "a", *range(20))
    if share != "lock":
        hears(other, *range(20))
    cdp.send("Page.setWebLifecycleState", {"state": "active"})
    for page in pages:
        hears(page, *range(20))


@pytest.mark.parametrize("share", WAYS)
def test_a_page_that_crashes_takes_nothing_from_the_others(
    share: bool | str, server: Server, windows: Windows, tmp_path: Path
) -> None:
    pages = open_pages(windows, server.url, 3)
    for n, page in enumerate(pages):
        is_open(listen(page, "a", f"of {n}", share=share))
    say(server, "a", 1)
    for page in pages:
        hears(page, 1)
    crash(pages[0])
    for n in range(2, 12):
        say(server, "a", n)
    for page in pages[1:]:
        hears(page, *range(1, 12))
    until(lambda: status(tmp_path)["streams"] == (1 if share else 2))


def test_what_a_crashed_page_wanted_is_not_asked_for_again(
    server: Server, windows: Windows, tmp_path: Path
) -> None:
    pages = open_pages(windows, server.url, 2)
    for n, page in enumerate(pages):
        is_open(listen(page, "a", f"of {n}"))
    until(lambda: status(tmp_path)["channels"] == 3)
    # Not the one whose process the worker is in.
    crash(pages[1])
    for pid in hubs(tmp_path):
        os.kill(pid, signal.SIGKILL)
    until(lambda: status(tmp_path).get("channels") == 2)


@pytest.mark.parametrize("share", WAYS)
def test_a_connection_that_is_asked_whether_it_is_there_stays(
    share: bool | str, server: Server, windows: Windows
) -> None:
    page = windows.open(f"{server.url}/ping")
    # A fiftieth of the time between two questions.
    page.evaluate("""() => {
        const wait = setInterval;
        window.asked = 0;
        window.setInterval = (ask, time) => wait(() => { asked += 1; ask(); }, time / 50);
    }""")
    is_open(listen(page, "a", share=share))
    states = page.evaluate("states.length")
    page.wait_for_function("asked >= 8")
    assert page.evaluate("states.length") == states


def test_offline_it_waits_and_online_it_is_there_at_once(
    server: Server, windows: Windows
) -> None:
    profile = windows.profile()
    page = listen(
        windows.open(f"{server.url}/ping", profile), "a", share=False, base=10**9, cap=10**9
    )
    is_open(page)
    say(server, "a", 1)
    hears(page, 1)
    profile.set_offline(True)
    server.kill_without_readers()
    page.wait_for_function("push.state == 'waiting'")
    server.start()
    say(server, "a", 2)
    profile.set_offline(False)
    hears(page, 1, 2)


# How it is served.


def test_scripts_may_be_kept_for_ever_by_their_address_and_are_checked_by_their_name() -> (
    None
):
    app = Flask(__name__)
    app.testing = True
    Push(app)
    Push(app)
    client = app.test_client()
    with app.test_request_context():
        url = app.jinja_env.from_string("{{ push_script_url() }}").render()
    kept = client.get(url)
    assert kept.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert kept.content_type == "text/javascript; charset=utf-8"
    checked = client.get("/push/push.js")
    assert checked.headers["Cache-Control"] == "public, no-cache"
    again = client.get("/push/push.js", headers={"If-None-Match": checked.headers["ETag"]})
    assert again.status_code == 304
    for name in SCRIPTS:
        assert client.get(f"/push/{name}").status_code == 200
    assert client.get("/push/other.js").status_code == 404


def test_the_scripts_can_be_elsewhere_or_nowhere() -> None:
    for prefix, path in ("/live/x", "/live/x/push.js"), (None, "/push/push.js"):
        app = Flask(__name__)
        app.config["PUSH_URL_PREFIX"] = prefix
        Push(app)
        assert app.test_client().get(path).status_code == (200 if prefix else 404)


@pytest.mark.parametrize("first", [True, False])
def test_all_other_addresses_below_the_prefix_are_the_apps(first: bool) -> None:
    app = Flask(__name__)
    push = Push(app) if first else Push()

    @app.get("/push/<token>")
    def unsubscribe(token: str) -> str:
        return f"bye {token}"

    @app.post("/push/push.js")
    def other() -> str:
        return "posted"

    push.init_app(app)
    client = app.test_client()
    assert client.get("/push/abc").text == "bye abc"
    assert client.get("/push/other.js").text == "bye other.js"
    assert client.post("/push/push.js").text == "posted"
    for name in SCRIPTS:
        assert client.get(f"/push/{name}").content_type.startswith("text/")
        assert client.get(f"/push/{name}").data == script(name).text.encode()


def page_of(app: Flask, host: str) -> str:
    """The address of push.js in a page of that host."""
    page = app.test_client().get("/page", base_url=f"http://{host}")
    assert page.status_code == 200
    return page.text


def test_scripts_are_of_the_pages_host_where_routes_have_one() -> None:
    app = Flask(__name__, static_folder=None, host_matching=True)
    Push(app)
    for host in "a.test", "b.test:8000":
        app.add_url_rule("/page", host, script_url, host=host)
    for host in "a.test", "b.test:8000":
        url = page_of(app, host)
        assert url.startswith("/push/push.js?v=")
        response = app.test_client().get(url, base_url=f"http://{host}")
        assert "immutable" in response.headers["Cache-Control"]
    app.config["SERVER_NAME"] = "c.test"
    with app.app_context():
        assert script_url().startswith("http://c.test/push/push.js?v=")


def test_scripts_are_of_the_pages_subdomain() -> None:
    app = Flask(__name__, subdomain_matching=True)
    app.config["SERVER_NAME"] = "a.test"
    Push(app)
    app.add_url_rule("/page", "page", script_url)
    app.add_url_rule("/page", "shop", script_url, subdomain="shop")
    for host in "a.test", "shop.a.test":
        url = page_of(app, host)
        assert url.startswith("/push/push.js?v=")
        response = app.test_client().get(url, base_url=f"http://{host}")
        assert "immutable" in response.headers["Cache-Control"]


def test_a_script_that_is_not_there_has_no_address() -> None:
    app = Flask(__name__)
    Push(app)
    with app.test_request_context(), pytest.raises(ValueError, match="extras.classic.js"):
        script_url("pusch.js")


def test_the_scripts_are_small() -> None:
    push, extras = (
        len(gzip.compress(script(name).text.encode(), 9, mtime=0))
        for name in ("push.js", "extras.js")
    )
    assert push <= 4 * 1024
    assert push + extras <= 6 * 1024
