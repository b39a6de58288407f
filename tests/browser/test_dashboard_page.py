"""The page of the dashboard: its tiles, its plot and its alarms."""

from __future__ import annotations

import collections.abc as cabc
import json
import os
import re
import shutil
import typing as t
from pathlib import Path

import pytest
from playwright.sync_api import expect
from playwright.sync_api import Page
from support.browser import Windows
from support.chats import fits
from support.chats import SCHEMES
from support.servers import flask_run
from support.servers import kill_hubs
from support.servers import ROOT
from support.servers import serve
from support.servers import Server
from support.servers import TESTS

SIZES = {"phone": (390, 844), "desktop": (1280, 800)}

# Measures the values that the test has written to a file.
MACHINES = """
import json
from pathlib import Path

MACHINES = ["ada", "bohr"]
METRICS = {"cpu": ("CPU", "%", 100, 1), "latency": ("Latency", "ms", 5000, 1)}


def measure(now):
    values = json.loads(Path(__file__).with_name("values.json").read_text())
    most = {"cpu": 100, "latency": 5000}
    return {k: (v, v > 0.9 * most[k.split("-")[1]]) for k, v in values.items()}
"""


class Dashboard:
    """The example on a server."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self._folder = folder

    def kill(self) -> None:
        """The server, and the process that holds the streams."""
        self.server.kill()
        kill_hubs(self._folder)

    def measure(self, **values: float) -> None:
        measured = {name.replace("_", "-"): value for name, value in values.items()}
        file = self._folder / "values.json"
        file.with_suffix(".new").write_text(json.dumps(measured))
        os.replace(file.with_suffix(".new"), file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example."""
    ignore = shutil.ignore_patterns("instance", "__pycache__")
    return shutil.copytree(
        ROOT / "examples/dashboard", tmp_path / "dashboard", ignore=ignore
    )


def run(folder: Path) -> t.ContextManager[Server]:
    return serve(flask_run, folder.parent, app=str(folder / "app"), PUSH_RETRY=0.5)


@pytest.fixture
def dashboard(folder: Path) -> cabc.Iterator[Dashboard]:
    """With two machines, which the test invents."""
    (folder / "machines.py").write_text(MACHINES)
    (folder / "values.json").write_text("{}")
    with run(folder) as server:
        yield Dashboard(server, folder)


def open_page(windows: Windows, server: Server) -> Page:
    page = windows.open(server.url)
    expect(page.locator("#state")).to_have_text("connected")
    return page


def shows(page: Page, *values: str) -> None:
    """Expect these values on the tiles."""
    expect(page.locator("td b")).to_have_text(list(values))


def test_a_tile_shows_the_newest_value(dashboard: Dashboard, windows: Windows) -> None:
    early = open_page(windows, dashboard.server)
    shows(early, "–", "–", "–", "–")
    dashboard.measure(ada_cpu=50, bohr_latency=1234.5)
    shows(early, "50.0", "–", "–", "1,235")
    late = open_page(windows, dashboard.server)
    shows(late, "50.0", "–", "–", "1,235")
    dashboard.measure(ada_cpu=51.25, bohr_latency=1234.5, bohr_cpu=0)
    for page in early, late:
        shows(page, "51.3", "–", "0.0", "1,235")


def test_a_value_that_is_no_longer_measured_disappears(
    dashboard: Dashboard, windows: Windows
) -> None:
    dashboard.measure(ada_cpu=50, bohr_cpu=60)
    page = open_page(windows, dashboard.server)
    shows(page, "50.0", "–", "60.0", "–")
    expect(page.locator("#value")).to_have_text("50.0 %")
    dashboard.measure(bohr_cpu=60)
    shows(page, "–", "–", "60.0", "–")
    expect(page.locator("#value")).to_have_text("–")
    # The line has a hole.
    dashboard.measure(ada_cpu=70, bohr_cpu=60)
    expect(page.locator("#line")).to_have_attribute("d", re.compile("^M[^M]+M[^M]+$"))


def test_a_value_that_is_too_high_is_an_alarm(
    dashboard: Dashboard, windows: Windows
) -> None:
    dashboard.measure(ada_cpu=90, bohr_latency=100)
    page = open_page(windows, dashboard.server)
    shows(page, "90.0", "–", "–", "100")
    expect(page.locator("#alarms li")).to_have_count(0)
    dashboard.measure(ada_cpu=90, bohr_latency=4999)
    alarms = page.locator("#alarms li")
    expect(alarms).to_have_text(re.compile(r"\d\d:\d\d:\d\dbohr · Latency4,999 ms"))
    expect(page.locator("td button.high")).to_have_text("4,999ms")
    dashboard.measure(ada_cpu=91, bohr_latency=100)
    both = [re.compile("ada · CPU91.0 %"), re.compile("bohr · Latency4,999 ms")]
    expect(alarms).to_have_text(both)
    expect(page.locator("td button.high")).to_have_text("91.0%")
    expect(page.locator("#plot")).to_have_class(re.compile("high"))
    # The view renders them from the history.
    page.reload()
    expect(alarms).to_have_text(both)


def test_the_plot_is_of_the_tile_that_was_chosen(
    dashboard: Dashboard, windows: Windows
) -> None:
    dashboard.measure(ada_cpu=50, ada_latency=2500)
    page = open_page(windows, dashboard.server)
    expect(page.locator("#chosen")).to_have_text("ada · CPU")
    expect(page.locator("#value")).to_have_text("50.0 %")
    page.get_by_role("button", name="2,500").click()
    expect(page.locator("[aria-pressed=true]")).to_have_text("2,500ms")
    expect(page.locator("#chosen")).to_have_text("ada · Latency")
    expect(page.locator("#value")).to_have_text("2,500 ms")
    expect(page.locator("#most")).to_have_text("5,000")
    dashboard.measure(ada_cpu=50, ada_latency=1250)
    expect(page.locator("#value")).to_have_text("1,250 ms")
    # Of a hundred units, a half and then a quarter, up to the right edge.
    line = page.locator("#line")
    expect(line).to_have_attribute("d", re.compile(r"^M\S+ 50\.00L.*L60\.00 75\.00$"))


def test_the_page_goes_on_after_a_restart_of_the_server(
    dashboard: Dashboard, windows: Windows
) -> None:
    dashboard.measure(ada_cpu=50)
    page = open_page(windows, dashboard.server)
    shows(page, "50.0", "–", "–", "–")
    dashboard.kill()
    expect(page.locator("#state")).to_have_text("reconnecting…")
    dashboard.measure(ada_cpu=60)
    dashboard.server.start()
    shows(page, "60.0", "–", "–", "–")
    expect(page.locator("#state")).to_have_text("connected")


@pytest.mark.parametrize("size", SIZES)
def test_the_dashboard_fits_its_window(size: str, folder: Path, windows: Windows) -> None:
    shots = TESTS / "shots"
    shots.mkdir(exist_ok=True)
    width, height = SIZES[size]
    with run(folder) as server:
        profile = windows.profile(viewport={"width": width, "height": height})
        page = windows.open(server.url, profile)
        expect(page.locator("td b", has_text="–")).to_have_count(0)
        expect(page.locator("#alarms li")).not_to_have_count(0)
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=shots / f"dashboard-{size}-{scheme}.png", full_page=True)
        fits(page)
