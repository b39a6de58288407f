"""The commands, run in a process of their own or in this one."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import inspect
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import click.testing
import pytest
from flask import Flask

from flask_push import Push
from flask_push._cli import push as commands
from support.scripted import Scripted
from support.scripted import STREAM
from support.servers import program
from support.servers import TESTS

Run = cabc.Callable[..., click.testing.Result]


def runner(app: Flask) -> click.testing.CliRunner:
    """Its results keep what a command writes to stderr, which Click 8.1 mixes into
    stdout unless it is asked not to."""
    mixes = "mix_stderr" in inspect.signature(click.testing.CliRunner).parameters
    return app.test_cli_runner(**({"mix_stderr": False} if mixes else {}))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command in an app with this configuration."""

    def run(
        *words: object, input: bytes | None = None, **config: t.Any
    ) -> click.testing.Result:
        app = Flask("basic", instance_path=str(tmp_path))
        app.config.update(config)
        Push(app)
        done = runner(app).invoke(commands, [*map(str, words)], input=input)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
        return done

    return run


def flask(*words: str) -> list[str]:
    return [sys.executable, "-m", "flask", *words]


@contextlib.contextmanager
def started(
    directory: Path, *words: str, env: dict[str, str] | None = None, **options: t.Any
) -> cabc.Iterator[subprocess.Popen[t.Any]]:
    """The same as a program of its own, in the app of the servers."""
    env = {**os.environ, "INSTANCE": str(directory), **(env or {})}
    command = flask("--app", "apps.basic", "push", *words)
    with program(command, stderr=subprocess.PIPE, cwd=TESTS, env=env, **options) as process:
        yield process


def failed(done: click.testing.Result) -> str:
    """The one line of a command that fails."""
    assert done.exit_code == 1, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    return line


@contextlib.contextmanager
def events(*data: bytes) -> cabc.Iterator[str]:
    """The URL of a stream with these events, which does not end."""
    stream = b"".join(b"data: %b\n\n" % line for line in data)
    with Scripted([STREAM + b"\r\n", stream, 60.0]) as server:
        yield server.url
