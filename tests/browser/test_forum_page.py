"""The page of the forum: how its streams end, and what its users see then."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
from playwright.sync_api import expect
from support.browser import Windows
from support.chats import fits
from support.chats import SCHEMES
from support.forums import connected
from support.forums import Forum
from support.forums import forum as forum
from support.forums import groups
from support.forums import is_logged_out
from support.forums import plain as plain
from support.forums import say
from support.forums import shows
from support.servers import TESTS
from support.servers import until

SIZES = {"phone": (390, 844), "desktop": (1280, 800)}


def test_a_logout_ends_the_streams_of_all_tabs_of_its_browser(
    forum: Forum, windows: Windows
) -> None:
    browser, another = windows.profile(), windows.profile()
    tab = forum.enter(windows, "Ann", browser)
    second = forum.open(windows, "Kitchen", browser)
    elsewhere = forum.enter(windows, "Ann", another)
    tab.locator("summary").click()
    tab.get_by_role("button", name="Log out", exact=True).click()
    expect(tab.get_by_role("heading")).to_have_text(["Who are you?"])
    is_logged_out(second, "You have logged out.")
    # The same user, but another login.
    say(elsewhere, "still here")
    shows(elsewhere, "still here")
    connected(elsewhere)
    until(lambda: forum.streams == 1)


def test_a_logout_everywhere_ends_the_streams_of_all_browsers_of_its_user(
    forum: Forum, windows: Windows
) -> None:
    tab = forum.enter(windows, "Ann", windows.profile())
    elsewhere = forum.enter(windows, "Ann", windows.profile())
    other = forum.enter(windows, "Ben", windows.profile())
    tab.locator("summary").click()
    tab.get_by_role("button", name="Log out everywhere").click()
    expect(tab.get_by_role("heading")).to_have_text(["Who are you?"])
    is_logged_out(elsewhere, "You have logged out everywhere.")
    say(other, "hello?")
    shows(other, "hello?")
    until(lambda: forum.streams == 1)


def test_a_removed_member_keeps_the_other_groups(forum: Forum, windows: Windows) -> None:
    browser = windows.profile()
    garden = forum.enter(windows, "Ann", browser)
    kitchen = forum.open(windows, "Kitchen", browser)
    ben = forum.enter(windows, "Ben", windows.profile())
    ben.get_by_role("link", name="Kitchen").click()
    say(connected(ben), "before")
    shows(kitchen, "before")
    ben.get_by_role("button", name="Remove Ann").click()
    # The page of the group asks its view, which shows another one.
    for page in garden, kitchen:
        groups(page, "Garden", "Music")
        expect(page.locator("h2")).to_have_text("Garden")
        expect(page.locator("#notice")).to_have_text("Ben removed you from Kitchen.")
    # Those who stay see who left.
    expect(ben.get_by_role("button", name="Add Ann")).to_be_visible()
    say(ben, "secret")
    shows(ben, "before", "secret")
    ben.get_by_role("link", name="Garden").click()
    say(connected(ben), "for all")
    for page in garden, kitchen:
        shows(page, "for all")
        assert "secret" not in page.content()
    # A member who was removed can be added again.
    ben.get_by_role("link", name="Kitchen").click()
    connected(ben).get_by_role("button", name="Add Ann").click()
    groups(garden, "Garden", "Kitchen", "Music")
    expect(garden.locator("#notice")).to_have_text("Ben added you to Kitchen.")


def test_a_user_without_groups_still_has_a_stream(plain: Forum, windows: Windows) -> None:
    ann = plain.enter(windows, "Ann", windows.profile())
    ben = plain.enter(windows, "Ben", windows.profile())
    for left in 2, 1, 0:
        ben.get_by_role("button", name="Remove Ann").click()
        expect(ann.locator("nav a")).to_have_count(left)
        if left:
            ben.get_by_role("link").nth(3 - left).click()
            connected(ben)
    expect(ann.locator("h2")).to_have_text("You are in no group")
    connected(ann)
    ben.get_by_role("button", name="Add Ann").click()
    groups(ann, "Music")


def test_markup_is_shown_as_text(plain: Forum, windows: Windows) -> None:
    ann = plain.enter(windows, "Ann", windows.profile(bypass_csp=True))
    ben = plain.enter(windows, "Ben", windows.profile(bypass_csp=True))
    text = "<img src=x onerror=document.title='!'>&amp;"
    say(ann, text)
    for page in ann, ben:
        shows(page, text)
    ben.reload()
    shows(ben, text)
    assert ben.title() == "Garden"
    assert ben.locator("#comments img").count() == 0


def test_a_comment_that_was_not_sent_stays_in_the_field(
    plain: Forum, windows: Windows
) -> None:
    ann = plain.enter(windows, "Ann", windows.profile())
    ann.route("**/comments", lambda route: route.abort())
    say(ann, "again")
    expect(ann.locator("#notice")).to_have_text(
        "The server did not answer. Please try again."
    )
    ann.unroute("**/comments")
    ann.keyboard.press("Enter")
    shows(ann, "again")


def test_the_bell_counts_the_comments_that_a_user_has_not_read(
    forum: Forum, windows: Windows
) -> None:
    ann, another = windows.profile(), windows.profile()
    garden = forum.enter(windows, "Ann", ann)
    # The same user, in another browser.
    elsewhere = forum.enter(windows, "Ann", another)
    ben = forum.enter(windows, "Ben", windows.profile())
    ben.get_by_role("link", name="Music").click()
    say(connected(ben), "one")
    shows(ben, "one")
    say(ben, "two")
    ben.get_by_role("link", name="Kitchen").click()
    say(connected(ben), "three")
    for page in garden, elsewhere:
        expect(page.locator("#bell b")).to_have_text("3")
        expect(page.locator("nav b:visible")).to_have_text(["1", "2"])
        expect(page).to_have_title("(3) Garden")
    # The database knows it: so does a page that opens later.
    garden.reload()
    expect(garden.locator("#bell b")).to_have_text("3")
    garden.get_by_role("link", name="Music").click()
    shows(garden, "one", "two")
    for page in garden, elsewhere:
        expect(page.locator("#bell b")).to_have_text("1")
        expect(page.locator("nav b:visible")).to_have_text(["1"])
    # A writer has read the comment.
    expect(ben.locator("#bell b")).to_be_hidden()


def test_a_comment_that_is_not_stored_is_not_sent(plain: Forum, windows: Windows) -> None:
    ann = plain.enter(windows, "Ann", windows.profile())
    ben = plain.enter(windows, "Ben", windows.profile())
    with contextlib.closing(sqlite3.connect(plain.database, isolation_level=None)) as db:
        db.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON comment WHEN NEW.text = 'refused'"
            " BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    say(ann, "refused")
    expect(ann.locator("#notice")).to_have_text(
        "The server did not answer. Please try again."
    )
    say(ann, "stored")
    for page in ann, ben:
        shows(page, "stored")


@pytest.mark.parametrize("size", SIZES)
def test_the_forum_fits_its_window(size: str, plain: Forum, windows: Windows) -> None:
    shots = TESTS / "shots"
    shots.mkdir(exist_ok=True)
    width, height = SIZES[size]
    profile = windows.profile(viewport={"width": width, "height": height})
    page = windows.open(plain.server.url, profile)
    page.screenshot(path=shots / f"forum-login-{size}.png")
    fits(page)
    page.get_by_role("button", name="Ann").click()
    for text in "Short.", "A long line. " * 30, "x" * 300:
        say(connected(page), text)
        expect(page.locator(".text").last).to_have_text(text.strip())
    page.get_by_role("button", name="Remove Dan").click()
    expect(page.get_by_role("button", name="Add Dan")).to_be_visible()
    ben = plain.enter(windows, "Ben", windows.profile())
    ben.get_by_role("link", name="Music").click()
    say(connected(ben), "The bell rings.")
    expect(page.locator("#bell b")).to_have_text("1")
    page.locator("summary").click()
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=shots / f"forum-{size}-{scheme}.png")
    fits(page)
