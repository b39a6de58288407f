"""The house: floors, nevers, words. It reads the source and runs none of it."""

from __future__ import annotations

import ast
import re
import sys
import typing as t
from pathlib import Path

import pytest
from servers import ROOT

SOURCE = ROOT / "src" / "flask_push"

# By floor, from the ground up. A file may import its own floor and those below.
FLOORS = [
    # What is true.
    {
        *("_event", "sse", "_gzip", "_wire", "_channel", "_replay", "_log", "_stream"),
        *("_frozen", "_findings", "_troubles", "_return", "_answer", "_shown"),
        "_rests",
    },
    # What talks to one.
    {
        *("_connection", "_descriptors", "_files", "_limits", "_rundir", "_site", "_unix"),
        "_version",
        *("_ending", "_logging", "_names", "_native", "_per_process", "_visit", "_address"),
        *("brokers", "brokers.base", "brokers.memory", "brokers.sqlite"),
        *("brokers._sql", "brokers._database", "brokers._lock", "brokers._doorbell"),
        *("brokers._access", "brokers._clock", "brokers._watch", "brokers._forget"),
        *("brokers._forks", "brokers._history", "brokers._opening", "brokers._trouble"),
        *("brokers.redis", "brokers._redis_wire", "brokers._redis_pool", "brokers._lua"),
        *("brokers._redis_feed", "brokers._redis_line", "brokers._resp"),
        *("brokers._redis_bridge", "brokers._redis_cluster", "brokers._lua_read"),
        *(
            "brokers._lua_publish",
            "brokers._redis_url",
            "brokers._redis_errors",
            "brokers._urls",
        ),
    },
    # What runs.
    {
        *("_failstop", "_feeding"),
        *("_hub", "_streams", "_bridges", "_loop", "_sockets", "_wsgi", "_publisher"),
        *("_accel", "_agreement", "asgi", "client", "_doctor", "_front"),
        *("_worker", "_several", "_start", "_process", "_hold", "_run", "_takeover"),
        "_visitor",
    },
    # What Flask sees.
    {
        *(
            "__init__",
            "_extension",
            "_app_log",
            "_appdir",
            "_asked",
            "_parts",
            "_config",
            "_checkup",
            "_cli",
            "_command",
        ),
        *("_response", "_scripts", "_pyinstaller", "_pyinstaller.hook-flask_push"),
    },
    {"testing", "testing._contract", "testing._reader"},
]

#: What isn't needed: each is imported in one file.
OPTIONAL = {
    "_pyinstaller.hook-flask_push": {"PyInstaller"},
    "asgi": {"a2wsgi"},
    "brokers._redis_pool": {"redis"},
    "brokers._resp": {"hiredis"},
}

#: What the ground floor is made of, beside itself.
PURE = {
    *("__future__", "base64", "bisect", "collections", "collections.abc", "dataclasses"),
    *("functools", "hashlib", "heapq", "hmac", "itertools", "json", "operator", "random"),
    *("re", "typing", "urllib.parse", "warnings", "zlib"),
}


def modules() -> dict[str, Path]:
    found = {}
    for path in SOURCE.rglob("*.py"):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(name: str) -> set[str]:
    """What a file imports, wherever in it. Our own with a dot before them."""
    path = MODULES[name]
    here = list(path.relative_to(SOURCE).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module or "")
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1]
            for alias in node.names:
                full = ".".join([*base, *filter(None, [node.module]), alias.name])
                of = full if full in MODULES else full.rpartition(".")[0]
                found.add(f".{of or '__init__'}")
    return found


def floor_of(name: str) -> int:
    (floor,) = [n for n, names in enumerate(FLOORS) if name in names]
    return floor


def test_every_file_has_its_floor() -> None:
    assert sorted(MODULES) == sorted(name for names in FLOORS for name in names)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_run_downhill(name: str) -> None:
    for other in imports(name):
        if other.startswith("."):
            assert floor_of(other[1:]) <= floor_of(name), other


def test_there_are_no_circles() -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in imports(name):
                if other.startswith("."):
                    visit(other[1:], (*path, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


#: What an app or another program imports, beside what is in `__init__`.
ENTRANCES = {
    *("__init__", "asgi", "client", "sse", "testing", "_cli", "_run"),
    *("_pyinstaller", "_pyinstaller.hook-flask_push"),
}


def test_each_file_is_imported_by_a_statement() -> None:
    """Not by its name in a string, which programs that freeze an app can't see."""
    found: set[str] = set()
    queue = list(ENTRANCES)
    while queue:
        name = queue.pop()
        if name not in found:
            found.add(name)
            queue += [other[1:] for other in imports(name) if other.startswith(".")]
    assert found == MODULES.keys()


@pytest.mark.parametrize("name", sorted(FLOORS[0]))
def test_the_ground_floor_does_nothing_outside(name: str) -> None:
    foreign = {other for other in imports(name) if not other.startswith(".")}
    assert foreign <= PURE
    tree = ast.parse(MODULES[name].read_text())
    called = {node.func.id for node in ast.walk(tree) if is_call_of_a_name(node)}
    assert not called & {"open", "print", "input"}


def is_call_of_a_name(node: t.Any) -> t.TypeGuard[t.Any]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_flask_lives_upstairs(name: str) -> None:
    if floor_of(name) < 3:
        assert not {other.partition(".")[0] for other in imports(name)} & {
            *("flask", "werkzeug", "click", "jinja2"),
        }


def test_the_hub_knows_no_broker_by_name() -> None:
    assert {other for other in imports("_hub") if "brokers" in other} == {".brokers"}
    for name in "_hub", "_loop", "_log", "_connection":
        text = MODULES[name].read_text()
        assert not re.search("sqlite|redis|memory:", text, re.I), name


def test_nothing_is_needed_but_flask() -> None:
    allowed = {"flask", "werkzeug", "click", "_typeshed"}
    for name in MODULES:
        for other in imports(name):
            package = other.partition(".")[0]
            if package and package not in allowed | OPTIONAL.get(name, set()):
                assert package in sys.stdlib_module_names, (name, other)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_rooms_are_not_large(name: str) -> None:
    text = MODULES[name].read_text()
    if not name.startswith("testing."):
        assert len(text.splitlines()) <= 370
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (node.end_lineno or 0) - body[0].lineno if body else 0
            assert lines <= 42, f"{node.name} has {lines} lines"


def test_the_face_is_complete() -> None:
    import flask_push
    from flask_push import asgi
    from flask_push import brokers
    from flask_push import client
    from flask_push import sse
    from flask_push import testing

    for module in flask_push, asgi, brokers, client, sse, testing:
        assert module.__all__ == sorted(module.__all__, key=str.lower), module
        for name in module.__all__:
            assert getattr(module, name).__doc__ or name.isupper(), name
    assert len(MODULES["__init__"].read_text().splitlines()) <= 40


# One word per thing. These are other words for ours.
WRONG = re.compile(r"\b(topic|room|subscriber|consumer|producer|broadcast|emit)s?\b", re.I)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_things_have_one_name(name: str) -> None:
    assert not WRONG.findall(MODULES[name].read_text())


@pytest.mark.parametrize("name", sorted(MODULES))
def test_public_names_have_docstrings(name: str) -> None:
    if name.rpartition(".")[2].startswith("_") and name not in ("_extension", "_publisher"):
        return
    tree = ast.parse(MODULES[name].read_text())
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
                    if node.name in ("Push", "PushASGI", "Publisher", "Parser", "Source"):
                        assert ast.get_docstring(item), item.name


@pytest.mark.parametrize("name", ["test_faults", "test_redis_faults"])
def test_safeguards_that_tests_take_out_are_in_the_source(name: str) -> None:
    """Without starting all that such a test starts."""
    tree = ast.parse((ROOT / "tests" / f"{name}.py").read_text())
    (found,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "MUTANTS"
    )
    for module, old, _ in ast.literal_eval(found).values():
        text = MODULES[module.removeprefix("flask_push.")].read_text()
        assert text.count(old) == 1, (module, old)
