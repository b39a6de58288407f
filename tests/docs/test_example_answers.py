"""The example answers: where its answers are made, and what its pages receive."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.answers import Answers
from support.answers import answers_on
from support.answers import name
from support.answers import WORDS
from support.redises import Valkey
from support.servers import flask_run
from support.servers import ROOT
from support.servers import until

README = (ROOT / "examples/README.md").read_text()
#: What starts the worker of each kind.
WORKERS = {
    command.split()[0]: command
    for command in re.findall(
        r"^\$ (?:FLASK_ANSWER_IN=\w+ )?((?:celery|rq) .*)$", README, re.M
    )
}


def ask(answers: Answers, chat: str, text: str, id: str = "") -> httpx.Response:
    question = {"id": id or name(), "text": text}
    return httpx.post(f"{answers.url}/chats/{chat}/messages", json=question, timeout=20)


def messages(answers: Answers, chat: str) -> list[str]:
    return [m["text"] for m in json.loads(answers.server.get(f"/chats/{chat}/messages"))]


@contextlib.contextmanager
def worker(kind: str, answers: Answers, directory: Path) -> cabc.Iterator[None]:
    """The command of the README, for this copy of the example."""
    command = WORKERS[kind].replace("examples/answers", str(answers.folder))
    program, *words = shlex.split(command)
    if kind == "celery":
        words += ["--pool", "threads", "--concurrency", "2"]
    else:
        words += ["--url", answers.server.env["FLASK_ANSWER_URL"]]
    with (directory / f"{kind}.log").open("wb") as log:
        process = subprocess.Popen(
            [Path(sys.executable).with_name(program), *words],
            stdout=log,
            stderr=log,
            cwd=directory,
            env={**os.environ, **answers.server.env},
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.parametrize("kind", ["celery", "rq"])
def test_a_worker_makes_the_answers(kind: str, tmp_path: Path) -> None:
    with Valkey.started(tmp_path) as redis:
        env = {"FLASK_ANSWER_IN": kind, "FLASK_ANSWER_URL": redis.url}
        with answers_on(tmp_path, command=flask_run, env=env) as answers:
            chat, other = name(), name()
            # It waits for a worker.
            assert ask(answers, chat, "first").status_code == 202
            assert ask(answers, chat, "second").status_code == 409
            with worker(kind, answers, tmp_path):
                until(lambda: messages(answers, chat) == ["first", WORDS], 60)
                assert ask(answers, other, "third").status_code == 202
                until(lambda: messages(answers, other) == ["third", WORDS], 60)


def test_a_question_that_is_sent_twice_is_answered_once(tmp_path: Path) -> None:
    with answers_on(tmp_path) as answers:
        chat, id, text = name(), name(), answers.waiting()
        assert {ask(answers, chat, text, id).status_code for _ in range(8)} == {202}
        answers.go_on(text)
        until(lambda: len(messages(answers, chat)) > 1)
        assert ask(answers, chat, text, id).status_code == 202
        assert messages(answers, chat) == [text, WORDS]
