"""The client and the validator of AG-UI read the answers of the example."""

from __future__ import annotations

import asyncio
import collections.abc as cabc
import typing as t

import pytest
from ag_ui_validate.transport import TransportOptions
from ag_ui_validate.transport import validate_endpoint
from support.ai_clients import node_clients
from support.ai_clients import NodeClients
from support.answers import Answers
from support.answers import answers as answers
from support.answers import FIRST
from support.answers import name
from support.answers import WORDS


@pytest.fixture
def clients(answers: Answers) -> cabc.Iterator[NodeClients]:
    with node_clients(answers.url) as clients:
        yield clients


def test_an_answer_is_whole_for_each_reader(answers: Answers, clients: NodeClients) -> None:
    about = {"thread": name(), "run": name(), "text": answers.waiting()}
    readings = [clients.act("agent", **about).begun() for _ in range(3)]
    answers.go_on(about["text"])
    for reading in *readings, clients.act("agent", **about):
        assert reading.ended().end == "end"
        assert reading.events == ["started", "finished"]
        assert reading.answers == [reading.text] == [WORDS]


def test_a_second_run_is_refused_while_one_is_active(
    answers: Answers, clients: NodeClients
) -> None:
    thread, text = name(), answers.waiting()
    first = clients.act("agent", thread=thread, run=name(), text=text).begun()
    second = clients.act("agent", thread=thread, run=name(), text="hi").ended()
    assert "Another question is being answered." in second.end
    answers.go_on(text)
    assert first.ended().text == WORDS


def test_an_answer_that_is_cut_is_an_error_and_then_whole(
    answers: Answers, clients: NodeClients
) -> None:
    about = {"thread": name(), "run": name(), "text": answers.waiting()}
    cut = clients.act("agent", **about).begun()
    answers.kill_hub()
    assert "Error" in cut.ended().end
    assert "finished" not in cut.events
    assert FIRST.startswith(cut.text)
    again = clients.act("agent", **about)
    answers.go_on(about["text"])
    assert again.ended().answers == [WORDS]
    assert again.events == ["started", "finished"]


def test_a_stopped_answer_ends_with_an_error_of_its_own(
    answers: Answers, clients: NodeClients
) -> None:
    thread, text = name(), answers.waiting()
    stopped = clients.act("agent", thread=thread, run=name(), text=text).begun()
    answers.stop("agent", thread)
    answers.go_on(text)
    assert stopped.ended().end == "end"
    assert stopped.events == ["started", "error: stopped"]
    assert FIRST.startswith(stopped.text)


def test_a_failed_answer_ends_with_an_error(clients: NodeClients) -> None:
    failed = clients.act("agent", thread=name(), run=name(), text="fail").ended()
    assert failed.end == "end"
    assert failed.events == ["started", "error: failed"]
    assert failed.text == FIRST


@pytest.mark.parametrize(("text", "last"), [("hi", "RUN_FINISHED"), ("fail", "RUN_ERROR")])
def test_the_validator_finds_no_fault(answers: Answers, text: str, last: str) -> None:
    asked = {
        "threadId": name(),
        "runId": name(),
        "messages": [{"id": name(), "role": "user", "content": text}],
        "state": {},
        "tools": [],
        "context": [],
        "forwardedProps": {},
    }
    seen: list[t.Any] = []
    options = TransportOptions(
        timeout_ms=60_000, input=asked, on_event=lambda raw, found: seen.append(raw)
    )
    result = asyncio.run(validate_endpoint(f"{answers.url}/agent", options))
    assert [d for d in result.report.diagnostics if d.severity != "info"] == []
    assert "text/event-stream" in (result.content_type or "")
    assert last in str(seen[-1])
    assert result.event_count == len(seen) == (44 if text == "hi" else 13)
