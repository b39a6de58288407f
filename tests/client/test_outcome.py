"""What a response means to a client."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripted import Answer
from support.scripted import body
from support.scripted import hasty as hasty
from support.scripted import listen
from support.scripted import Scripted
from support.scripted import status
from support.scripted import STREAM

import flask_push
from flask_push import Event
from flask_push.client import outcome
from flask_push.client import Refused
from flask_push.client.answer import Head


@pytest.mark.parametrize(
    "answer",
    [
        [],
        [b"nonsense\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Ty"],
        [STREAM + b"Content-Length: 0\r\n\r\n"],
        [STREAM + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n"],
        [STREAM + b"Content-Encoding: gzip\r\n\r\nnonsense"],
        [b"HTTP/1.0 200 OK\r\ncontent-type: Text/Event-Stream;x=y;\r\n\r\n"],
        [STREAM + b"Content-Type: text/event-stream\r\n\r\n"],
        *([status(code)] for code in (408, 425, 429, 500, 502, 503, 504, 599)),
    ],
)
def test_a_temporary_status_is_retried(answer: Answer, hasty: None) -> None:
    with Scripted(answer, answer, body(b"data: a\n\n")) as server:
        assert listen(server.url) == [("message", "a", "")]
        assert len(server.times) == 4


@pytest.mark.parametrize("code", [201, 205, 304, 400, 401, 403, 404, 410, 422])
def test_a_final_status_raises_refused(code: int) -> None:
    with Scripted([status(code)]) as server:
        source = flask_push.connect(server.url)
        with pytest.raises(Refused, match=f"answers {code} Whatever") as caught:
            next(source)
        assert caught.value.status == code
        assert list(source) == []
        assert len(server.times) == 1


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("Content-Type: text/html", "is text/html, not a stream"),
        ("Content-Type: text/event-streams", "not a stream"),
        ("X-Type: none", "not a stream"),
        ("Content-Type: text/event-stream\r\nContent-Encoding: br", "compressed"),
    ],
)
def test_another_content_type_is_refused(header: str, why: str) -> None:
    with Scripted([status(200, header, body=b"data: a\n\n")]) as server:
        with pytest.raises(Refused, match=why):
            listen(server.url)


def test_the_status_204_ends_the_iteration() -> None:
    with Scripted([status(204, "Content-Type: text/event-stream")]) as server:
        assert listen(server.url) == []
        assert len(server.times) == 1


@given(st.floats(0, 1e12), st.integers(1, 10**6))
def test_pauses_grow_and_are_random(floor: float, attempt: int) -> None:
    bounded = min(max(floor, 0.5), 3600)
    longest = max(bounded, min(60, bounded * 2 ** min(attempt - 1, 20)))
    pauses = [outcome.pause_before(attempt, floor) for _ in range(20)]
    assert all(bounded <= pause <= longest for pause in pauses)
    if longest > bounded * 1.01:
        assert len(set(pauses)) > 1


def head(status: int, **headers: str) -> Head:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Head("1.1", status, "Reason\x1b", named)


def test_a_stream_may_have_parameters_and_be_compressed() -> None:
    for kind in "text/event-stream", "Text/Event-Stream ; charset=utf-8":
        for coding in "", "identity", "gzip", "x-gzip":
            answer = head(200, content_type=kind, content_encoding=coding)
            outcome.judge(answer, "http://h/")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7), ("0", 0), ("", 0), ("-1", 0), ("x", 0), ("9" * 10, 0), ("1.5", 0)],
)
def test_a_server_says_after_how_many_seconds_to_retry(value: str, seconds: int) -> None:
    with pytest.raises(outcome.Lost, match="the status is 503") as caught:
        outcome.judge(head(503, retry_after=value), "http://h/")
    assert caught.value.wait == seconds


@pytest.mark.parametrize(
    "answer",
    [
        head(404),
        head(200, content_type="text/\x1bhtml"),
        head(200, content_type="text/event-stream", content_encoding="br\x1b"),
    ],
)
def test_a_refusal_says_in_one_short_line_what_the_server_answered(answer: Head) -> None:
    with pytest.raises(Refused) as caught:
        outcome.judge(answer, f"http://h/{'x' * 500}\x1b")
    text = str(caught.value)
    assert caught.value.status == answer.status
    assert text.isprintable() and len(text) < 400 and "\\x1b" in text


@pytest.mark.parametrize(
    ("data", "connection"),
    [
        ('{"connection": "a_1.b-2"}', "a_1.b-2"),
        # Without a secret, it is the one that the request had.
        ('{"connection": "a"}', ""),
        ('{"connection": "a.b\\r\\nX: y"}', ""),
        ('{"connection": "%s.b"}' % ("a" * 65), ""),
        *(
            (text, "")
            for text in ('{"connection": 5}', "{}", "[]", "null", "", "{", "[" * 10**5)
        ),
    ],
)
def test_only_a_valid_id_of_a_connection_is_used(data: str, connection: str) -> None:
    assert outcome.connection_of(Event("", data, "push:open")) == connection
