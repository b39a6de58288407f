"""One line of what the doctor prints, and its cures."""

from __future__ import annotations

import pytest

from flask_push._doctor import finding
from flask_push._doctor.finding import Finding
from flask_push._doctor.finding import ok
from flask_push._doctor.finding import problem
from flask_push._doctor.problem import ANY


@pytest.fixture(autouse=True)
def problems(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {
        "both": ("warn", "{what} fails", (("nginx", "a {what}"), ("Caddy", "b {what}"))),
        "any": ("error", "{what}", ((ANY, "do it"), ("nginx", "write it"))),
        "none": ("error", "{what}", ()),
    }
    monkeypatch.setattr(finding, "PROBLEMS", made)


def test_a_problem_has_the_cure_of_the_proxy_that_answers() -> None:
    assert problem("both", "Caddy", what="x") == ("warn", "both", "x fails", ("b x",))
    assert problem("any", "nginx", what="x").cures == ("do it", "write it")
    assert problem("any", "Caddy", what="x").cures == ("do it",)


def test_a_problem_has_all_cures_if_the_proxy_is_not_known() -> None:
    both = ("nginx: a x", "Caddy: b x")
    assert problem("both", what="x").cures == both
    assert problem("both", "Apache", what="x").cures == both
    assert problem("any", what="x").cures == ("do it", "nginx: write it")
    assert problem("none", what="x").cures == ()


def test_the_words_of_a_server_are_escaped_and_bounded() -> None:
    hostile = "\x1b[2J\n" + "x" * 5000
    for found in ok("name", hostile), problem("both", "nginx", what=hostile):
        for text in found.what, *found.cures:
            assert text.isprintable() and len(text) < 1100
            assert r"\x1b[2J\n" in text


def test_what_is_well_has_no_cure() -> None:
    assert ok("name", "fine") == Finding("ok", "name", "fine", ())


def test_what_is_signed_in_an_address_is_in_no_finding() -> None:
    url = "http://h/s?signed=secret"
    for found in ok("name", url), problem("both", "nginx", what=url):
        for text in found.what, *found.cures:
            assert "http://h/s?signed=…" in text and "secret" not in text
