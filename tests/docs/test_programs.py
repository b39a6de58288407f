"""Programs that stand as text in tests import what there is.

No other check reads them: they run in processes of their own, and some of these take long.
"""

from __future__ import annotations

import ast
import importlib
import typing as t
from pathlib import Path

import pytest
from support.servers import ROOT

TESTS = ROOT / "tests"
# Packages of ours. To import an app may need more than is there.
OURS = ("support", "flask_push")


def programs(path: Path) -> t.Iterator[ast.Module]:
    """The texts in a file that are programs and import something of ours."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if any(f"from {name}" in node.value for name in OURS):
            try:
                yield ast.parse(node.value)
            except SyntaxError:
                continue


FILES = sorted(
    path
    for path in TESTS.rglob("*.py")
    if "node_modules" not in path.parts and any(programs(path))
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_a_program_in_a_test_imports_what_there_is(path: Path) -> None:
    for program in programs(path):
        for node in ast.walk(program):
            if isinstance(node, ast.ImportFrom) and not node.level:
                module = node.module or ""
                if module.partition(".")[0] in OURS:
                    found = importlib.import_module(module)
                    for alias in node.names:
                        there = hasattr(found, alias.name)
                        if not there:
                            importlib.import_module(f"{module}.{alias.name}")
