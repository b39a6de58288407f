"""The house: which folder may import which, and the nevers. It reads the source and runs
none of it.

A folder says in which process its code runs. The rules are about folders, so a new file
needs no entry here.
"""

from __future__ import annotations

import ast
import re
import sys
import typing as t
from pathlib import Path

import pytest
from apps import mutant
from support.house import MAY_IMPORT
from support.house import MODULES
from support.house import SOURCE
from support.house import WRONG
from support.servers import ROOT
from support.without_linux.taking import matching
from support.without_linux.taking import read

# What lies beside ``__init__`` and is not Flask's: files that are rooms of their own.
ALONE = {"sse", "_config", "asgi"}

#: Packages that may be missing, and the only file or folder that imports each.
OPTIONAL = {
    "sqlalchemy": {"sqlalchemy"},
    "asgi": {"a2wsgi"},
    "brokers.redis.pool": {"redis"},
    "brokers.redis.connection": {"hiredis"},
    "metrics": {"prometheus_client"},
    "testing.fixtures": {"pytest"},
    "_pyinstaller.hook-flask_push": {"PyInstaller"},
}

#: The standard library that ``_delivery`` may use: no I/O, clock, thread or loop.
PURE = {
    *("__future__", "base64", "bisect", "collections", "collections.abc", "dataclasses"),
    *("enum", "functools", "hashlib", "heapq", "hmac", "itertools", "json", "math"),
    *("operator", "random", "re", "secrets", "typing", "urllib.parse", "uuid", "warnings"),
    "zlib",
}


def imports(name: str) -> set[str]:
    """The modules that a file imports, wherever in it. Ours begin with a dot."""
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


def ours(name: str) -> set[str]:
    return {other[1:] for other in imports(name) if other.startswith(".")}


def room_of(name: str) -> str:
    first, _, rest = name.partition(".")
    return (
        first
        if rest or MODULES[name].stem == "__init__" != name or first in ALONE
        else "app"
    )


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_room_imports_only_the_rooms_below_it(name: str) -> None:
    here = room_of(name)
    for other in ours(name):
        assert room_of(other) in MAY_IMPORT[here] | {here}, other


def test_only_the_command_line_imports_the_doctor() -> None:
    visitors = {
        name for name in MODULES if any(o.startswith("_doctor") for o in ours(name))
    }
    assert {name for name in visitors if room_of(name) != "_doctor"} == {"_cli_url"}


def test_there_are_no_circles() -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in ours(name):
                visit(other, (*path, name))
            done.add(name)

    for name in MODULES:
        visit(name, ())


#: What an app or another program imports, beside what is in `__init__`.
ENTRANCES = {
    *("__init__", "ag_ui", "ai_sdk", "asgi", "client", "sse", "sqlalchemy", "testing"),
    *("metrics", "_cli", "_run", "compat.flask_sse", "testing.fixtures"),
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
            queue += ours(name)
            # What is in a folder imports the folder first.
            queue += [name.rpartition(".")[0]] if "." in name else []
    assert found == MODULES.keys()


PURE_FILES = [name for name in MODULES if room_of(name) in ("_delivery", "_event", "sse")]


@pytest.mark.parametrize("name", sorted(PURE_FILES))
def test_delivery_does_no_io(name: str) -> None:
    foreign = {other for other in imports(name) if not other.startswith(".")}
    assert foreign <= PURE
    tree = ast.parse(MODULES[name].read_text())
    called = {node.func.id for node in ast.walk(tree) if is_call_of_a_name(node)}
    assert not called & {"open", "print", "input"}


#: Who is present is decided in ``_delivery``, which has no clock, and stored by these.
PRESENCE = [name for name in MODULES if re.match(r"_hub\..*(presence|roster)", name)]


@pytest.mark.parametrize("name", sorted(PRESENCE))
def test_presence_knows_only_the_clock_of_the_loop(name: str) -> None:
    """That one is monotonic. So a clock that jumps ends no stay."""
    assert not imports(name) & {"time", "datetime", "._system.clock"}


def is_call_of_a_name(node: t.Any) -> t.TypeGuard[t.Any]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_only_files_beside_init_import_flask(name: str) -> None:
    if room_of(name) not in ("app", "compat", "testing"):
        assert not {other.partition(".")[0] for other in imports(name)} & {
            *("flask", "werkzeug", "click", "itsdangerous", "jinja2"),
        }


def test_the_hub_knows_no_broker_by_name() -> None:
    for name in MODULES:
        if room_of(name) in ("_hub", "_delivery"):
            assert {o for o in ours(name) if o.startswith("brokers")} <= {"brokers"}, name
            text = MODULES[name].read_text()
            assert not re.search("sqlite|redis|memory:", text, re.I), name


def test_locks_of_the_hubs_threads_are_not_those_of_gevent() -> None:
    """See :func:`.free_lock`. Only greenlets use the lock of a hub in a thread."""
    for name in MODULES:
        if room_of(name) in ("_hub", "brokers") and name != "_hub.thread":
            assert not re.search(r"threading\.R?Lock", MODULES[name].read_text()), name


#: What macOS or Windows lacks, by module of the standard library; the names by which a
#: program asks for the system; and methods that some loops and sockets don't have.
LACKED = {
    module: [*read("windows.txt").get(module, []), *read("macos.txt").get(module, [])]
    for module in ("os", "socket", "select", "signal", "time", "selectors", "modules")
}
LACKED["os"].append("name")
LACKED["sys"] = ["platform", "getwindowsversion"]
LACKED["platform"] = ["*"]
METHODS = {"add_signal_handler", "remove_signal_handler", "sendmsg", "recvmsg", "st_blocks"}
PATHS = re.compile("/(proc|sys|dev)(/|$)")


def asked_of_the_system(tree: ast.AST) -> list[str]:
    """What a file asks of the system that not each system has."""
    found = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if is_import(node) else []
        if isinstance(node, ast.Import):
            found += matching(LACKED["modules"], [name.split(".")[0] for name in names])
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found += matching(LACKED["modules"], [node.module or ""])
            found += matching(LACKED.get(node.module or "", []), names)
        elif isinstance(node, ast.Attribute):
            of = node.value.id if isinstance(node.value, ast.Name) else ""
            found += matching(LACKED.get(of, []), [node.attr])
            found += {node.attr} & METHODS
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += [node.value] if PATHS.match(node.value) else []
    return found


@pytest.mark.parametrize("name", sorted(MODULES))
def test_only_one_folder_knows_what_a_system_lacks(name: str) -> None:
    if room_of(name) != "_system":
        assert not asked_of_the_system(ast.parse(MODULES[name].read_text()))


@pytest.mark.parametrize(
    "text",
    [
        *("import fcntl", "import fcntl as f", "from fcntl import flock", "import pwd"),
        *("os.fork()", "os.geteuid()", "from os import pwrite", "socket.AF_UNIX"),
        *("socket.SOCK_CLOEXEC", "select.EPOLLIN", "signal.SIGHUP", "sys.platform"),
        *("platform.system()", "os.name", "time.CLOCK_BOOTTIME", "os.WIFEXITED"),
        *("sock.sendmsg([])", "loop.add_signal_handler(2, f)", "found.st_blocks"),
        *("open('/proc/self/maps')", "f'/proc/{pid}/limits'", "listdir('/dev/fd')"),
    ],
)
def test_what_a_system_lacks_is_found(text: str) -> None:
    assert asked_of_the_system(ast.parse(text))


@pytest.mark.parametrize("name", sorted(MODULES))
def test_text_files_are_in_a_named_encoding(name: str) -> None:
    """Each system has another default. Only ``_system`` reads files of the kernel."""
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if room_of(name) != "_system" and isinstance(node, ast.Call):
            method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if method in ("read_text", "write_text"):
                assert "encoding" in {keyword.arg for keyword in node.keywords}


def test_flask_is_the_only_package_that_is_needed() -> None:
    allowed = {"flask", "werkzeug", "click", "itsdangerous", "_typeshed"}
    for name in MODULES:
        for other in imports(name):
            package = other.partition(".")[0]
            optional = OPTIONAL.get(name, OPTIONAL.get(room_of(name), set()))
            if package and package not in allowed | optional:
                assert package in sys.stdlib_module_names, (name, other)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_rooms_are_not_large(name: str) -> None:
    text = MODULES[name].read_text()
    if not name.startswith("testing."):
        assert len(text.splitlines()) <= 320
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and not name.startswith("testing."):
            assert (node.end_lineno or 0) - node.lineno <= 250, node.name
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (node.end_lineno or 0) - body[0].lineno if body else 0
            assert lines <= 40, f"{node.name} has {lines} lines"


def test_the_face_is_complete() -> None:
    import flask_push
    from flask_push import ag_ui
    from flask_push import ai_sdk
    from flask_push import asgi
    from flask_push import brokers
    from flask_push import client
    from flask_push import metrics
    from flask_push import sqlalchemy
    from flask_push import sse
    from flask_push import testing
    from flask_push.compat import flask_sse

    modules = flask_push, ag_ui, ai_sdk, asgi, brokers, client, sqlalchemy, sse, testing
    for module in *modules, flask_sse, metrics:
        assert module.__all__ == sorted(module.__all__, key=str.lower), module
        for name in module.__all__:
            assert getattr(module, name).__doc__ or name.isupper(), name
    assert len(MODULES["__init__"].read_text().splitlines()) <= 42


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
    tree = ast.parse((ROOT / "tests" / "faults" / f"{name}.py").read_text())
    (found,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "MUTANTS"
    )
    for module, old, _ in ast.literal_eval(found).values():
        path = MODULES.get(module.removeprefix("flask_push."), SOURCE.parent / module)
        text = path.read_text()
        assert text.count(old) == 1, (module, old)
    reads = MODULES[mutant.READS_LUA.removeprefix("flask_push.")].read_text()
    assert reads.count(mutant.READING) == 1


TESTS = sorted(
    path for path in (ROOT / "tests").rglob("*.py") if "node_modules" not in path.parts
)


@pytest.mark.parametrize("path", TESTS, ids=lambda p: str(p.relative_to(ROOT / "tests")))
def test_files_of_tests_are_not_large_and_import_no_test(path: Path) -> None:
    """What several of them need lies in ``tests/support``."""
    text = path.read_text()
    assert len(text.splitlines()) <= 520
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if is_import(node) else []
        if isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        parts = {part for name in names for part in name.split(".")}
        assert not [part for part in parts if part.startswith("test_")], parts


def is_import(node: t.Any) -> t.TypeGuard[t.Any]:
    return isinstance(node, (ast.Import, ast.ImportFrom))


def file_of_tests(name: str) -> Path:
    """The file of the tests of a module: its folder is that of the module, or ``app``, and
    its name is that of the module inside of the folder."""
    first, _, rest = name.partition(".")
    folder = first.lstrip("_")
    if not (ROOT / "tests" / folder).is_dir():
        folder, rest = "app", name
    plain = "_".join(part.lstrip("_") for part in (rest or folder).split("."))
    return ROOT / "tests" / folder / f"test_{plain}.py"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_has_a_file_of_tests(name: str) -> None:
    """Small modules, and those that are tables, are tested with those that use them."""
    path = file_of_tests(name)
    text = MODULES[name].read_text()
    is_small = len(text.splitlines()) <= 50 or not re.search(r"^(def|class) ", text, re.M)
    if not is_small:
        assert path.exists(), f"{path.relative_to(ROOT)} is missing"
        assert re.search(r"^def test_", path.read_text(), re.M)
