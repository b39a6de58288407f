"""What is released: the wheel and the sdist, what is in them, and that they work."""

from __future__ import annotations

import email.message
import email.parser
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import typing as t
import urllib.parse
import urllib.request
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from support.doc_pages import README
from support.oldest import NEEDED
from support.oldest import oldest
from support.pages import blocks
from support.pages import commands
from support.pages import DOCS
from support.servers import ROOT
from support.servers import serve

PACKAGE = Path("src", "flask_push")

#: Files that no import needs. A wheel without them would fail only when an app uses them.
DATA = {
    "py.typed",
    *(
        f"static/{name}.{end}"
        for name in ("push", "extras", "items", "presence")
        for end in ("js", "d.ts")
    ),
    *(
        f"static/min/{name}.js"
        for name in ("push", "push.classic", "extras", "items", "presence", "element")
    ),
    *(f"brokers/redis/lua/{name}.lua" for name in ("begin", "publish", "read", "store")),
    "_pyinstaller/hook-flask_push.py",
}


def run(*command: str | Path, **options: t.Any) -> str:
    """What it prints. It must succeed, and does not see this process's own packages."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def files_of_the_repository() -> set[str]:
    """All that git keeps, or would keep: not what it ignores."""
    listed = run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).splitlines()
    return {name for name in listed if (ROOT / name).is_file()}


class Built(t.NamedTuple):
    """What ``python -m build`` makes: the sdist, and of that the wheel."""

    wheel: Path
    sdist: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    out = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--no-isolation", "-o", out / "dist", ROOT, cwd=out)
    (wheel,), (sdist,) = (out / "dist").glob("*.whl"), (out / "dist").glob("*.tar.gz")
    return Built(wheel, sdist)


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        return email.parser.Parser().parsestr(archive.read(name).decode())


# What is in them.


def test_the_wheel_has_the_package_and_nothing_else(built: Built) -> None:
    package = {
        Path(name).relative_to("src").as_posix()
        for name in files_of_the_repository()
        if Path(name).is_relative_to(PACKAGE)
    }
    assert {f"flask_push/{name}" for name in DATA} <= package
    about = f"flask_push-{version('Flask-Push')}.dist-info"
    more = "METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE.txt"
    with zipfile.ZipFile(built.wheel) as archive:
        assert set(archive.namelist()) == package | {f"{about}/{name}" for name in more}
        (tag,) = re.findall(r"^Tag: (.*)$", archive.read(f"{about}/WHEEL").decode(), re.M)
        assert tag == "py3-none-any"


def test_the_sdist_has_the_repository_without_what_its_tests_leave(built: Built) -> None:
    # Files that begin with a dot are for git, CI and the host of the docs.
    expected = {name for name in files_of_the_repository() if not name.startswith(".")}
    folder = f"flask_push-{version('Flask-Push')}"
    with tarfile.open(built.sdist) as archive:
        found = {member.name for member in archive}
    assert found == {f"{folder}/{name}" for name in expected | {"PKG-INFO"}}


def test_the_index_accepts_both(built: Built) -> None:
    told = run(sys.executable, "-m", "twine", "--no-color", "check", "--strict", *built)
    assert told.count("PASSED") == 2


def test_the_metadata_is_complete(built: Built) -> None:
    about = metadata(built.wheel)
    assert about["Name"] == "Flask-Push"
    assert about["License-Expression"] == "BSD-3-Clause"
    assert about["License-File"] == "LICENSE.txt"
    assert about["Description-Content-Type"] == "text/markdown"
    assert about["Author"] and about["Summary"] and about["Keywords"]
    assert str(about.get_payload()).rstrip() == README.rstrip()
    needed = about.get_all("Requires-Dist") or []
    assert [n for n in needed if "extra ==" not in n] == ["flask>=3.0"]
    extras = sorted(about.get_all("Provides-Extra") or [])
    assert extras == ["asgi", "metrics", "redis", "sqlalchemy"]
    systems = [c for c in about.get_all("Classifier") or [] if "Operating System" in c]
    assert [name.split(" :: ")[-1] for name in systems] == ["MacOS", "Windows", "Linux"]
    # The newest changes are those of this version.
    (newest, *_) = re.findall(r"^## Version (.*)$", (ROOT / "CHANGES.md").read_text(), re.M)
    assert newest == about["Version"].partition(".dev")[0]


def test_the_oldest_versions_that_are_allowed_are_those_that_the_texts_name() -> None:
    versions = oldest(NEEDED)
    redis = f"redis-py {versions['redis']} and hiredis {versions['hiredis']}, or newer"
    changes = (ROOT / "CHANGES.md").read_text()
    assert f" and Flask {versions['flask']} or newer." in changes and redis in changes
    assert f"needs {redis}: " in (ROOT / PACKAGE / "brokers/redis/__init__.py").read_text()
    # The servers run with it.
    assert f"\n| Flask | {versions['flask']}.0 | " in DOCS["servers"]
    names = ["a2wsgi", "flask", "hiredis", "prometheus-client", "redis", "sqlalchemy"]
    assert sorted(versions) == names


# That the wheel works where nothing else is.


INSTALL = next(block for block in commands(DOCS["start"]) if "pip install" in block[-1])

#: What the commands of the page *Start* are on Windows, where they differ.
ON_WINDOWS = {
    "python3 -m venv .venv": "py -m venv .venv",
    ". .venv/bin/activate": r".venv\Scripts\Activate.ps1",
}


@pytest.fixture(scope="module")
def empty(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a virtual environment that was made as the page *Start* says, with
    the wheel in place of a package of the index."""
    folder = tmp_path_factory.mktemp("empty")
    script = "\n".join(["set -e", *INSTALL])
    assert script.count("pip install Flask-Push") == 1
    pip = "pip --disable-pip-version-check install -q"
    script = script.replace("pip install Flask-Push", f"{pip} '{built.wheel}'")
    python = shlex.quote(str(Path(sys.executable).parent))
    run("sh", "-c", f"PATH={python}:$PATH\n{script}", cwd=folder)
    return folder / "hello" / ".venv" / "bin"


def test_the_page_has_the_same_commands_for_windows() -> None:
    shown = [re.findall(r"^> (.*)$", text, re.M) for text in blocks(DOCS["start"], "text")]
    assert shown == [[ON_WINDOWS.get(command, command) for command in INSTALL]]


def test_the_readmes_app_runs_where_only_the_wheel_is_installed(
    empty: Path, tmp_path: Path
) -> None:
    (code,) = [code for code in blocks(README, "python") if "Push(app)" in code]
    (tmp_path / "hello.py").write_text(code)
    where = "import flask_push; print(flask_push.__file__)"
    found = Path(run(empty / "python", "-X", "dev", "-W", "error", "-c", where).strip())
    assert found.is_relative_to(empty.parent)
    (command,) = {
        c for block in commands(DOCS["start"]) for c in block if c.startswith("flask ")
    }

    def flask(app: str, port: int) -> list[str]:
        return [str(empty / "python"), "-m", *command.split(), "-p", str(port)]

    with serve(flask, tmp_path, cwd=tmp_path, env={"PYTHONPATH": ""}) as server:
        with urllib.request.urlopen(f"{server.url}/stream", timeout=20) as stream:
            assert b"event: push:open\n" in iter(stream.readline, b"")
            body = urllib.parse.urlencode({"text": "hi"}).encode()
            with urllib.request.urlopen(f"{server.url}/say", body, timeout=20) as answer:
                assert answer.status == 204
            assert b'data: {"text": "hi"}\n' in iter(stream.readline, b"")
            shown = run(
                *(empty / "flask", "--app", "hello", "push", "status", "--json"),
                cwd=tmp_path,
            )
            assert json.loads(shown)["streams"] == 1
        with urllib.request.urlopen(f"{server.url}/push/push.js", timeout=20) as script:
            assert b"subscribe" in script.read()
