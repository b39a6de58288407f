"""The page *Faults of others*: each fault has a report, and a test that is there."""

from __future__ import annotations

import re

import pytest
from support.pages import DOCS
from support.servers import ROOT

PARTS = re.findall(
    r"^### (.*?)\n(.*?)(?=^##|\Z)", DOCS["faults-of-others"], re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\[(\S+?)?#(\d+)\]\(https://github\.com/(\S+?)/(issues|pull)/(\d+)\)")
TESTS = re.compile(r"`(tests/\S+?\.py)`:((?:\s+`test_\w+`)+)")


def test_there_are_faults() -> None:
    assert len(PARTS) > 20


@pytest.mark.parametrize("text", [p[1] for p in PARTS], ids=[p[0] for p in PARTS])
def test_a_fault_names_its_reports_and_tests_that_are_there(text: str) -> None:
    links = LINK.findall(text)
    assert links and len(links) == text.count("https://")
    name = ""
    for shown, number, repository, _, linked in links:
        # After the first one, only the number is shown.
        name = shown or name
        assert (name, number) == (repository, linked)
    tests = TESTS.findall(text)
    assert tests and sum(len(names.split()) for _, names in tests) == text.count("`test_")
    for file, names in tests:
        there = re.findall(r"^def (test_\w+)", (ROOT / file).read_text(), re.MULTILINE)
        assert {found.strip("`") for found in names.split()} <= set(there), file
