"""The pages of the example answers: an answer goes on without its page."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import re
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext
from playwright.sync_api import expect
from playwright.sync_api import Page
from playwright.sync_api import Route
from support.ai_clients import NODE
from support.answers import Answers
from support.answers import answers_on
from support.answers import FIRST
from support.answers import name
from support.answers import WORDS
from support.browser import Windows
from support.chats import fits
from support.chats import SCHEMES
from support.servers import flask_run
from support.servers import ROOT
from support.servers import TESTS

from flask_push import Publisher
from flask_push.testing import lose

SIZES = {"phone": (390, 844), "desktop": (1280, 800)}
# Both pages are of the same chats. The address of each is behind that of its chat.
PAGES = {"plain": "", "react": "/react"}

CDN = re.compile(r"https://esm\.sh/((?:@[\w-]+/)?[\w-]+)@([\d.]+)(/\w+)?(?:\?.*)?")
PACKAGES = json.loads((TESTS / "clients" / "package.json").read_text())["dependencies"]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[Answers]:
    with answers_on(tmp_path_factory.mktemp("answers"), command=flask_run) as answers:
        yield answers


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the CDN has for the page that uses React, of the packages that are installed."""
    directory = tmp_path_factory.mktemp("modules")
    page = (ROOT / "examples/answers/templates/react.html").read_text()
    names = re.findall(r'^ +"(.+)": "https:', page, re.M)
    script = TESTS / "clients" / "bundle.mjs"
    subprocess.run([NODE, script, directory, *names], check=True, timeout=100)
    return directory


class Devices:
    """Browsers of different users."""

    def __init__(self, windows: Windows, modules: Path, answers: Answers) -> None:
        self.windows = windows
        self.modules = modules
        self.answers = answers

    def profile(self, **options: object) -> BrowserContext:
        profile = self.windows.profile(**options)
        profile.route(re.compile("^https:"), self._bring)
        return profile

    def open(self, chat: str, page: str, **options: object) -> Page:
        url = f"{self.answers.url}/chats/{chat}{PAGES[page]}"
        return self.windows.open(url, self.profile(**options))

    def _bring(self, route: Route) -> None:
        url = route.request.url
        found = CDN.fullmatch(url)
        if found:
            package, version, below = found.groups()
            assert PACKAGES[package] == version, url
            file = re.sub(r"\W", "-", package + (below or "")) + ".mjs"
        else:
            # What several of them share.
            file = url.rpartition("/")[2]
            assert file.startswith("chunk-"), url
        headers = {"Access-Control-Allow-Origin": "*", "Content-Type": "text/javascript"}
        route.fulfill(path=self.modules / file, headers=headers)


@pytest.fixture
def devices(windows: Windows, modules: Path, answers: Answers) -> Devices:
    return Devices(windows, modules, answers)


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ask(page: Page, text: str) -> None:
    page.get_by_label("Question").fill(text)
    page.keyboard.press("Enter")


def shows(page: Page, *texts: str) -> None:
    """Expect these messages and no others."""
    expect(page.locator("li")).to_have_text([text.strip() for text in texts])


def begin(page: Page, question: str) -> None:
    """Ask, and expect the first words of the answer."""
    ask(page, question)
    shows(page, question, FIRST)


def shows_whole(page: Page, *texts: str) -> None:
    """Expect them, and that no more is to come."""
    shows(page, *texts)
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(page.get_by_role("button", name="Ask", exact=True)).to_be_visible()
    expect(page.locator(".notice")).to_be_hidden()
    # Each of them is a row.
    expect(page.locator(".unsaved")).to_have_count(0)


def test_an_answer_goes_on_through_a_reload_and_on_a_second_device(
    page: str, devices: Devices, answers: Answers
) -> None:
    chat, question = name(), answers.waiting()
    first = devices.open(chat, page)
    shows_whole(first)
    begin(first, question)
    first.reload()
    second = devices.open(chat, page)
    for device in first, second:
        shows(device, question, FIRST)
        expect(device.get_by_role("button", name="Stop")).to_be_visible()
    answers.go_on(question)
    for device in first, second:
        shows_whole(device, question, WORDS)
    ask(second, "more")
    shows_whole(second, question, WORDS, "more", WORDS)
    first.reload()
    shows_whole(first, question, WORDS, "more", WORDS)


def test_both_pages_show_the_same_answer(devices: Devices, answers: Answers) -> None:
    chat, question = name(), answers.waiting()
    react = devices.open(chat, "react")
    begin(react, question)
    plain = devices.open(chat, "plain")
    shows(plain, question, FIRST)
    answers.go_on(question)
    for device in react, plain:
        shows_whole(device, question, WORDS)


def test_a_question_is_shown_on_all_devices(devices: Devices, answers: Answers) -> None:
    chat, question = name(), answers.waiting()
    first, second = (devices.open(chat, "plain") for _ in range(2))
    ask(first, question)
    shows(second, question, FIRST)
    answers.go_on(question)
    for device in first, second:
        shows_whole(device, question, WORDS)
    ask(second, "more")
    for device in first, second:
        shows_whole(device, question, WORDS, "more", WORDS)


def test_an_answer_that_is_stopped_on_one_device_stops_on_all(
    page: str, devices: Devices, answers: Answers
) -> None:
    chat, question = name(), answers.waiting()
    first, second = (devices.open(chat, page) for _ in range(2))
    begin(first, question)
    second.reload()
    shows(second, question, FIRST)
    with second.expect_response(re.compile("/stop$")):
        second.get_by_role("button", name="Stop").click()
    # The model notices it with its next word.
    answers.go_on(question)
    shows_whole(first, question, FIRST)
    second.reload()
    shows_whole(second, question, FIRST)


def test_a_failed_answer_can_be_asked_again(
    page: str, devices: Devices, answers: Answers
) -> None:
    chat, question = name(), answers.failing()
    device = devices.open(chat, page)
    begin(device, question)
    expect(device.locator(".notice")).to_contain_text("failed")
    device.reload()
    shows(device, question)
    expect(device.locator(".notice")).to_contain_text("This question has no answer.")
    answers.go_on(question)
    device.get_by_role("button", name="Ask again").click()
    shows_whole(device, question, WORDS)


def test_a_lost_answer_can_be_asked_again(
    page: str, devices: Devices, answers: Answers
) -> None:
    chat, question = name(), answers.waiting()
    device = devices.open(chat, page)
    begin(device, question)
    with contextlib.closing(Publisher(answers.store)) as publisher:
        run = publisher.running(f"chat:{chat}")
        assert run is not None
        lose(run)
    expect(device.locator(".notice")).to_contain_text("lost")
    shows(device, question, FIRST)
    device.get_by_role("button", name="Ask again").click()
    shows(device, question, FIRST)
    answers.go_on(question)
    shows_whole(device, question, WORDS)


def test_an_answer_is_whole_although_the_hub_dies(
    page: str, devices: Devices, answers: Answers
) -> None:
    chat, question = name(), answers.waiting()
    device = devices.open(chat, page)
    begin(device, question)
    answers.kill_hub()
    shows(device, question, FIRST)
    answers.go_on(question)
    shows_whole(device, question, WORDS)


def test_an_answer_is_whole_although_the_network_fails(
    page: str, devices: Devices, answers: Answers
) -> None:
    chat, question = name(), answers.waiting()
    profile = devices.profile()
    url = f"{answers.url}/chats/{chat}{PAGES[page]}"
    device = devices.windows.open(url, profile)
    begin(device, question)
    profile.set_offline(True)
    # What is open stays so in Chromium, without the network. The hub ends it.
    answers.kill_hub()
    answers.go_on(question)
    if page == "react":
        expect(device.locator(".notice")).to_contain_text("reconnecting")
    profile.set_offline(False)
    shows_whole(device, question, WORDS)


def test_an_answer_that_ends_before_it_is_followed_is_whole(
    page: str, devices: Devices, answers: Answers
) -> None:
    chat, question = name(), answers.waiting()
    first = devices.open(chat, page)
    begin(first, question)
    # The page is rendered while the answer is made, and follows it too late.
    profile = devices.profile()
    held: list[Route] = []
    following = re.compile(r"/api/chat/\w+/stream$|/answer\b")
    profile.route(following, lambda route: held.append(route))
    late = devices.windows.open(first.url, profile)
    while not held:
        late.wait_for_timeout(10)
    answers.go_on(question)
    shows_whole(first, question, WORDS)
    profile.unroute(following)
    for route in held:
        route.continue_()
    shows_whole(late, question, WORDS)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> cabc.Iterator[Answers]:
    """With its own model."""
    directory = tmp_path_factory.mktemp("example")
    with answers_on(directory, command=flask_run, model="") as answers:
        yield answers


def test_the_chat_fits_its_window(page: str, devices: Devices, example: Answers) -> None:
    shots = TESTS / "shots"
    shots.mkdir(exist_ok=True)
    devices.answers = example
    device = devices.open(name(), page)
    ask(device, "Why is the sky blue?")
    expect(device.locator(".assistant")).to_contain_text(re.compile("These were .* words."))
    expect(device.get_by_role("button", name="Ask", exact=True)).to_be_visible()
    ask(device, "Can you fail?")
    expect(device.locator(".notice")).to_contain_text("failed")
    for size, (width, height) in SIZES.items():
        device.set_viewport_size({"width": width, "height": height})
        for scheme in SCHEMES:
            device.emulate_media(color_scheme=scheme)
            device.screenshot(path=shots / f"answers-{page}-{size}-{scheme}.png")
        fits(device)
