"""What all commands share: how they load the app, and report errors."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from flask import Flask
from support.commands import events
from support.commands import failed
from support.commands import flask
from support.commands import Run
from support.commands import run as run
from support.commands import runner
from support.commands import started
from support.servers import TESTS

from flask_push._cli import push as commands


def test_an_app_without_push_is_named() -> None:
    app = Flask("x\x1b")
    done = runner(app).invoke(commands, ["status"])
    assert failed(done).endswith(r" has no Push. Call 'push.init_app(app)'.")
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("words", [["status"], ["stop"], ["publish", "a", "b"]])
def test_an_invalid_configuration_is_one_line(words: list[str], tmp_path: Path) -> None:
    env = {"FLASK_PUSH_BROKER_URL": "redis://:s3cret@h/0?nonsense=1"}
    with started(tmp_path, *words, text=True, env=env) as process:
        _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert said.startswith("Error: PUSH_BROKER_URL = 'redis://***@h/0?nonsense=1': ")
    assert said.count("\n") == 1 and "s3cret" not in said


def test_an_error_of_the_app_itself_has_its_traceback(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise ValueError('mine')")
    done = subprocess.run(
        flask("--app", "broken", "push", "status"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "ValueError: mine" in done.stderr


def test_invalid_arguments_have_the_status_2(run: Run) -> None:
    for words in ["nonsense"], ["status", "--nonsense"], ["publish", "a"], ["hub"]:
        assert run(*words).exit_code == 2


@pytest.mark.parametrize("command", ["tail", "doctor", "publish"])
def test_a_closed_pipe_ends_a_command_silently(command: str, tmp_path: Path) -> None:
    """As with ``| head -1``."""
    read, write = os.pipe()
    os.close(read)
    with events(b"a", b"b") as url:
        words = {"tail": [url], "doctor": [], "publish": ["a", "b"]}[command]
        env = {**os.environ, "INSTANCE": str(tmp_path)}
        done = subprocess.run(
            flask("--app", "apps.basic", "push", command, *words),
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            cwd=TESTS,
            env=env,
            timeout=30,
        )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        env = {**os.environ, "INSTANCE": str(tmp_path)}
        done = subprocess.run(
            flask("--app", "apps.basic", "push", "doctor"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=TESTS,
            env=env,
            timeout=30,
        )
    assert done.returncode == 1
    assert done.stderr == "Error: No space left on device.\n"
