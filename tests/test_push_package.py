"""push.js as a package: its types, what npm would publish, and what is in the wheel."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import typing as t
import zipfile
from pathlib import Path

import pytest
from servers import ROOT
from servers import TESTS

import flask_push
from flask_push._scripts import SCRIPTS

STATIC = ROOT / "src" / "flask_push" / "static"
PACKAGE = json.loads((STATIC / "package.json").read_text())
# Node's own packages: what runs in a browser needs none of them, and no other.
TSC = TESTS / "clients" / "node_modules" / "typescript" / "bin" / "tsc"


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def program(name: str) -> str:
    """Node's, from the wheel that the tests are installed with, if it is there."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else name


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A project that has the package, as it would be published."""
    listed = json.loads(
        run(
            program("npm"),
            "pack",
            "--json",
            "--pack-destination",
            str(tmp_path),
            cwd=STATIC,
        )
    )
    shutil.unpack_archive(tmp_path / listed[0]["filename"], tmp_path, "gztar")
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "package").rename(tmp_path / "node_modules" / "flask-push")
    return tmp_path


def test_the_package_is_what_is_served_and_nothing_else() -> None:
    (listed,) = json.loads(run(program("npm"), "pack", "--dry-run", "--json", cwd=STATIC))
    assert listed["name"] == "flask-push"
    names = {file["path"] for file in listed["files"]}
    assert names == {"package.json", *SCRIPTS.values()}
    assert names == {path.name for path in STATIC.iterdir()}


def test_the_package_has_the_version_of_the_extension() -> None:
    (version,) = re.findall(
        r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M
    )
    assert PACKAGE["version"] == re.sub(r"\.dev(\d+)", r"-dev.\1", version)
    assert not PACKAGE.keys() & {"dependencies", "scripts", "devDependencies"}


def test_the_package_can_be_imported_where_there_is_no_browser(installed: Path) -> None:
    code = 'import { connect } from "flask-push"; console.log(typeof connect)'
    command = [program("node"), "--input-type=module", "-e", code]
    assert run(*command, cwd=installed) == "function\n"


def test_typescript_knows_what_a_page_may_write(installed: Path) -> None:
    shutil.copy(TESTS / "clients" / "typed.ts", installed)
    for module in ("esnext", "bundler"), ("nodenext", "nodenext"):
        options = {"module": module[0], "moduleResolution": module[1], "noEmit": True}
        options |= {"strict": True, "target": "es2020", "types": [], "skipLibCheck": False}
        options["lib"] = ["es2020", "dom"]
        config = {"compilerOptions": options, "files": ["typed.ts"]}
        (installed / "tsconfig.json").write_text(json.dumps(config))
        (installed / "package.json").write_text('{"type": "module"}')
        run(program("node"), str(TSC), "-p", ".", cwd=installed)


def test_the_types_name_what_there_is() -> None:
    script, types = ((STATIC / name).read_text() for name in ("push.js", "push.d.ts"))
    base = members(script, "class", "Listeners")
    for name in "Push", "Subscription":
        there = (members(script, "class", name) | base) - {"names", "constructor"}
        missing = there - members(types, "export interface", name)
        assert not missing, (name, missing)


def members(text: str, kind: str, name: str) -> set[str]:
    (body,) = re.findall(rf"^{kind} {name}\b.*?\{{$(.*?)^\}}$", text, re.M | re.S)
    found = re.findall(r"^  (?:readonly |get |async )?([a-z]\w*)[(<:=; ]", body, re.M)
    return set(found) - {"async"}


def test_the_wheel_has_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path)]
    environment: dict[str, t.Any] = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        [*command, str(ROOT)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in STATIC.iterdir():
        assert f"{flask_push.__name__}/static/{path.name}" in names
