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


def imports(path: Path) -> t.Iterator[tuple[str, str]]:
    """The modules of ours, and names in them, that programs in a file import."""
    for program in programs(path):
        for node in ast.walk(program):
            if isinstance(node, ast.ImportFrom) and not node.level:
                module = node.module or ""
                if module.partition(".")[0] in OURS:
                    yield from ((module, alias.name) for alias in node.names)


# One test for all files: each process of pytest-xdist would read them to name the tests.
def test_a_program_in_a_test_imports_what_there_is() -> None:
    paths = [path for path in TESTS.rglob("*.py") if "node_modules" not in path.parts]
    found = [(path, *what) for path in paths for what in imports(path)]
    assert len(found) > 20
    for path, module, name in found:
        try:
            if not hasattr(importlib.import_module(module), name):
                importlib.import_module(f"{module}.{name}")
        except ImportError as error:
            pytest.fail(f"{path}: {error}")
