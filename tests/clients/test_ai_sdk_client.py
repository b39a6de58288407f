"""The AI SDK reads the answers of the example: each of them is whole."""

from __future__ import annotations

import collections.abc as cabc
import json

import pytest
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


def rows(answers: Answers, chat: str) -> list[str]:
    """The answers that the app has saved."""
    found = json.loads(answers.server.get(f"/chats/{chat}/messages"))
    return [row["text"] for row in found if row["role"] == "assistant"]


def test_an_answer_is_whole_for_each_reader(answers: Answers, clients: NodeClients) -> None:
    chat, question, text = name(), name(), answers.waiting()
    asking = clients.act("send", chat=chat, question=question, text=text).begun()
    others = [clients.act("resume", chat=chat).begun() for _ in range(20)]
    again = clients.act("send", chat=chat, question=question, text=text).begun()
    answers.go_on(text)
    assert asking.ended().end == "end"
    assert asking.text == WORDS
    types = [chunk["type"] for chunk in asking.chunks]
    assert types == ["start", "text-start", *["text-delta"] * 40, "text-end", "finish"]
    assert asking.chunks[0]["messageId"]
    for reading in *others, again:
        assert reading.ended().end == "end"
        assert reading.chunks == asking.chunks
    # When it is over, it is not followed, but the same question has the same answer.
    assert clients.act("resume", chat=chat).ended().end == "nothing"
    late = clients.act("send", chat=chat, question=question, text=text).ended()
    assert (late.end, late.chunks) == ("end", asking.chunks)
    assert rows(answers, chat) == [WORDS]


def test_there_is_nothing_to_resume_where_nothing_was_asked(clients: NodeClients) -> None:
    assert clients.act("resume", chat=name()).ended().end == "nothing"


def test_a_second_question_is_refused_while_one_is_answered(
    answers: Answers, clients: NodeClients
) -> None:
    chat, text = name(), answers.waiting()
    first = clients.act("send", chat=chat, question=name(), text=text).begun()
    second = clients.act("send", chat=chat, question=name(), text="hi").ended()
    assert second.end == "APICallError: Another question is being answered."
    answers.go_on(text)
    assert first.ended().text == WORDS
    third = clients.act("send", chat=chat, question=name(), text="hi").ended()
    assert third.text == WORDS


def test_an_answer_that_is_cut_is_an_error_and_then_whole(
    answers: Answers, clients: NodeClients
) -> None:
    chat, text = name(), answers.waiting()
    cut = clients.act("talk", chat=chat, text=text).begun()
    answers.kill_hub()
    assert cut.ended().status == "error"
    (before,) = cut.answers
    assert FIRST.startswith(before)
    resumed = clients.act("talkOn", chat=chat)
    answers.go_on(text)
    assert resumed.ended().status == "ready"
    assert resumed.answers == [WORDS]


def test_a_stopped_answer_ends_for_each_reader_and_its_words_are_saved(
    answers: Answers, clients: NodeClients
) -> None:
    chat, text = name(), answers.waiting()
    asking = clients.act("send", chat=chat, question=name(), text=text).begun()
    other = clients.act("resume", chat=chat).begun()
    answers.stop("api/chat", chat)
    answers.go_on(text)
    for reading in asking, other:
        assert reading.ended().end == "end"
        assert reading.chunks[-1] == {"type": "abort", "reason": "stopped"}
        assert rows(answers, chat) == [reading.text]
    assert FIRST.startswith(asking.text)
    assert clients.act("resume", chat=chat).ended().end == "nothing"


def test_a_failed_answer_has_an_error_without_the_text_of_the_exception(
    answers: Answers, clients: NodeClients
) -> None:
    chat = name()
    failed = clients.act("send", chat=chat, question=name(), text="fail").ended()
    assert (failed.end, failed.text) == ("end", FIRST)
    assert failed.chunks[-1] == {"type": "error", "errorText": "failed"}
    assert clients.act("resume", chat=chat).ended().end == "nothing"
