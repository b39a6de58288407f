"""The first bytes of a plain wire, and what its client gets while no hub takes it."""

from __future__ import annotations

import re

import pytest

from flask_push._delivery import wire
from flask_push._delivery.follow import Follow
from flask_push._delivery.follow import Framing
from flask_push._delivery.run_wires import WIRES
from flask_push._delivery.stream import Stream

PLAIN = [name for name, wire in WIRES.items() if wire.is_plain]
COOKIE = "Set-Cookie", "session=x"
HEADERS = [*wire.HEADERS.items(), COOKIE, ("x-vercel-ai-ui-message-stream", "v1")]
HEAD = wire.head("200 OK", HEADERS, "today", chunked=True)


def follow(wire: str, framing: Framing = "chunked", head: bytes = HEAD) -> Stream:
    about = Follow("a", "1.1", wire, framing=framing)
    return Stream(("a",), "c", head, visible=True, follow=about)


def test_only_streams_of_runs_are_plain() -> None:
    assert not Stream(("a",), "c").is_plain and not follow("push").is_plain
    assert PLAIN == ["ai-sdk", "ag-ui", "openai"]
    assert all(follow(name).is_plain for name in PLAIN)


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_wire_begins_with_a_comment_and_nothing_else(name: str) -> None:
    assert follow(name).first_bytes(3000) == HEAD + b"2\r\n:\n\r\n"
    assert follow(name, "close").first_bytes(3000) == HEAD + b":\n"
    assert follow(name, "close", b"").first_bytes(3000) == b":\n"


def test_the_wire_of_browsers_begins_as_any_stream() -> None:
    assert follow("push", "none").first_bytes(3000).startswith(HEAD + b":\nretry: 3000\n")
    assert follow("push", "none").refusal(999) == follow("push", "none").first_bytes(999)


def test_a_chunked_head_says_so() -> None:
    assert HEAD.endswith(b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
    assert HEAD.startswith(b"HTTP/1.1 200 OK\r\n") and HEAD.count(b"\r\n\r\n") == 1
    assert b"Transfer-Encoding" not in wire.head("200 OK", HEADERS, "today")


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("framing", ["chunked", "close"])
@pytest.mark.parametrize(("retry", "seconds"), [(0, 1), (3100, 3), (300_000, 5)])
def test_a_plain_wire_that_no_hub_takes_is_503(
    name: str, framing: Framing, retry: int, seconds: int
) -> None:
    head, _, body = follow(name, framing).refusal(retry).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    assert status == "HTTP/1.1 503 Service Unavailable"
    found = {name: value for name, _, value in (line.partition(": ") for line in lines)}
    assert len({name.lower() for name in found}) == len(lines), "each once"
    assert found["Retry-After"] == str(seconds) and found["x-should-retry"] == "false"
    assert int(found["Content-Length"]) == len(body) > 0
    assert found["Content-Type"].startswith("text/plain")
    assert (
        found["Set-Cookie"] == COOKIE[1]
        and found["Connection"] == "close"
        and "Date" in found
    )
    assert not re.search("chunked|event-stream|x-vercel", head.decode())


def test_nothing_is_sent_instead_of_a_plain_wire_whose_head_a_server_writes() -> None:
    assert follow("ai-sdk", head=b"").refusal(3000) == b""
