"""The browser's scripts as a package of npm, and their types."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from support.servers import ROOT
from support.servers import TESTS

STATIC = ROOT / "src" / "flask_push" / "static"
PACKAGE = json.loads((STATIC / "package.json").read_text())
# `make test` installs Node, and what it runs.
BIN = Path(sys.executable).parent
ENV = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, env=ENV, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_package_has_all_scripts_and_nothing_else(tmp_path: Path) -> None:
    options = ["--dry-run", "--json", "--offline", "--cache", str(tmp_path)]
    (packed,) = json.loads(run(str(BIN / "npm"), "pack", *options, cwd=STATIC))
    found = {file["path"] for file in packed["files"]}
    assert packed["name"] == "flask-push"
    assert found == {path.name for path in STATIC.iterdir() if path.is_file()}


def test_everything_that_the_package_exports_exists_and_has_types(tmp_path: Path) -> None:
    for exported in PACKAGE["exports"].values():
        assert all((STATIC / path).is_file() for path in exported.values())
    modules = tmp_path / "node_modules"
    modules.mkdir()
    (modules / "flask-push").symlink_to(STATIC)
    code = """import * as push from "flask-push";
    import * as extras from "flask-push/extras";
    import * as items from "flask-push/items";
    import * as presence from "flask-push/presence";
    import * as element from "flask-push/element";
    import * as juggernaut from "flask-push/juggernaut";
    import * as follow from "flask-push/follow";
    import * as signed from "flask-push/signed";
    const all = [push, extras, items, presence, element, juggernaut, follow, signed];
    console.log(JSON.stringify(all.map(Object.keys)));"""
    (tmp_path / "read.mjs").write_text(code)
    found = json.loads(run(str(BIN / "node"), "read.mjs", cwd=tmp_path))
    push, extras, items, presence, element, juggernaut, follow, signed = found
    assert push == ["Listeners", "Push", "compare", "connect", "soon"]
    assert extras == ["PushEventSource", "connect"]
    assert items == ["connect", "keep"]
    assert presence == element == signed == ["connect"]
    assert juggernaut == ["Juggernaut", "connect"]
    assert follow == ["follow"]
    typed = {"push": ["connect"], "extras": extras, "juggernaut": juggernaut}
    typed |= {"items": ["connect"], "presence": presence, "element": element}
    typed |= {"follow": follow, "signed": signed}
    for name, names in typed.items():
        text = (STATIC / f"{name}.d.ts").read_text()
        found = re.findall(r"^export .*?\b(\w+)(?= \}|[:<(]| \{)", text, re.M)
        assert set(names) <= set(found)


def test_the_minified_scripts_are_made_from_their_sources(tmp_path: Path) -> None:
    """`make scripts` makes them again."""
    run(str(BIN / "node"), str(TESTS / "clients" / "minify.mjs"), str(tmp_path), cwd=ROOT)
    made, served = (
        {path.name: path.read_bytes() for path in folder.iterdir()}
        for folder in (tmp_path, STATIC / "min")
    )
    assert made == served


def test_the_package_has_the_version_of_the_distribution() -> None:
    # npm writes versions that are not releases in another form.
    ours = re.sub(r"\.(dev)(\d+)$", r"-\1.\2", version("Flask-Push"))
    assert PACKAGE["version"] == ours


def test_the_types_allow_what_they_should_and_nothing_else() -> None:
    tsc = TESTS / "clients" / "node_modules" / "typescript" / "bin" / "tsc"
    run(str(BIN / "node"), str(tsc), "-p", ".", cwd=TESTS / "js")


def test_the_types_name_all_exports() -> None:
    script, types = ((STATIC / name).read_text() for name in ("push.js", "push.d.ts"))
    base = members(script, "class", "Listeners")
    for name in "Push", "Subscription":
        there = (members(script, "class", name) | base) - {"get", "constructor"}
        missing = there - members(types, "interface", name)
        assert not missing, (name, missing)


def members(text: str, kind: str, name: str) -> set[str]:
    (body,) = re.findall(
        rf"^(?:export )?{kind} {name}\b.*?\{{$(.*?)^\}}$", text, re.M | re.S
    )
    found = re.findall(r"^  (?:readonly |get |async )?([a-z]\w*)[(<:=; ]", body, re.M)
    return set(found) - {"async"}
