"""Every problem: its facts, its cures, and its place on the page."""

from __future__ import annotations

import ast
import collections.abc as cabc
import functools
import re
import typing as t
from pathlib import Path
from string import Formatter

import pytest
from support.doctors import shown
from support.doctors import words
from support.pages import DOCS
from support.servers import ROOT

from flask_push._doctor.finding import problem
from flask_push._doctor.finding import PROBLEMS
from flask_push._doctor.problem import ANY
from flask_push._doctor.problem import APACHE
from flask_push._doctor.problem import CADDY
from flask_push._doctor.problem import HAPROXY
from flask_push._doctor.problem import NGINX

PAGE = DOCS["doctor"]


def test_the_page_has_every_problem_and_its_cures() -> None:
    sections = re.findall(
        r"^### `(.*?)`\n\n(\w+): (.*?)\n\n```text\n(.*?)^```$", PAGE, re.M | re.S
    )
    assert [name for name, *_ in sections] == list(PROBLEMS)
    for name, level, what, cures in sections:
        known = PROBLEMS[name]
        assert (level, words(what)) == (known.level, shown(known.what))
        lines = [f"{who}: {cure}" if who else cure for who, cure in known.cures]
        assert [words(line) for line in cures.splitlines()] == list(map(shown, lines))


class Given(t.NamedTuple):
    """What one line of the source gives to :func:`problem`."""

    names: list[str]
    has_proxy: bool
    facts: set[str]


@functools.cache
def calls_of_problem() -> tuple[Given, ...]:
    return tuple(_calls_of_problem())


def _calls_of_problem() -> cabc.Iterator[Given]:
    for path in (ROOT / "src/flask_push").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "problem":
                name, *proxy = node.args
                either = [name.body, name.orelse] if isinstance(name, ast.IfExp) else [name]
                facts = {keyword.arg or "**" for keyword in node.keywords}
                yield Given([ast.literal_eval(one) for one in either], bool(proxy), facts)


def fields(*texts: str) -> dict[str, str]:
    """The facts that the texts name, and how each is written."""
    parts = [part for text in texts for part in Formatter().parse(text)]
    return {name: spec or "" for _, name, spec, _ in parts if name is not None}


def test_the_source_gives_each_problem_the_facts_that_its_texts_need() -> None:
    given = list(calls_of_problem())
    assert {name for call in given for name in call.names} == set(PROBLEMS)
    for call in given:
        for name in call.names:
            known = PROBLEMS[name]
            texts = [known.what, *(cure for who, cure in known.cures)]
            assert call.facts == set(fields(*texts)), name
            assert call.has_proxy or not any(who for who, _ in known.cures), name


@pytest.mark.parametrize("proxy", [ANY, NGINX, APACHE, HAPROXY, CADDY])
@pytest.mark.parametrize("name", PROBLEMS)
def test_each_problem_can_be_shown_behind_each_proxy(name: str, proxy: str) -> None:
    known = PROBLEMS[name]
    specs = fields(known.what, *(cure for _, cure in known.cures))
    (given, *_) = [call.facts for call in calls_of_problem() if name in call.names]
    facts = {fact: 1.5 if specs.get(fact) else "{odd}" for fact in given}
    found = problem(name, proxy, **facts)
    assert found.level in ("warn", "error") and found.what and found.cures
    whose = [who for who, _ in known.cures]
    assert len(found.cures) == (
        len(whose)
        if proxy == ANY or not {proxy, ANY} & {*whose}
        else sum(who in (proxy, ANY) for who in whose)
    )


def test_every_problem_has_a_test() -> None:
    files = Path(__file__).parent.glob("test_*.py")
    tests = "".join(path.read_text() for path in files)
    for name in PROBLEMS:
        assert f'"{name}"' in tests or f"  {name}: " in tests, name


def test_the_page_has_every_finding_that_is_ok() -> None:
    source = "".join(p.read_text() for p in (ROOT / "src/flask_push").rglob("*.py"))
    names = set(re.findall(r'\bok\(\s*"([\w-]+)"', source))
    (section,) = re.findall(r"^## What is well\n(.*?)^## ", PAGE, re.M | re.S)
    assert names == set(re.findall(r"^`([\w-]+)`\n: ", section, re.M))
