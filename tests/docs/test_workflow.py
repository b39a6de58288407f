"""What hosts of the repository read: the workflow, the file of Read the Docs, templates.

Nothing here has run them. The tests see that what they name is there.
"""

from __future__ import annotations

import ast
import re
import shlex
import sys
import tomllib
import typing as t
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from support.servers import ROOT

HOST = ROOT / ".github"
WORKFLOW = (HOST / "workflows" / "tests.yaml").read_text()
JOBS = yaml.safe_load(WORKFLOW)["jobs"]
READ_THE_DOCS = yaml.safe_load((ROOT / ".readthedocs.yaml").read_text())
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = PYPROJECT["dependency-groups"]
LEAST = PYPROJECT["project"]["requires-python"].removeprefix(">=")

COMMANDS = [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]
COMMANDS += READ_THE_DOCS["build"]["jobs"]["install"]


def test_the_workflow_says_that_it_has_not_been_run() -> None:
    assert WORKFLOW.startswith("# This workflow has not been run yet.")


def test_the_workflow_has_each_system_and_each_python() -> None:
    matrix = JOBS["some"]["strategy"]["matrix"]
    assert [name.partition("-")[0] for name in matrix["system"]] == [
        *("ubuntu", "macos", "windows"),
    ]
    *plain, free = matrix["python"]
    minors = [int(version.removeprefix("3.")) for version in plain]
    assert plain[0] == LEAST
    assert minors == [*range(minors[0], minors[-1] + 1)]
    assert free == f"{plain[-1]}t"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_what_is_there(command: str) -> None:
    for part in command.split(" && "):
        program, *words = shlex.split(part)
        if program == "make":
            assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.M)
        elif "pip" in (program, *words[1:2]):
            installs_what_there_is(words[words.index("install") + 1 :])
        elif program == "python" and "-c" in words:
            compile(words[-1], "workflow", "exec")
        elif program == "python":
            (arguments,) = [word for word in words if word.startswith("@")]
            names_what_is_there((ROOT / arguments[1:]).read_text().split())
        else:
            assert program in ("apt-get", "git")


def installs_what_there_is(words: list[str]) -> None:
    rest = iter(words)
    for word in rest:
        if word in ("-c", "-e"):
            assert (ROOT / next(rest)).exists()
        elif word == "--group":
            assert next(rest) in GROUPS
        elif word == "--upgrade":
            assert next(rest) == "pip"
        else:
            assert word in GROUPS["tests"]


def names_what_is_there(words: list[str]) -> None:
    paths = [word for word in words if not word.startswith("-")]
    assert paths == sorted(set(paths)) and len(paths) > 10
    for path in paths:
        assert (ROOT / path).is_file(), path


def imported(path: Path) -> set[str]:
    """The names of the modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
    return found


def test_the_workflow_installs_what_the_listed_files_import() -> None:
    listed = (ROOT / "tests" / "elsewhere" / "portable.txt").read_text().split()
    queue = {ROOT / word for word in listed if not word.startswith("-")}
    done: set[Path] = set()
    packages = set()
    while new := queue - done:
        done |= new
        for name in set().union(*map(imported, new)):
            path = (ROOT / "tests" / name.replace(".", "/")).with_suffix(".py")
            if path.exists():
                queue.add(path)
            elif (first := name.partition(".")[0]) not in sys.stdlib_module_names:
                packages.add(first)
    (command,) = [words for words in COMMANDS if "-c requirements.txt" in words]
    there = {"flask", "itsdangerous", "jinja2", "werkzeug", "flask_push", *command.split()}
    assert packages - {"apps", "support"} <= there


def test_read_the_docs_builds_as_the_tests_do() -> None:
    assert (ROOT / READ_THE_DOCS["sphinx"]["configuration"]).exists()
    assert READ_THE_DOCS["sphinx"]["fail_on_warning"]
    python = READ_THE_DOCS["build"]["tools"]["python"]
    assert int(python.partition(".")[2]) >= int(LEAST.partition(".")[2])


TEMPLATES = sorted((HOST / "ISSUE_TEMPLATE").glob("*.md"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_a_template_of_an_issue_has_a_name_and_says_what_it_is_for(path: Path) -> None:
    _, head, body = path.read_text().split("---\n", 2)
    about: dict[str, t.Any] = yaml.safe_load(head)
    assert about["name"] and about["about"]
    assert body.strip()


def test_templates_name_files_and_commands_that_are_there() -> None:
    texts = [path.read_text() for path in HOST.rglob("*.md")]
    for text in texts:
        for name in re.findall(r"\b([A-Z]+\.md)\b", text):
            assert (ROOT / name).exists()
        for target in re.findall(r"`make (\w+)`", text):
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)
    assert len(texts) == len(TEMPLATES) + 1
