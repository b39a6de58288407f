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
from flask_push.client import outcome
from flask_push.client import Refused


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
