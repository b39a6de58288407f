"""The doctor, run in an app of its own or on its command line."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import socket
import threading
import typing as t
from pathlib import Path
from string import Formatter

import pytest
from flask import Flask

from flask_push import Push
from flask_push._cli import push as commands
from flask_push._doctor import stream as _doctor
from flask_push._doctor.finding import Finding


class Said(dict[str, Finding]):
    """Findings by their names."""

    code = 0

    @property
    def wrong(self) -> list[str]:
        return [name for name, finding in self.items() if finding.level != "ok"]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> cabc.Callable[..., Said]:
    """Run the command in the app of the servers, with this configuration."""
    # A server that has just begun, on a machine with much else to do, is not found slow.
    monkeypatch.setattr(_doctor, "_SLOW", 30.0)

    def ask(*words: str, **config: t.Any) -> Said:
        app = Flask("basic", instance_path=str(tmp_path))
        app.config.update(config)
        Push(app)
        done = app.test_cli_runner().invoke(commands, ["doctor", "--json", *words])
        assert done.exit_code in (0, 1), done.output
        said = Said()
        for found in json.loads(done.stdout):
            finding = Finding(**{**found, "cures": tuple(found["cures"])})
            assert finding.name not in said, finding
            assert bool(finding.cures) == (finding.level != "ok"), finding
            said[finding.name] = finding
        said.code = done.exit_code
        assert said.code == any(finding.level == "error" for finding in said.values())
        return said

    return ask


Ask = cabc.Callable[..., Said]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """One second is enough to see what a proxy holds back."""
    monkeypatch.setattr(_doctor, "_ANSWER_SECONDS", 1.0)


# Behavior that real programs show too seldom.


class Canned:
    """Answers each request with the same bytes."""

    def __init__(self, answer: cabc.Callable[[bytes], bytes]) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.url = f"http://127.0.0.1:{self.sock.getsockname()[1]}/"
        self.answer = answer
        self.requests: list[bytes] = []
        self.open: list[socket.socket] = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while True:
            sock, _ = self.sock.accept()
            self.open.append(sock)
            request = sock.recv(65536)
            if not request:
                return
            self.requests.append(request)
            answer = self.answer(request)
            sock.sendall(answer)
            if not answer.endswith(b"\n:\n"):
                sock.close()


@contextlib.contextmanager
def canned(answer: cabc.Callable[[bytes], bytes]) -> cabc.Iterator[Canned]:
    """An answer that ends with a heartbeat stays open."""
    it = Canned(answer)
    try:
        yield it
    finally:
        socket.create_connection(it.sock.getsockname()).close()
        it.thread.join()
        for sock in (it.sock, *it.open):
            sock.close()


def head(*lines: str) -> bytes:
    all = "HTTP/1.1 200 OK", "Content-Type: text/event-stream", *lines
    return "".join(f"{line}\r\n" for line in (*all, "")).encode()


def ill(said: Said) -> list[str]:
    """The findings besides the store, which is not that of the server."""
    return [name for name in said.wrong if name not in ("memory", "thread")]


# The page.


def words(text: str) -> str:
    return " ".join(text.split())


def shown(text: str) -> str:
    """The text, with dots for values that are known only when the problem is found."""
    parts = Formatter().parse(text)
    return words("".join(said + ("" if name is None else "…") for said, name, *_ in parts))
