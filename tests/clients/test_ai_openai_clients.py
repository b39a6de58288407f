"""The clients of OpenAI's API, for Python and for JavaScript, read the answers of the
example."""

from __future__ import annotations

import collections.abc as cabc
import contextlib

import pytest
from support.ai_clients import node_clients
from support.ai_clients import PythonOpenAI
from support.ai_clients import Reading
from support.answers import Answers
from support.answers import answers as answers
from support.answers import FIRST
from support.answers import name
from support.answers import WORDS

Complete = cabc.Callable[[str], Reading]
#: What each library raises if the connection breaks.
CUT = {"python": "APIConnectionError", "node": "TypeError"}


@pytest.fixture(params=CUT)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def complete(library: str, answers: Answers) -> cabc.Iterator[Complete]:
    if library == "node":
        with node_clients(answers.url) as clients:
            yield lambda text: clients.act("complete", text=text)
    else:
        with contextlib.closing(PythonOpenAI(answers.url)) as client:
            yield client.complete


def test_an_answer_is_whole_for_each_reader(answers: Answers, complete: Complete) -> None:
    text = answers.waiting()
    readings = [complete(text).begun() for _ in range(3)]
    answers.go_on(text)
    for reading in *readings, complete(text):
        assert reading.ended().end == "end"
        assert reading.text == WORDS


def test_an_answer_that_is_cut_is_an_error_and_then_whole(
    answers: Answers, complete: Complete, library: str
) -> None:
    text = answers.waiting()
    cut = complete(text).begun()
    answers.kill_hub()
    assert cut.ended().end.startswith(CUT[library])
    assert FIRST.startswith(cut.text)
    again = complete(text)
    answers.go_on(text)
    assert again.ended().end == "end"
    assert again.text == WORDS


def test_a_failed_answer_is_an_error_of_the_api(complete: Complete) -> None:
    failed = complete(f"fail {name()}").ended()
    assert failed.end.startswith("APIError")
    assert "failed" in failed.end
    assert failed.text == FIRST
