"""What the pages *The hub*, *systemd* and *Docker* say to type, in a test's directory."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import typing as t
from pathlib import Path

from support.pages import hello
from support.reader import HttpReader
from support.servers import end_hubs
from support.servers import serve
from support.servers import Server

#: Where the page has the hub, and where a test has it.
DIRECTORY = "/var/lib/shop/push"
ENV = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def here(text: str, directory: Path) -> str:
    return text.replace(DIRECTORY, str(directory / "push"))


def sh(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        here(command, directory),
        shell=True,
        cwd=directory,
        env={**os.environ, **ENV},
        capture_output=True,
        text=True,
        timeout=30,
    )


def said(command: str, directory: Path) -> str:
    done = sh(command, directory)
    assert done.returncode == 0, done.stderr
    return done.stdout


def serve_hello(
    directory: Path, command: str = "gunicorn -w 2 hello:app", **env: str
) -> contextlib.AbstractContextManager[Server]:
    """The app of the page *Start*, as a line of a page starts it."""

    def words(_: str, port: int) -> list[str]:
        bind = f"127.0.0.1:{port}"
        words = shlex.split(re.sub(r"(0\.0\.0\.0|127\.0\.0\.1):8000", bind, command))
        bound = [] if "-b" in words else ["-b", f"127.0.0.1:{port}"]
        return [*words, *bound, "--no-control-socket"]

    return serve(words, directory, env={**ENV, **env}, cwd=directory)


def say(server: Server, text: str) -> None:
    form: t.Any = {"Content-Type": "application/x-www-form-urlencoded"}
    status, *_ = server.request("POST", "/say", f"text={text}".encode(), **form)
    assert status == 204


def heard(reader: HttpReader, count: int) -> list[str]:
    return [json.loads(data)["text"] for data in reader.read_data(count)]


@contextlib.contextmanager
def run(command: str, directory: Path) -> cabc.Iterator[subprocess.Popen[bytes]]:
    with (directory / "hub.err").open("a") as log:
        process = subprocess.Popen(
            shlex.split(here(command, directory)),
            cwd="/",
            env={**os.environ, **ENV},
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        end_hubs(directory)


def app_with(config: str, directory: Path) -> None:
    """The app of the page *Start*, with more configuration."""
    path = hello(directory)
    code = path.read_text()
    assert code.count("push = Push(app)\n") == 1
    config = here(config, directory)
    path.write_text(code.replace("push = Push(app)\n", f"{config}push = Push(app)\n"))
