"""Hub processes, as the command line starts them."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

from flask_push._handoff.spawn import start_process
from flask_push._ipc.files import HubFiles
from support.reader import HttpReader
from support.servers import Server
from support.servers import TESTS


def flask_push(directory: Path, *words: str, env: dict[str, str] | None = None) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "flask", "--app", "apps.basic", "push", *words]
    env = {**os.environ, "INSTANCE": str(directory), **(env or {})}
    done = subprocess.run(
        command, cwd=TESTS, env=env, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def replace(directory: Path) -> None:
    start_process(HubFiles.of(directory / "push-basic"), "--replace", "--force")


def returned(server: Server, reader: HttpReader, *channels: str) -> HttpReader:
    """The stream with which a browser returns that the hub sends back to its view."""
    gaps = len(reader.gaps)
    reader.read_to_end()
    assert len(reader.gaps) == gaps
    while True:
        again = server.stream(*channels, last_id=reader.last_id)
        while not again.ended and not again.events:
            again.read()
        if again.events:
            return again


def opened(server: Server) -> t.Any:
    """The stream, if it is more than the few bytes that ask the browser to reconnect."""
    reader = server.stream("a")
    while not reader.ended and not reader.events:
        reader.read()
    return reader if reader.events else None
