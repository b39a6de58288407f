"""The bytes of an answer on each plain wire: what all clients of AI protocols accept."""

from __future__ import annotations

import collections.abc as cabc
import contextlib
import json
import typing as t

import pytest
from support.answers import Answers
from support.answers import answers as answers
from support.answers import name
from support.raw_answers import RawReading


def question(wire: str, text: str) -> tuple[str, dict[str, t.Any]]:
    """Where a client asks, and what it sends."""
    if wire == "ai-sdk":
        parts = [{"type": "text", "text": text}]
        return "/api/chat", {"id": name(), "messages": [{"id": name(), "parts": parts}]}
    message = {"role": "user", "content": text}
    if wire == "ag-ui":
        return "/agent", {"threadId": name(), "runId": name(), "messages": [message]}
    return "/v1/chat/completions", {"messages": [message]}


@contextlib.contextmanager
def asking(
    answers: Answers, wire: str, version: str, text: str
) -> cabc.Iterator[RawReading]:
    path, asked = question(wire, text)
    # Words of a stream's request, which mean nothing here, and the Accept of some clients.
    target = f"{path}?visible=1&poll=1&channel=x&since=aaaaa-1"
    accept = "Accept: application/json", "Accept-Encoding: gzip", "Last-Event-ID: aaaaa-1.x"
    port = int(answers.url.rpartition(":")[2])
    body = json.dumps(asked).encode()
    reading = RawReading(port, "POST", target, body, *accept, version=version)
    with contextlib.closing(reading):
        yield reading


WIRES = "ai-sdk", "ag-ui", "openai"
#: The last data of an answer that is done, and of one that has failed.
LAST = {
    "ai-sdk": ("[DONE]", "[DONE]"),
    "ag-ui": ("RUN_FINISHED", "RUN_ERROR"),
    "openai": ("[DONE]", "[DONE]"),
}


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("how", ["done", "fail"])
@pytest.mark.parametrize("wire", WIRES)
def test_an_answer_has_only_data_and_comments(
    answers: Answers, wire: str, how: str, version: str
) -> None:
    with asking(answers, wire, version, f"{how} {name()}") as reading:
        found = reading.read_to_end()
    assert found.status == 200
    headers = found.headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-store, no-transform"
    # nginx takes this one for itself.
    is_direct = answers.url == answers.server.url
    assert headers.get("x-accel-buffering") == ("no" if is_direct else None)
    assert not {"content-encoding", "content-length", "set-cookie"} & {*headers}
    mark = "x-vercel-ai-ui-message-stream"
    assert headers.get(mark) == ("v1" if wire == "ai-sdk" else None)

    assert found.has_last_chunk == (version == "1.1")
    assert ("transfer-encoding" in headers) == (version == "1.1")
    assert not found.was_reset

    assert found.body.startswith(b":\n")
    assert b"\r" not in found.body
    before = ""
    for line in found.body.decode().split("\n")[:-1]:
        assert line.startswith(("data: ", ":")) or (not line and before.startswith("data:"))
        before = line
    last = LAST[wire][how == "fail"]
    if last == "[DONE]":
        assert found.data[-1] == last
        *_, end = map(json.loads, found.data[:-1])
        assert ("error" in str(end)) == (how == "fail")
    else:
        assert json.loads(found.data[-1])["type"] == last
        assert "[DONE]" not in found.data
    assert b"secret" not in found.body
    # Each event of the answer, once.
    said = [event for event in found.data if '"9 "' in event]
    assert len(said) == 1


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("wire", WIRES)
def test_an_answer_whose_hub_dies_has_no_end(
    answers: Answers, wire: str, version: str
) -> None:
    is_direct = answers.url == answers.server.url
    if version == "1.0" and not is_direct:
        pytest.skip("nginx ends each body of HTTP/1.0 in the same way")
    text = answers.waiting()
    with asking(answers, wire, version, text) as reading:
        reading.read_until(b"9 ")
        answers.kill_hub()
        found = reading.read_to_end()
    answers.go_on(text)
    # So its client can tell that it is not whole.
    assert not found.has_last_chunk
    assert version == "1.1" or found.was_reset
    assert "[DONE]" not in found.data and "RUN_FINISHED" not in str(found.data)
