"""The chat shows who is there and who is typing."""

from __future__ import annotations

import collections.abc as cabc
from pathlib import Path

import pytest
from playwright.sync_api import expect
from playwright.sync_api import Page
from playwright.sync_api import Route
from support.browser import Windows
from support.chats import Chat
from support.chats import chat_on
from support.chats import connected
from support.chats import enter
from support.chats import fits
from support.chats import look
from support.chats import say
from support.chats import shows
from support.servers import TESTS

SIZES = {"phone": (390, 844), "desktop": (1280, 800)}


@pytest.fixture
def room(tmp_path: Path) -> cabc.Iterator[Chat]:
    with chat_on("flask run", tmp_path, PUSH_PRESENCE_GRACE=0.5) as chat:
        yield chat


def initials(page: Page, *letters: str) -> None:
    """Expect these other users in the header."""
    expect(page.locator("#people .initial")).to_have_text(list(letters))


def names(page: Page, *expected: str) -> None:
    """Expect these users in the list that the header opens."""
    page.locator("#people").click()
    shown = page.locator("#names li")
    expect(shown.first).to_be_visible()
    expect(shown).to_have_count(len(expected))
    found = [text[1:] for text in shown.all_text_contents()]
    assert sorted(found) == sorted(expected)
    page.keyboard.press("Escape")
    expect(shown.first).to_be_hidden()


def typing(page: Page, text: str) -> None:
    expect(page.locator("#typing")).to_have_text(text)


def test_each_window_shows_who_is_there(room: Chat, windows: Windows) -> None:
    ann = enter(windows.open(room.server.url), "Ann")
    connected(ann)
    expect(ann.locator("#people")).to_be_hidden()
    ben = enter(windows.open(room.server.url), "Ben")
    second = windows.open(room.server.url, ben.context)
    initials(ann, "B")
    for page in ben, second:
        initials(page, "A")
        names(page, "Ann", "Ben (you)")
    names(ann, "Ann (you)", "Ben")
    expect(ann.get_by_role("button", name="2 people are here")).to_be_visible()
    ben.close()
    second.close()
    expect(ann.locator("#people")).to_be_hidden()


def test_a_new_name_is_shown_and_markup_is_text(room: Chat, windows: Windows) -> None:
    ann = enter(windows.open(room.server.url), "Ann")
    ben = enter(windows.open(room.server.url), "Ben")
    initials(ann, "B")
    ben.goto(f"{room.server.url}?rename")
    enter(ben, "<b>Benjamin</b>")
    initials(ann, "<")
    names(ann, "Ann (you)", "<b>Benjamin</b>")
    assert ann.locator("#names b").count() == 0


def test_each_window_shows_who_is_typing(room: Chat, windows: Windows) -> None:
    ann = enter(windows.open(room.server.url), "Ann")
    others = {name: enter(windows.open(room.server.url), name) for name in ("Ben", "Eve")}
    for page in ann, *others.values():
        connected(page)
        typing(page, "")
    others["Ben"].get_by_label("Message", exact=True).press_sequentially("I think")
    typing(ann, "Ben is typing")
    others["Eve"].get_by_label("Message", exact=True).press_sequentially("no")
    typing(ann, "Ben and Eve are typing")
    typing(others["Ben"], "Eve is typing")
    others["Ben"].keyboard.press("Enter")
    shows(ann, "I think")
    # Eve writes nothing more.
    typing(ann, "")


def test_a_user_whose_line_was_sent_is_no_longer_typing(
    room: Chat, windows: Windows
) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    ann, ben = (enter(windows.open(room.server.url), name) for name in ("Ann", "Ben"))
    for page in ann, ben:
        connected(page)
    ben.route("**/typing", hold)
    with ben.expect_request("**/typing"):
        say(ben, "hello")
    # The line waits for the request that says that Ben is typing.
    (route,) = held
    with ben.expect_response("**/typing"):
        route.continue_()
    shows(ann, "hello")
    room.speak("later")
    shows(ann, "hello", "later")
    assert ann.locator("#typing").text_content() == ""


@pytest.mark.parametrize("size", SIZES)
def test_many_people_fit_a_phone_and_a_desktop(
    room: Chat, windows: Windows, size: str
) -> None:
    width, height = SIZES[size]
    profile = windows.profile(viewport={"width": width, "height": height})
    page = enter(windows.open(room.server.url, profile), "N" * 40)
    people = ["Ben", "Chloë", "Dora", "Émile", "W" * 40]
    for name in people:
        connected(enter(windows.open(room.server.url), name))
    for name in people[::4]:
        room.publisher.set("typing", name, name, ttl=60)
    expect(page.locator("#people .initial")).to_have_count(4)
    expect(page.locator("#people")).to_contain_text("+1")
    expect(page.locator("#typing")).to_contain_text("are typing")
    fits(page)
    page.locator("#people").click()
    look(page, TESTS / "shots" / f"people-{size}")
    for part in page.get_by_role("status"), page.locator("#names"), page.locator("#people"):
        expect(part).to_be_in_viewport(ratio=1)
    expect(page.locator("header a")).to_be_in_viewport(ratio=1)
