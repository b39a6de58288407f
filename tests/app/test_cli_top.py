"""The command ``flask push top``, in a terminal and without one."""

from __future__ import annotations

import os
import signal
import subprocess
import typing as t
from pathlib import Path

from support.commands import failed
from support.commands import flask
from support.commands import Run
from support.commands import run as run
from support.servers import gunicorn
from support.servers import hubs
from support.servers import serve
from support.servers import TESTS
from support.terminals import terminal

TOP = flask("--app", "apps.basic", "push", "top")


def test_hubs_are_shown_live_in_a_terminal(tmp_path: Path) -> None:
    env = {**os.environ, "INSTANCE": str(tmp_path)}
    with serve(gunicorn, tmp_path) as server:
        server.stream("chat").opened()
        with terminal(TOP, cwd=TESTS, env=env) as it:
            it.until("1 streams")
            assert "PUSH_METRICS" in it.read()
            server.stream("chat", "new\x1b[2Js").opened()
            it.until("2 streams")
            it.until(r"new\x1b[2Js")
            it.press(b"q")
            assert it.process.wait(20) == 0
            assert it.is_as_before


def test_without_a_terminal_it_is_printed_once(run: Run, tmp_path: Path) -> None:
    assert "No hub is running" in failed(run("top"))
    with serve(gunicorn, tmp_path) as server:
        server.stream("chat").opened()
        done = run("top")
        assert "1 hub of this machine   1 streams" in done.stdout
        assert done.stdout.splitlines()[-1].split() == ["chat", "1"]
        assert done.stderr == "This is no terminal, so it was printed once.\n"
        socket = tmp_path / "push-basic" / "hub.sock"
        assert "1 streams" in run("top", "--socket", socket).stdout


def test_a_hub_that_does_not_answer_hides_no_other_and_does_not_end_it(
    tmp_path: Path,
) -> None:
    processes = {"FLASK_PUSH_HUB_PROCESSES": "2"}
    env = {**os.environ, "INSTANCE": str(tmp_path), **processes}
    options: t.Any = {"cwd": TESTS, "env": env, "capture_output": True, "text": True}
    with serve(gunicorn, tmp_path, PUSH_HUB_PROCESSES=2) as server:
        # Both hubs get some of them.
        for number in range(8):
            server.stream("chat", user=f"user{number}").opened()
        directory = tmp_path / "push-basic"
        first, second = hubs(directory)
        with terminal(TOP, cwd=TESTS, env=env, columns=60) as it:
            it.until("2 hubs of this machine   8 streams")
            os.kill(second, signal.SIGSTOP)
            try:
                it.until("1 hub of this machine")
                it.until("does not")
                once, listed = (
                    subprocess.run([*TOP[:-1], name], timeout=60, **options)
                    for name in ("top", "streams")
                )
            finally:
                os.kill(second, signal.SIGCONT)
            assert str(first) in once.stdout and "does not answer" in once.stdout
            assert "chat" in listed.stdout and listed.returncode == 1
            assert "does not answer" in listed.stderr
            it.press(b"q")
            assert it.process.wait(20) == 0
