"""The page of the example jobs: the progress of imports, their ends and their results."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect
from playwright.sync_api import FilePayload
from playwright.sync_api import Locator
from playwright.sync_api import Page
from support.browser import Windows
from support.chats import fits
from support.chats import SCHEMES
from support.servers import flask_run
from support.servers import ROOT
from support.servers import serve
from support.servers import Server
from support.servers import TESTS

from flask_push import Publisher
from flask_push.testing import lose

SIZES = {"phone": (390, 844), "desktop": (1280, 800)}


@contextlib.contextmanager
def imports_in(directory: Path) -> cabc.Iterator[Server]:
    ignore = shutil.ignore_patterns("instance", "__pycache__")
    folder = shutil.copytree(ROOT / "examples/jobs", directory / "jobs", ignore=ignore)
    app = str(folder / "app")
    with serve(flask_run, directory, app=app, PUSH_RETRY=0.5) as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/jobs/instance/push-app/push.db"


@pytest.fixture
def imports(tmp_path: Path) -> cabc.Iterator[Server]:
    with imports_in(tmp_path) as imports:
        yield imports


def open_page(windows: Windows, imports: Server) -> Page:
    page = windows.open(imports.url)
    expect(page.locator("#state")).to_have_text("connected")
    return page


def upload(page: Page, name: str, rows: int, bad: int = 0) -> None:
    """Choose a file whose rows have a price, but for one."""
    lines = [f"Thing {n},{'?' if n == bad else n}" for n in range(1, rows + 1)]
    text = "\n".join(lines).encode()
    file: FilePayload = {"name": name, "mimeType": "text/csv", "buffer": text}
    page.get_by_label("Choose files").set_input_files(file)
    expect(card(page, name)).to_be_visible()


def card(page: Page, name: str) -> Locator:
    return page.locator("li").filter(has_text=name)


def has_status(page: Page, name: str, status: str) -> None:
    expect(card(page, name).locator(".status")).to_have_text(status)


#: More rows than any test waits for.
LONG = 20_000


def test_an_import_shows_its_progress_and_then_its_result(
    imports: Server, windows: Windows
) -> None:
    first, second = (open_page(windows, imports) for _ in range(2))
    upload(first, "prices.csv", 30)
    for page in first, second:
        expect(card(page, "prices.csv").locator("progress[value]")).to_be_visible()
    for page in first, second:
        has_status(page, "prices.csv", "imported")
        text = card(page, "prices.csv").locator(".text")
        expect(text).to_have_text("30 rows, 465.00 in all")
        expect(card(page, "prices.csv").get_by_role("button")).to_be_hidden()
    # Its row has the result, too.
    first.reload()
    expect(card(first, "prices.csv").locator(".text")).to_have_text(
        "30 rows, 465.00 in all"
    )


def test_a_page_that_is_loaded_again_shows_how_far_an_import_is(
    imports: Server, windows: Windows
) -> None:
    page = open_page(windows, imports)
    upload(page, "long.csv", LONG)
    expect(card(page, "long.csv").locator(".text")).to_have_text(re.compile(r"Thing \d\d"))
    page.reload()
    expect(card(page, "long.csv").locator("progress[value]")).to_be_visible()
    expect(card(page, "long.csv").locator(".text")).not_to_have_text(
        re.compile(r"^(Thing \d)?$")
    )
    has_status(page, "long.csv", "running")


def test_an_import_can_be_cancelled_while_it_runs_and_while_it_is_queued(
    imports: Server, windows: Windows
) -> None:
    page = open_page(windows, imports)
    for name in "one.csv", "two.csv", "three.csv", "four.csv":
        upload(page, name, LONG)
    for name, status in ("one", "running"), ("two", "running"), ("three", "queued"):
        has_status(page, f"{name}.csv", status)
    has_status(page, "four.csv", "queued")
    for name in "three.csv", "one.csv":
        card(page, name).get_by_role("button", name="Cancel").click()
        has_status(page, name, "cancelled")
        expect(card(page, name).get_by_role("button")).to_be_hidden()
    # The next one takes its thread.
    has_status(page, "four.csv", "running")
    has_status(page, "two.csv", "running")


#: Notes the status that a card shows next.
WATCH = """card => {
  delete card.dataset.shown;
  const note = () => card.dataset.shown = card.dataset.status;
  new MutationObserver(note).observe(card, { attributeFilter: ["data-status"] });
}"""


def test_an_import_that_fails_says_why_and_can_be_started_again(
    imports: Server, windows: Windows
) -> None:
    page = open_page(windows, imports)
    upload(page, "bad.csv", 20, bad=7)
    for _ in range(2):
        has_status(page, "bad.csv", "failed")
        expect(card(page, "bad.csv").locator(".text")).to_have_text("Row 7 has no price.")
        card(page, "bad.csv").evaluate(WATCH)
        card(page, "bad.csv").get_by_role("button", name="Start again").click()
        # The next attempt fails too. A page that is behind does not show it before.
        expect(card(page, "bad.csv")).to_have_attribute("data-shown", "failed")


def test_an_import_whose_process_has_ended_can_be_started_again(
    imports: Server, store: str, windows: Windows
) -> None:
    page = open_page(windows, imports)
    upload(page, "long.csv", LONG)
    has_status(page, "long.csv", "running")
    with contextlib.closing(Publisher(store)) as publisher:
        (name,) = publisher.items("imports").events
        run = publisher.running(str(name))
        assert run is not None
        lose(run)
    has_status(page, "long.csv", "interrupted")
    card(page, "long.csv").get_by_role("button", name="Start again").click()
    has_status(page, "long.csv", "running")


def test_the_imports_fit_their_window(imports: Server, windows: Windows) -> None:
    shots = TESTS / "shots"
    shots.mkdir(exist_ok=True)
    page = open_page(windows, imports)
    upload(page, "mistake.csv", 9, bad=9)
    upload(page, "the prices of all that a shop with a long name sells in May.csv", 9)
    has_status(page, "mistake.csv", "failed")
    has_status(page, "May.csv", "imported")
    for n in range(3):
        upload(page, f"long-{n}.csv", 200)
    expect(card(page, "long-0").locator(".text")).to_have_text(re.compile(r"Thing \d\d"))
    for size, (width, height) in SIZES.items():
        page.set_viewport_size({"width": width, "height": height})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=shots / f"jobs-{size}-{scheme}.png", full_page=True)
        fits(page)


def test_the_page_invents_files_with_and_without_a_mistake(
    imports: Server, windows: Windows
) -> None:
    page = open_page(windows, imports)
    page.get_by_role("button", name="Invent one with a mistake").click()
    page.get_by_role("button", name="Invent one", exact=True).click()
    has_status(page, "bad", "failed")
    expect(card(page, "bad").locator(".text")).to_have_text("Row 90 has no price.")
    has_status(page, "good", "imported")
