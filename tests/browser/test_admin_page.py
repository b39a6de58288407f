"""The admin page in Chromium, on real hubs."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import re
import typing as t
from pathlib import Path

import pytest
from playwright.sync_api import expect
from playwright.sync_api import Page
from support.browser import Windows
from support.servers import gunicorn
from support.servers import serve
from support.servers import Server

from flask_push import Publisher
from flask_push._delivery.figure_rows import FIGURES_OF_HUBS
from flask_push._delivery.figure_rows import HubFigures
from flask_push._delivery.figures import Figures
from flask_push.brokers import ItemChange

MARKUP = "<img src=x onerror=document.title='!'>"


@pytest.fixture
def server(tmp_path: Path) -> cabc.Iterator[Server]:
    with serve(gunicorn, tmp_path, app="apps.admin", PUSH_HUB_PROCESSES=2) as server:
        yield server


def open_page(server: Server, windows: Windows, **options: object) -> Page:
    profile = windows.profile(**options)
    windows.open(f"{server.url}/push/admin/", profile).close()  # The login.
    page = windows.open(f"{server.url}/push/admin/", profile)
    expect(page.locator("#connection")).to_have_text("Live")
    return page


def end(page: Page, label: str, reason: str = "") -> None:
    page.get_by_label(label, exact=True).first.click()
    if reason:
        page.get_by_label("Reason, which the page gets").fill(reason)
    page.get_by_role("button", name="End streams").click()


def test_a_user_is_found_and_disconnected_on_all_hubs(
    server: Server, windows: Windows
) -> None:
    readers = [server.stream("chat", user="ann").opened() for _ in range(6)]
    other = server.stream("chat", user="ben").opened()
    page = open_page(server, windows)
    expect(page.locator("#streams tbody tr").filter(has_text="ann")).to_have_count(6)
    page.get_by_label("User", exact=True).fill("ann")
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#streams tbody tr").filter(has_text="ben")).to_have_count(0)

    page.get_by_label("End all streams of the user “ann”").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("on all machines")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#done")).to_be_hidden()

    end(page, "End all streams of the user “ann”", "you were away")
    expect(page.locator("#done")).to_have_text("Ended all streams of the user “ann”.")
    for reader in readers:
        reader.read_to_end()
        told = [e for e in reader.events if e.type == "push:disconnect"]
        assert [event.json["reason"] for event in told] == ["you were away"]
    expect(page.locator("#streams tbody")).to_contain_text("No stream is open here")
    assert not other.ended


def test_a_session_is_disconnected_without_being_known_to_the_page(
    server: Server, windows: Windows
) -> None:
    reader = server.stream("chat", user="ann").opened()
    page = open_page(server, windows)
    end(page, "End the streams of one session of the user “ann”")
    expect(page.locator("#done")).to_contain_text("Ended the streams of one session")
    reader.read_to_end()
    assert "session of ann" not in page.content()


def test_names_are_shown_as_text(server: Server, windows: Windows) -> None:
    server.stream(MARKUP, user=f"<b>ann</b>{MARKUP}").opened()
    page = open_page(server, windows, bypass_csp=True)
    expect(page.locator("#streams tbody")).to_contain_text(f"<b>ann</b>{MARKUP}")
    expect(page.locator("#channels tbody")).to_contain_text(MARKUP)
    end(page, f"End all streams that have the channel “{MARKUP}”", MARKUP)
    expect(page.locator("#done")).to_contain_text(MARKUP)
    assert page.locator("main img, main b:not(.tile b)").count() == 0
    assert page.title() == "Flask-Push"


def test_figures_of_all_hubs_are_shown_as_they_are_stored(
    server: Server, windows: Windows, tmp_path: Path
) -> None:
    server.stream("chat").opened()
    (path,) = tmp_path.glob("push-admin/push.db")
    page = open_page(server, windows)

    def store(name: str, host: str, events: int) -> None:
        figures = Figures({"streams": 700, "events": events, "gaps:trimmed": 12345})
        text = HubFigures(name, figures, "9.9", host, 7).to_json()
        broker.change([ItemChange(FIGURES_OF_HUBS, name, text)])

    with contextlib.closing(Publisher(f"sqlite://{path}")) as publisher:
        broker: t.Any = publisher._broker
        store("elsewhere1", "other.example", 100)
        hub = page.locator("#hubs tbody tr").filter(has_text="other.example")
        expect(hub.locator("td").nth(3)).to_have_text("700")
        expect(page.locator("#counts")).to_contain_text("12.3K")
        store("elsewhere1", "<b>other</b>", 5000)
        expect(page.locator("#hubs")).to_contain_text("<b>other</b>")
        assert page.locator("#hubs b").count() == 0
        broker.change([ItemChange(FIGURES_OF_HUBS, "elsewhere1", None)])
        expect(hub).to_have_count(0)
    # The hubs of this machine have stored theirs: this page's stream, and another one.
    expect(page.locator(".tile b").first).to_have_text("2")
    line = page.locator(".tile polyline").first
    expect(line).to_have_attribute("points", re.compile(r"\d+,3\.00"))


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_and_a_desktop(
    width: int, scheme: str, server: Server, windows: Windows
) -> None:
    server.stream(
        "chat", *(f"a long name of a channel {n}" for n in range(9)), user="a" * 90
    )
    page = open_page(
        server, windows, viewport={"width": width, "height": 740}, color_scheme=scheme
    )
    expect(page.locator("#streams tbody")).to_contain_text("a" * 90)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    text, behind = page.evaluate("""[
        getComputedStyle(document.querySelector("section small")).color,
        getComputedStyle(document.querySelector("section")).backgroundColor,
    ]""")
    assert contrast(text, behind) >= 4.5


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""

    def light(color: str) -> float:
        parts = [int(n) / 255 for n in color[color.index("(") + 1 : -1].split(",")[:3]]
        linear = [
            p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_page_whose_user_may_no_longer_see_it_says_so(
    server: Server, windows: Windows
) -> None:
    page = open_page(server, windows)
    page.context.clear_cookies()
    expect(page.locator("#problems")).to_contain_text("You may no longer see this page")
