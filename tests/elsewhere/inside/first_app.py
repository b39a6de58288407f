"""The README's app on the development server. It needs nothing that only Linux has."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import re
import subprocess
import sys
import typing as t
import urllib.parse
import urllib.request
from pathlib import Path

README = Path(__file__).parents[3] / "README.md"


@contextlib.contextmanager
def flask_run(directory: Path, port: int = 0) -> cabc.Iterator[str]:
    """The address of the server."""
    command = [sys.executable, "-m", "flask", "--app", "hello", "run", "-p", str(port)]
    with subprocess.Popen(
        command, cwd=directory, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", line):
                    yield found[1]
                    break
            else:
                raise AssertionError("the server did not start")
        finally:
            process.kill()


def say(url: str, text: str) -> None:
    body = urllib.parse.urlencode({"text": text}).encode()
    with urllib.request.urlopen(f"{url}/say", body, timeout=20) as answer:
        assert answer.status == 204


def listen(url: str, last_id: str = "") -> t.Any:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    request = urllib.request.Request(f"{url}/stream", headers=headers)
    return urllib.request.urlopen(request, timeout=20)


def test_the_readmes_app_runs_and_its_stream_resumes(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.M | re.S)
    (tmp_path / "hello.py").write_text(code, "utf-8")
    with flask_run(tmp_path) as url:
        with listen(url) as stream:
            lines = iter(stream.readline, b"")
            assert b"event: push:open\n" in lines
            say(url, "one")
            last_id = next(line for line in lines if line.startswith(b"id: "))
            assert b'data: {"text": "one"}\n' in lines
        say(url, "two")
    with flask_run(tmp_path, urllib.parse.urlsplit(url).port or 0) as url:
        say(url, "three")
        with listen(url, last_id.decode().split()[1]) as stream:
            lines = iter(stream.readline, b"")
            shown = [next(line for line in lines if b"text" in line) for _ in range(2)]
        assert shown == [b'data: {"text": "two"}\n', b'data: {"text": "three"}\n']
