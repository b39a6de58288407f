"""The page of the chat: its layout, and what it does with the lines that users write."""

from __future__ import annotations

import itertools
import re

import pytest
from playwright.sync_api import expect
from playwright.sync_api import Route
from support.browser import Windows
from support.chats import Chat
from support.chats import connected
from support.chats import enter
from support.chats import fits
from support.chats import HISTORY
from support.chats import look
from support.chats import names
from support.chats import room as room
from support.chats import say
from support.chats import shows
from support.chats import texts
from support.servers import TESTS

SIZES = {"phone": (390, 844), "desktop": (1280, 800)}


def test_markup_is_shown_as_text(room: Chat, windows: Windows) -> None:
    name = "<img src=x onerror=document.title='!'>"
    text = f"<script>document.title = '!'</script>{name}&amp;"
    # The page's policy would stop the script too, but this test is about the markup.
    page = windows.open(room.server.url, windows.profile(bypass_csp=True))
    enter(page, name)
    say(page, text)
    shows(page, text)
    assert names(page) == [name]
    page.reload()
    shows(page, text)
    assert page.locator("header a").text_content() == name
    assert page.locator("#messages :is(img, script), header img").count() == 0
    page.goto(f"{room.server.url}?rename")
    expect(page.get_by_label("Your name")).to_have_value(name)
    assert page.title() == "Chat"


def test_line_breaks_and_local_times_are_shown(room: Chat, windows: Windows) -> None:
    page = enter(windows.open(room.server.url), "Ann")
    room.speak("  one\n\n  two", time=1_700_000_000)
    shows(page, "one two")
    assert texts(page) == ["  one\n\n  two"]
    lines = page.locator(".text").bounding_box()
    assert lines and lines["height"] > 60
    expect(page.locator("time")).to_have_text("23:13")
    expect(page.locator(".day")).to_have_text("Tuesday 14 November")


def test_enter_sends_unless_a_word_is_being_composed(room: Chat, windows: Windows) -> None:
    page = enter(windows.open(room.server.url), "Ann")
    field = page.get_by_label("Message", exact=True)
    field.press_sequentially("one")
    field.press("Shift+Enter")
    field.press_sequentially("two")
    field.press("Enter")
    expect(field).to_have_value("")
    ime = page.context.new_cdp_session(page)
    ime.send(
        "Input.imeSetComposition",
        {"text": "にほん", "selectionStart": 3, "selectionEnd": 3},
    )
    field.press("Enter")
    expect(field).to_have_value(re.compile("^にほん"))
    ime.send("Input.insertText", {"text": "日本"})
    field.press("Enter")
    shows(page, "one two", "日本")
    assert texts(page)[0] == "one\ntwo"


def test_a_refused_line_is_shown_as_refused(room: Chat, windows: Windows) -> None:
    page = windows.open(room.server.url)
    page.get_by_role("button", name="Enter").click()
    expect(page.locator("#error")).to_have_text("Your name needs 1 to 40 characters.")
    page.get_by_label("Your name").fill("N" * 41)
    enter(page, "N" * 40)
    page.get_by_role("button", name="Send").click()
    refusal = "Your message needs 1 to 2,000 characters."
    expect(page.locator("#error")).to_have_text(refusal)
    say(page, "then this")
    shows(page, "then this")
    expect(page.locator("#error")).to_have_text("")


def test_a_line_that_failed_is_sent_again_and_received_once(
    room: Chat, windows: Windows
) -> None:
    def swallow(route: Route) -> None:
        route.fetch()
        route.abort()

    page = enter(windows.open(room.server.url), "Ann")
    connected(page)
    page.route(HISTORY, swallow, times=1)
    say(page, "hello")
    expect(page.get_by_label("Message", exact=True)).to_have_value("")
    expect(page.locator("#unsent")).to_have_text("hello")
    shows(page, "hello")
    expect(page.locator("#unsent")).to_have_text("")
    say(page, "hello")
    shows(page, "hello", "hello")


def test_the_newest_line_is_in_view_unless_the_user_reads_older_ones(
    room: Chat, windows: Windows
) -> None:
    room.speak(*(f"old {n}" for n in range(50)))
    page = enter(windows.open(room.server.url), "Ann")
    newest = page.get_by_role("button", name="New messages")
    expect(page.get_by_text("old 49", exact=True)).to_be_in_viewport()
    room.speak("new 1")
    expect(page.get_by_text("new 1", exact=True)).to_be_in_viewport()
    expect(newest).to_be_hidden()
    page.get_by_text("old 3", exact=True).scroll_into_view_if_needed()
    room.speak("new 2")
    expect(newest).to_be_visible()
    expect(page.get_by_text("old 3", exact=True)).to_be_in_viewport()
    newest.click()
    expect(page.get_by_text("new 2", exact=True)).to_be_in_viewport()
    expect(newest).to_be_hidden()
    page.set_viewport_size({"width": 390, "height": 400})
    expect(page.get_by_text("new 2", exact=True)).to_be_in_viewport()


TALK = [
    ("Ann", "Good morning! Has anybody seen the blue ladder?"),
    ("Ben", "Behind the shed. I put it there on Friday."),
    (
        "Ben",
        "It needs a new rung, though:\n\n1. the third from below\n2. maybe the fifth",
    ),
    ("Ann", "Thank you! I'll take a look after lunch."),
    ("Ann", "And the paint?"),
    (
        "Chloë",
        "In the cellar, on the left. There are two tins of white, and half a tin of that"
        " green which nobody liked, so leave that for the fence, please.",
    ),
    ("Ann", "The ladder first, then. My shopping list is at https://example.org/ladder."),
    ("Ben", "Shall we start at three?"),
]


@pytest.mark.parametrize("size", SIZES)
def test_the_page_fits_a_phone_and_a_desktop(
    room: Chat, windows: Windows, size: str
) -> None:
    shots = TESTS / "shots"
    width, height = SIZES[size]
    profile = windows.profile(viewport={"width": width, "height": height})
    page = windows.open(room.server.url, profile)
    look(page, shots / f"door-{size}")
    expect(page.get_by_label("Your name")).to_be_in_viewport(ratio=1)
    enter(page, "Ann")
    user = {"Ann": page.locator("body").get_attribute("data-user")}
    minute = itertools.count(1_772_352_720, 60)
    for name, text in TALK:
        room.speak(text, name=name, user=user.get(name, name), time=next(minute))
    expect(page.locator(".text")).to_have_count(len(TALK))
    connected(page)
    look(page, shots / f"chat-{size}")
    expect(page.locator(".message").last).to_be_in_viewport(ratio=1)
    expect(page.get_by_label("Message", exact=True)).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("button", name="Send")).to_be_in_viewport(ratio=1)
    room.speak("W" * 2000, name="W" * 40)
    expect(page.locator(".text")).to_have_count(len(TALK) + 1)
    fits(page)
    page.get_by_label("Message", exact=True).fill("line\n" * 30)
    expect(page.get_by_role("button", name="Send")).to_be_in_viewport(ratio=1)
    expect(page.locator(".message").last).to_be_in_viewport()
