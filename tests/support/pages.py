"""The pages of the docs, and the code on them."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

from support.servers import ROOT

CONF = runpy.run_path(str(ROOT / "docs" / "conf.py"))


def source_of(path: Path) -> str:
    """The text of a page, with the lists that Sphinx puts into it."""
    source = [path.read_text()]
    CONF["list_problems"](None, path.stem, source)
    return source[0]


DOCS = {path.stem: source_of(path) for path in sorted((ROOT / "docs").glob("*.md"))}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def templates(text: str) -> dict[str, str]:
    """The templates of a page, each after a line that has only its path."""
    pattern = r"^`templates/(\S+)`:\n\n```html\+jinja\n(.*?)^```$"
    return dict(re.findall(pattern, text, re.MULTILINE | re.DOTALL))


def write_templates(directory: Path, text: str) -> None:
    (directory / "templates").mkdir()
    for name, code in templates(text).items():
        (directory / "templates" / name).write_text(code)


def commands(text: str) -> list[list[str]]:
    """The commands of each block of a console."""
    return [re.findall(r"^\$ (.*)$", b, re.MULTILINE) for b in blocks(text, "console")]


def hello(directory: Path, page: str = "start") -> Path:
    (code,) = [code for code in blocks(DOCS[page], "python") if "/stream" in code][:1]
    path = directory / "hello.py"
    path.write_text(code)
    return path
