"""Apps that are one file: frozen by PyInstaller and the like, or in a zip."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
import zipfile
from pathlib import Path

import pytest
from support.hub_processes import opened
from support.packages import environment
from support.packages import install
from support.servers import flask_run
from support.servers import free_port
from support.servers import hubs
from support.servers import ROOT
from support.servers import serve
from support.servers import Server
from support.servers import until

from flask_push._pyinstaller import hook_dirs

PACKAGE = ROOT / "src" / "flask_push"

# As PyInstaller's loader does it.
FROZEN = """
import sys
sys.frozen = True
from apps.basic import app
"""


def test_a_frozen_app_has_its_hub_in_a_thread(tmp_path: Path) -> None:
    app = tmp_path / "frozen.py"
    app.write_text(FROZEN)
    with serve(flask_run, tmp_path, app=str(app)) as server:
        reader = server.stream("a").opened()
        server.publish("a", "x")
        assert reader.read_data(1) == ["x"]
        assert hubs(tmp_path) == []
        assert "No hub process" not in server.log


def test_a_frozen_app_that_asks_for_a_hub_process_gets_an_error_with_the_reason(
    tmp_path: Path,
) -> None:
    app = tmp_path / "frozen.py"
    app.write_text(FROZEN)
    config: dict[str, t.Any] = {"PUSH_HUB": "process", "PUSH_RETRY": 0.5}
    with serve(flask_run, tmp_path, app=str(app), **config) as server:
        until(lambda: opened(server))
        assert "a frozen app has no interpreter; set PUSH_HUB to 'thread'" in server.log
        assert hubs(tmp_path) == []


ZIPPED = """
import flask_push
from apps.basic import app

@app.get("/where")
def where():
    return flask_push.__file__
"""


def zipped(directory: Path) -> Path:
    path = directory / "lib.zip"
    with zipfile.ZipFile(path, "w") as zip:
        for file in PACKAGE.rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                zip.write(file, file.relative_to(PACKAGE.parent))
    return path


def test_the_package_works_from_a_zip_file(tmp_path: Path) -> None:
    path = zipped(tmp_path)
    app = tmp_path / "zipped.py"
    app.write_text(ZIPPED)
    env = {"PYTHONPATH": str(path)}
    with serve(flask_run, tmp_path, app=str(app), env=env) as server:
        assert server.get("/where").startswith(f"{path}/")
        assert "connect" in server.get("/push/push.js")
        reader = server.stream("a").opened()
        server.publish("a", "x")
        assert reader.read_data(1) == ["x"]
        assert len(hubs(tmp_path)) == 1


def test_the_scripts_for_redis_may_be_in_a_zip(tmp_path: Path) -> None:
    path = zipped(tmp_path)
    read = "from flask_push.brokers.redis import scripts as s; print(s.__file__, s.READ)"
    done = subprocess.run(
        [sys.executable, "-c", read],
        env={**os.environ, "PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith(f"{path}/"), done.stderr
    assert "redis.call" in done.stdout


MAIN = """
import sys
from flask import Flask, request
from flask_push import Push

app = Flask("basic")
app.config["PUSH_RUN_DIR"] = sys.argv[2]
push = Push(app)

@app.get("/")
def index():
    return ""

@app.get("/stream")
def stream():
    return push.stream(*push.requested())

@app.post("/publish")
def publish():
    return push.publish("a", request.get_json(force=True)[0]["data"])

app.run(port=int(sys.argv[1]))
"""


@pytest.mark.slow
def test_an_app_frozen_by_pyinstaller_pushes(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    (tmp_path / "main.py").write_text(MAIN)
    (hooks,) = hook_dirs()
    # An environment that is older than the entry point does not find the hooks itself.
    options = ["--noconfirm", "--log-level", "ERROR", "--additional-hooks-dir", hooks]
    subprocess.run(
        [sys.executable, "-m", "PyInstaller", *options, "main.py"],
        cwd=tmp_path,
        env=environment(install(pytestconfig, "pyinstaller==6.22.3")),
        check=True,
        timeout=300,
    )
    port = free_port()
    command = [str(tmp_path / "dist" / "main" / "main"), str(port), str(tmp_path / "run")]
    server = Server(command, port, tmp_path / "server.log", {}, tmp_path)
    try:
        reader = server.stream("a").opened()
        server.publish("a", "x")
        assert reader.read_data(1) == ["x"]
        assert "connect" in server.get("/push/push.js")
    finally:
        server.kill()
