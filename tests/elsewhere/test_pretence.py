"""The pretence itself: processes lack what Windows and macOS lack, and nothing more."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.elsewhere import elsewhere as elsewhere
from support.elsewhere import inside
from support.elsewhere import run
from support.elsewhere import run_tests
from support.redises import Redis
from support.without_linux.taking import matching
from support.without_linux.taking import read


def test_a_process_lacks_what_the_other_system_lacks(elsewhere: str) -> None:
    assert run_tests(elsewhere, inside(elsewhere)) > 40


def test_what_an_app_needs_works_there(elsewhere: str, tmp_path: Path) -> None:
    with Redis.started(tmp_path) as redis:
        assert run_tests(elsewhere, inside("both"), REDIS_URL=redis.url) > 7


def test_a_process_that_can_not_pretend_does_not_run() -> None:
    done = run("plan9", "-c", "print('it runs')")
    assert (done.returncode, done.stdout) == (70, "")
    assert "PRETEND has to be windows or macos, not 'plan9'" in done.stderr


class Stubs:
    """The stubs of the standard library, which come with mypy and are tested on every
    system: they say what each of them has."""

    def __init__(
        self, platform: str, version: tuple[int, ...] = tuple(sys.version_info[:3])
    ) -> None:
        found = importlib.util.find_spec("mypy")
        assert found and found.origin, "mypy is missing: make test"
        self._root = Path(found.origin).with_name("typeshed") / "stdlib"
        self._sys = SimpleNamespace(platform=platform, version_info=version)

    def names(self, module: str) -> set[str]:
        path = self._root / f"{module}.pyi"
        path = path if path.exists() else self._root / module / "__init__.pyi"
        return set(self._names(ast.parse(path.read_text()).body))

    def _names(self, body: list[ast.stmt]) -> t.Iterator[str]:
        for node in body:
            match node:
                case ast.If():
                    is_true = eval(ast.unparse(node.test), {"sys": self._sys})
                    yield from self._names(node.body if is_true else node.orelse)
                case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                    yield node.name
                case ast.AnnAssign(target=ast.Name(id=name)):
                    yield name
                case ast.Assign(targets=[ast.Name(id=name)]):
                    yield name
                case ast.ImportFrom():
                    yield from (alias.asname or alias.name for alias in node.names)


LISTS = {"windows": "win32", "macos": "darwin"}
MODULES = ["os", "socket", "select", "signal", "time", "selectors", "mmap"]

#: Names that the stubs have in another place than the system, or only to help types.
BESIDE = {"sys", "SupportsIndex", "TypeAlias", "Final", "Literal", "overload"}


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("system", LISTS)
def test_the_list_has_all_that_the_system_lacks(system: str, module: str) -> None:
    has = Stubs(LISTS[system]).names(module)
    here = set(vars(importlib.import_module(module)))
    lacks = (Stubs("linux").names(module) - has - BESIDE) & here
    words = read(f"{system}.txt")[module]
    assert lacks - set(matching(words, lacks)) == set()


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("system", LISTS)
def test_the_list_has_nothing_that_the_system_has(system: str, module: str) -> None:
    has = Stubs(LISTS[system], (3, 11)).names(module)
    assert set(matching(read(f"{system}.txt")[module], has)) == set()
